"""Our own cache of latents: safetensors shards and an index.json that says what they are, of what, made by what.

Files are written aside, then renamed: a name that is there is a whole file.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..latent_space import LatentSpace
from .latent_layouts import OpenedLayout
from .latent_sources import STATISTICS, ShardLatents, Statistic, open_shard

FORMAT = "specmatch-latents-1"
INDEX = "index.json"
MOMENTS = ("mean", "logvar", "mean_flip", "logvar_flip")
NUMBERS = ("index", "label")
REMEDY = "delete it and cache its images again"
CHUNK = 1 << 24


class ShardEntry(NamedTuple):
    """A shard: its file, its images, its bytes and their SHA-256."""

    name: str
    n: int
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class CacheIndex:
    """What index.json says. Digests and versions are as their makers gave them; dtype is that of the moments.

    latent_space: per-channel mean and std of the cached latents; mean, std: the same over all channels.
    """

    source: str
    source_digest: str
    n_source: int
    autoencoder: str
    autoencoder_digest: str
    versions: Mapping[str, str]
    dtype: str
    channels: int
    grid: tuple[int, int]
    factor: int
    image_size: int
    shards: tuple[ShardEntry, ...]
    latent_space: LatentSpace
    mean: float
    std: float


def write_shard(folder: Path, number: int, tensors: Mapping[str, Tensor]) -> ShardEntry:
    """Write latents-NUMBER.safetensors and return its entry.

    tensors: `mean` (n, c, h, w) and `index` (n,) int64, the images' positions in the source; optionally `label` (n,)
    int64, and `logvar`, `mean_flip`, `logvar_flip` shaped as the mean. Raises ValueError for anything else, for values
    that are not finite, and where the file cannot be written.
    """
    from safetensors.torch import save

    _check_tensors(tensors)
    payload = save(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    )
    name = f"latents-{number:05d}.safetensors"
    _write(folder / name, payload)
    return ShardEntry(name, len(tensors["mean"]), len(payload), hashlib.sha256(payload).hexdigest())


def write_index(folder: Path, index: CacheIndex) -> None:
    """Write index.json, after which the folder is a cache. Raises ValueError where it cannot be written."""
    content = {"format": FORMAT, **asdict(index), "shards": [shard._asdict() for shard in index.shards]}
    _write(folder / INDEX, json.dumps(content, indent=2).encode())


def read_index(folder: Path) -> CacheIndex:
    """Raises ValueError in one line where index.json is missing, damaged or of another format."""
    path = folder / INDEX
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise ValueError("its format is another")
        space = content.pop("latent_space")
        space = LatentSpace(space["convention"], tuple(space["mean"]), tuple(space["std"]), space["patch"])
        shards = tuple(ShardEntry(**shard) for shard in content.pop("shards"))
        h, w = content.pop("grid")
        index = CacheIndex(**content, grid=(h, w), shards=shards, latent_space=space)
        if not shards or not all(re.fullmatch(r"latents-\d{5,}\.safetensors", shard.name) for shard in shards):
            raise ValueError("it names no shards latents-00000.safetensors, …")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no index of format {FORMAT} ({error}); cache the images again") from error
    return index


def is_cache(folder: Path) -> bool:
    """Whether the folder has an index.json of ours."""
    try:
        return str(json.loads((folder / INDEX).read_bytes())["format"]).startswith("specmatch-latents")
    except (OSError, ValueError, TypeError, KeyError):
        return False


def verify_cache(folder: Path) -> None:
    """Read every shard. Raises ValueError, naming the shard and the remedy, where its SHA-256 is not the index's."""
    for shard in read_index(folder).shards:
        _check_shard(folder / shard.name, shard)
        if _sha256(folder / shard.name) != shard.sha256:
            raise ValueError(f"shard {folder / shard.name} is damaged: its checksum is not the index's; {REMEDY}")


def open_cache(folder: Path) -> OpenedLayout:
    """The shards that index.json names, checked by their lengths and headers.

    Raises ValueError naming the shard and the remedy.
    """
    index = read_index(folder)
    paths = [folder / shard.name for shard in index.shards]
    for path, shard in zip(paths, index.shards, strict=True):
        _check_shard(path, shard)
    image_keys = torch.cat([_stored_index(path, shard, index) for path, shard in zip(paths, index.shards, strict=True)])
    if len(image_keys.unique()) < len(image_keys):
        raise ValueError(f"{folder}: an image is in its shards more than once; cache the images again")
    names = set(open_shard(paths[0]).keys())
    tensors: dict[Statistic, str] = {name: name for name in STATISTICS if name in names}
    shapes = [(shard.n, index.channels, *index.grid) for shard in index.shards]
    statistic = "mean and log-variance of each posterior" if "logvar" in names else "mean of each posterior"
    flips = "; mirrored images are left out" if "mean_flip" in names else ""
    return OpenedLayout(
        "specmatch",
        ShardLatents(paths, tensors, image_keys.tolist(), shapes),
        (f"Our own cache: {statistic} of {index.autoencoder}, {index.dtype}, before any scaling{flips}.",),
        (index.n_source, index.n_source),
        index.latent_space,
        index.source if _is_at_hand(index.source) else None,
        index.source_digest,
        hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()[:16],
    )


def _is_at_hand(source: str) -> bool:
    return source == "embedded" or source.startswith("hub:") or Path(source).expanduser().exists()


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    if not {"mean", "index"} <= set(tensors) <= {*MOMENTS, *NUMBERS}:
        raise ValueError(f"a shard holds mean and index, and of {MOMENTS + NUMBERS} what there is; not {set(tensors)}")
    shape = tensors["mean"].shape
    for name, tensor in tensors.items():
        if name in NUMBERS:
            if tensor.dtype != torch.int64 or tensor.shape != shape[:1]:
                raise ValueError(f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected int64 {shape[:1]}")
        elif len(shape) != 4 or not shape[0] or tensor.shape != shape or not tensor.is_floating_point():
            raise ValueError(
                f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected floats (n, c, h, w), all of a shape"
            )
        elif not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")


def _check_shard(path: Path, shard: ShardEntry) -> None:
    if not path.exists():
        raise ValueError(f"shard {path} is missing; cache its images again")
    if path.stat().st_size != shard.n_bytes:
        raise ValueError(f"shard {path} is damaged: {path.stat().st_size} bytes, not {shard.n_bytes}; {REMEDY}")


def _stored_index(path: Path, shard: ShardEntry, index: CacheIndex) -> Tensor:
    tensors = open_shard(path)
    shape, expected = tuple(tensors.get_slice("mean").get_shape()), (shard.n, index.channels, *index.grid)
    if shape != expected:
        raise ValueError(f"shard {path} holds latents {shape}, not {expected}; {REMEDY}")
    return tensors.get_tensor("index")


def _write(path: Path, payload: bytes) -> None:
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error


def _sha256(path: Path) -> str:
    digest: Any = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
