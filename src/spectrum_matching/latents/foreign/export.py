"""Export of cached latents in the layouts of REPA, U-ViT, MAR and LightningDiT, in float32, for their trainers."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ...files.atomic import explain_write_errors, write_folder_atomically
from ...files.documents import Document
from ...files.outputs import require_replaceable
from ...latent_space import LatentSpace
from ...methods.models import LOGVAR_RANGE
from ...metrics.latents.moments import ChannelMoments
from ...seeding import seeded
from ..gain import cached_samples, with_gain
from ..latent_set import BadLatentError, LatentRow, LatentSet, sample_moments, stack_rows
from ..statistics import latent_space

ForeignLayout = Literal["repa", "lightningdit", "uvit", "mar"]
NEEDS_FLIPS = {"mar": "MAR", "lightningdit": "LightningDiT"}
SHARD = 2048
BATCH = 256  # images after which U-ViT's tool writes the same mirrored

LATENT_SPACE = Document(
    LatentSpace, "specmatch-latent-space-1", "latent space", "export the latents again", sealed=True
)

Progress = Callable[[int, int], None]


Rows = Iterator[tuple[int, LatentRow, LatentRow | None]]
"""Number of a row, the row, and that of the mirrored image where there is one."""


def export_latents(
    latents: LatentSet,
    layout: ForeignLayout,
    folder: Path,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write all latents, raw, into a new or empty folder, which is complete or absent.

    names: of the images by index in their source, for MAR's files. seed: of samples. A set without variances gets the
    smallest, exp(-30).

    Latents with a gain are written with it, at unit scale, so that no trainer's factor belongs on them: one sample of
    each posterior, which a gain leaves without a diagonal covariance, as mean. NAME.latent_space.json beside the folder
    holds what undoes it: see `read_latent_space`.

    Raises:
        ValueError: when the folder is not empty or cannot be written into, another's file has the name beside it, a
            latent cannot be read, or the layout cannot express the set: it holds samples where moments are stored, no
            mirrored images for MAR or LightningDiT, or for MAR labels that leave out a class.
    """
    if layout in NEEDS_FLIPS and not latents.info.flips:
        raise ValueError(
            f"{NEEDS_FLIPS[layout]}'s trainer reads latents of mirrored images, and {latents.source} holds none; cache "
            "again with --flips"
        )
    if latents.info.holds == "sample" and layout != "lightningdit":
        raise ValueError(f"{latents.source} holds samples alone: the moments that {layout} stores are not known")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder")
    # A file of ours among theirs could be taken for a latent.
    beside = folder.resolve().with_name(f"{folder.resolve().name}.latent_space.json")
    require_replaceable(beside)
    rows: Rows = _read(latents, progress)
    space: LatentSpace | None = None
    if latents.info.gain.is_given:
        found = with_gain(latents.space("channel"), latents.info.gain, lambda: cached_samples(latents))
        if found != found.without_gain:
            space, rows = found, _gained(rows, found, seed)

    def write(partial: Path) -> None:
        if layout == "repa":
            _write_repa(rows, partial)
        elif layout == "uvit":
            _write_uvit(latents, rows, partial)
        elif layout == "mar":
            _write_mar(latents, rows, partial, names)
        else:
            _write_lightningdit(latents, rows, partial, seed)
        # At last, so that a failure costs no earlier file, but before the folder is there: latents with a gain are
        # never without what undoes it.
        if space is not None:
            LATENT_SPACE.write(beside, space)
        else:
            beside.unlink(missing_ok=True)  # of an earlier folder of this name

    with explain_write_errors(f"into {folder}", "rerun the same command"):
        write_folder_atomically(folder, write, manifest=False, keep_others=True)


def read_latent_space(path: Path) -> LatentSpace:
    """Read the space that latents were exported in; its `from_unit` turns samples into latents to decode.

    Raises:
        ValueError: when it cannot be read.
    """
    return LATENT_SPACE.read(path)


def _gained(rows: Rows, space: LatentSpace, seed: int) -> Rows:
    for number, *sides in rows:
        gained: list[LatentRow | None] = []
        for side, row in zip(("", "flip"), sides, strict=True):
            if row is not None:
                logvar = None if row.logvar is None else row.logvar[None]
                sample = sample_moments(row.mean[None], logvar, seeded("export", seed, number, side))
                row = row._replace(mean=space.to_unit(sample)[0], logvar=None)
            gained.append(row)
        straight, mirrored = gained
        assert straight is not None
        yield number, straight, mirrored


def _read(latents: LatentSet, progress: Progress) -> Rows:
    for number in range(len(latents)):
        try:
            yield number, latents[number], latents.read(number, True) if latents.info.flips else None
        except BadLatentError as error:
            raise ValueError(
                f"{latents.name(number)} of {latents.source} is damaged: {error}; import the folder first, which leaves"
                " it out"
            ) from error
        progress(number + 1, len(latents))


def _write_repa(rows: Rows, folder: Path) -> None:
    labels: list[tuple[str, int]] = []
    for number, row, _ in rows:
        number = row.image if isinstance(row.image, int) else number
        name = f"{number:08d}"[:5] + f"/img-mean-std-{number:08d}.npy"
        (folder / name).parent.mkdir(exist_ok=True)
        std = np.exp(_logvar(row).astype(np.float64) / 2).astype(np.float32)
        np.save(folder / name, np.concatenate([row.mean.numpy(), std]))
        labels.append((name, row.label))
    is_labelled = any(label >= 0 for _, label in labels)
    (folder / "dataset.json").write_text(json.dumps({"labels": labels if is_labelled else None}))


def _write_uvit(latents: LatentSet, rows: Rows, folder: Path) -> None:
    is_labelled = bool((latents.labels >= 0).any())
    n_sides = 2 if latents.info.flips else 1
    for number, straight, mirrored in rows:
        block, position = divmod(number, BATCH)
        length = min(BATCH, len(latents) - block * BATCH)
        for side, row in enumerate([straight] if mirrored is None else [straight, mirrored]):
            stored: np.ndarray = _moments(row)
            if is_labelled:
                stored, moments = np.empty(2, object), stored
                stored[:] = [moments, row.label]
            # NumPy pickles such a pair.
            np.save(folder / f"{block * BATCH * n_sides + side * length + position}.npy", stored, allow_pickle=True)


def _write_mar(latents: LatentSet, rows: Rows, folder: Path, names: Sequence[str] | None) -> None:
    class_folders = _class_folders(latents)
    for number, row, mirrored in rows:
        assert mirrored is not None
        above = class_folders[row.label] if row.label >= 0 else ""
        if isinstance(row.image, str):
            name = row.image
        elif names is not None and isinstance(row.image, int):
            name = names[row.image]
        else:
            name = f"{number if row.image is None else row.image:08d}"
        path = folder / f"{name if name.startswith(above) else above + name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, moments=_moments(row), moments_flip=_moments(mirrored))


def _class_folders(latents: LatentSet) -> list[str]:
    """Return for each label the folder, with a slash, whose rank among all is that label, as MAR reads it."""
    present = latents.labels.unique().tolist()
    if present == [-1]:
        return []
    if present != list(range(len(present))):
        missing = next(label for label in range(-1, present[-1]) if (label in present) != (label >= 0))
        reason = "some latents have no label" if missing < 0 else f"class {missing} has no latents"
        raise ValueError(f"{latents.source}: {reason}, and MAR's labels are ranks among the class folders")
    names = latents.info.classes[: len(present)]
    is_odd = any(not name or name.startswith(".") or "/" in name or "\0" in name for name in names)
    if len(names) == len(present) and list(names) == sorted(set(names)) and not is_odd:
        return [f"{name}/" for name in names]
    return [f"{label:05d}/" for label in present]


def _write_lightningdit(latents: LatentSet, rows: Rows, folder: Path, seed: int) -> None:
    from safetensors.torch import save_file

    straight: list[LatentRow] = []
    samples: dict[str, list[torch.Tensor]] = {"latents": [], "latents_flip": []}
    moments, n_shards = ChannelMoments(), 0
    for number, row, mirrored in rows:
        assert mirrored is not None
        straight.append(row)
        for key, side, of_side in (("latents", "", row), ("latents_flip", "flip", mirrored)):
            generator = seeded("export", seed, number, side)
            samples[key].append(sample_moments(of_side.mean, of_side.logvar, generator))
        if len(straight) < SHARD and number < len(latents) - 1:
            continue
        batch = stack_rows(straight, [])
        moments.add(batch.mean, batch.logvar)
        shard = {key: torch.stack(values) for key, values in samples.items()} | {"labels": batch.labels}
        save_file(shard, str(folder / f"latents_rank00_shard{n_shards:03d}.safetensors"))
        straight, samples, n_shards = [], {key: [] for key in samples}, n_shards + 1
    space = latent_space(moments)
    stats = {"mean": torch.tensor(space.mean).view(1, -1, 1, 1), "std": torch.tensor(space.std).view(1, -1, 1, 1)}
    torch.save(stats, folder / "latents_stats.pt")


def _moments(row: LatentRow) -> np.ndarray:
    return np.concatenate([row.mean.numpy(), _logvar(row)])


def _logvar(row: LatentRow) -> np.ndarray:
    return np.full(row.mean.shape, LOGVAR_RANGE[0], np.float32) if row.logvar is None else row.logvar.numpy()
