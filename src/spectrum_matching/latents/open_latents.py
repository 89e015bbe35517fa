"""Open a folder of cached latents, whatever wrote it; no autoencoder is needed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..data.order import hold_back
from ..data.walk import BadFile, walk
from .foreign.layouts import is_lightningdit, is_mar, is_repa, open_lightningdit, open_mar, open_repa
from .latent_set import BadLatentError, CachedBatch, LatentRow, LatentSet, stack_rows
from .shards import is_cache, open_cache

CACHED = "latents:"  # before a folder, where a command takes autoencoders as well

NETWORK = "diffusion_pytorch_model*"  # weights of diffusers, whose suffix is that of LightningDiT's shards
NETWORKS = (".", "vae", "export")  # where an autoencoder, a pipeline and a run directory have them

FOREIGN = (
    (is_repa, open_repa, "dataset.json above .npy files (REPA)"),
    (is_lightningdit, open_lightningdit, ".safetensors shards (LightningDiT)"),
    (is_mar, open_mar, ".npz files (MAR)"),
)


def is_cached(source: str) -> bool:
    """Return whether a source is cached latents: "latents:FOLDER", or a folder with an index.json of ours."""
    return source.startswith(CACHED) or is_cache(Path(source).expanduser())


def open_latents(folder: str | Path) -> LatentSet:
    """Open the latents of a cache by REPA, LightningDiT, MAR or of our own.

    Files that cannot be used are left out and named in `info.bad`.

    Raises:
        ValueError: when the folder is missing, empty or of no known layout, no latent can be read, shapes are mixed, or
            a shard is damaged.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"no such folder: {path}; check the path")
    if not any(path.iterdir()):
        raise ValueError(f"{path} is empty")
    if is_cache(path):
        return open_cache(path)
    if any(any((path / name).glob(NETWORK)) for name in NETWORKS):
        raise ValueError(f"{path} holds a network, not latents: encode images by `specmatch cache {path} --out DIR`")
    listing = walk(path)
    for recognises, open_layout, _ in FOREIGN:
        if recognises(listing):
            return open_layout(listing)
    signs = "; ".join(["index.json (our own)", *(signs for *_, signs in FOREIGN)])
    unread = f" ({listing.unread[0]})" if listing.unread else ""
    own = "a tensor of your own: save it as `latents` (n, c, h, w) into a .safetensors file there"
    raise ValueError(f"{path} holds no cached latents{unread}; looked for {signs}; {own}")


def latent_batches(latents: LatentSet, batch_size: int, rows: Sequence[int]) -> Iterator[CachedBatch]:
    """Iterate over rows, in this order; one that cannot be used is named in a batch and left out.

    Raises:
        ValueError: when none can be used.
    """
    groups = (_read_rows(latents, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size))
    for kept, bad in hold_back(groups):
        if not kept:
            raise ValueError(f"{latents.source}: none of {len(rows)} latents can be used ({bad[0]})")
        yield stack_rows([row for _, row in kept], [number for number, _ in kept], bad)


def _read_rows(latents: LatentSet, rows: Sequence[int]) -> tuple[list[tuple[int, LatentRow]], list[BadFile]]:
    kept: list[tuple[int, LatentRow]] = []
    bad: list[BadFile] = []
    for number in rows:
        try:
            kept.append((number, latents[number]))
        except BadLatentError as error:
            bad.append(BadFile(latents.name(number), str(error)))
    return kept, bad
