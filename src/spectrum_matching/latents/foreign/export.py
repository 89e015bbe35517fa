"""Cached latents written as REPA, U-ViT, MAR and LightningDiT write them, in float32, for their trainers."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from ...metrics.latents.moments import ChannelMoments
from ...seeding import seeded
from ..dataset import LatentSet
from ..sources import LOGVAR_RANGE, LatentRow
from ..statistics import latent_space
from ..training import sample_moments
from .array_files import BadLatentError
from .layouts import BATCH

ForeignLayout = Literal["repa", "lightningdit", "uvit", "mar"]
NEEDS_FLIPS = {"mar": "MAR", "lightningdit": "LightningDiT"}
SHARD = 2048


class Pair(NamedTuple):
    """A row of the set, and that of the mirrored image where there is one."""

    number: int
    straight: LatentRow
    mirrored: LatentRow | None


def export_latents(
    latents: LatentSet,
    layout: ForeignLayout,
    folder: Path,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write all latents, raw, into a new or empty folder.

    names: of the images by position in their source, for MAR's files. seed: of LightningDiT's samples. A set without
    variances gets the smallest, exp(-30). Raises ValueError in one line for a folder that holds something or cannot be
    written into, a latent that cannot be read, and for what a layout cannot say: moments where there are only samples,
    mirrored images for MAR and LightningDiT where there are none, and for MAR labels that leave out a class.
    """
    if layout in NEEDS_FLIPS and not latents.has_flips:
        raise ValueError(
            f"{NEEDS_FLIPS[layout]}'s trainer reads latents of mirrored images, and {latents.source} holds none; cache "
            "again with --flips"
        )
    if latents.holds == "sample" and layout != "lightningdit":
        raise ValueError(f"{latents.source} holds samples alone: the moments that {layout} stores are not known")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty; name a new folder")
        if layout == "repa":
            _write_repa(latents, folder, progress)
        elif layout == "uvit":
            _write_uvit(latents, folder, progress)
        elif layout == "mar":
            _write_mar(latents, folder, names, progress)
        else:
            _write_lightningdit(latents, folder, seed, progress)
    except OSError as error:
        raise ValueError(f"{error.filename or folder} cannot be written: {error.strerror}; empty the folder") from error


def _pairs(latents: LatentSet, progress: Callable[[int, int], None]) -> Iterator[Pair]:
    for number in range(len(latents)):
        try:
            yield Pair(number, latents[number], latents.mirrored(number) if latents.has_flips else None)
        except BadLatentError as error:
            raise ValueError(
                f"{latents.name(number)} of {latents.source} is damaged: {error}; import the folder first, which leaves"
                " it out"
            ) from error
        progress(number + 1, len(latents))


def _write_repa(latents: LatentSet, folder: Path, progress: Callable[[int, int], None]) -> None:
    labels: list[tuple[str, int]] = []
    for number, row, _ in _pairs(latents, progress):
        number = row.image if isinstance(row.image, int) else number
        name = f"{number:08d}"[:5] + f"/img-mean-std-{number:08d}.npy"
        (folder / name).parent.mkdir(exist_ok=True)
        std = np.exp(_logvar(row).astype(np.float64) / 2).astype(np.float32)
        np.save(folder / name, np.concatenate([row.mean.numpy(), std]))
        labels.append((name, row.label))
    is_labelled = any(label >= 0 for _, label in labels)
    (folder / "dataset.json").write_text(json.dumps({"labels": labels if is_labelled else None}))


def _write_uvit(latents: LatentSet, folder: Path, progress: Callable[[int, int], None]) -> None:
    is_labelled = any(label >= 0 for label in latents.labels())
    n_sides = 2 if latents.has_flips else 1
    for number, straight, mirrored in _pairs(latents, progress):
        block, place = divmod(number, BATCH)
        length = min(BATCH, len(latents) - block * BATCH)
        for side, row in enumerate([straight] if mirrored is None else [straight, mirrored]):
            stored: np.ndarray = _moments(row)
            if is_labelled:
                stored, alone = np.empty(2, object), stored
                stored[:] = [alone, row.label]
            # NumPy pickles such a pair; it is read back by our own reader, which unpickles numbers alone.
            np.save(folder / f"{block * BATCH * n_sides + side * length + place}.npy", stored, allow_pickle=True)


def _write_mar(
    latents: LatentSet, folder: Path, names: Sequence[str] | None, progress: Callable[[int, int], None]
) -> None:
    class_folders = _class_folders(latents)
    for number, row, mirrored in _pairs(latents, progress):
        assert mirrored is not None
        above = class_folders[row.label] if row.label >= 0 else ""
        if isinstance(row.image, str):
            name = row.image
        elif names is not None and isinstance(row.image, int):
            name = names[row.image]
        else:
            name = f"{number if row.image is None else row.image:08d}"
        name = name if name.startswith(above) else above + name
        path = folder / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, moments=_moments(row), moments_flip=_moments(mirrored))


def _class_folders(latents: LatentSet) -> list[str]:
    """For each label the folder, with a slash, whose place among all is that label, as MAR reads it."""
    present = sorted(set(latents.labels()))
    if present == [-1]:
        return []
    if present != list(range(len(present))):
        missing = next(label for label in range(-1, present[-1]) if (label in present) != (label >= 0))
        said = "some latents have no label" if missing < 0 else f"class {missing} has no latents"
        raise ValueError(f"{latents.source}: {said}, and MAR's labels are places among the class folders")
    named = latents.classes[: len(present)]
    if len(named) == len(present) and list(named) == sorted(set(named)) and not any(_is_odd(name) for name in named):
        return [f"{name}/" for name in named]
    return [f"{label:05d}/" for label in present]


def _is_odd(name: str) -> bool:
    return not name or name.startswith(".") or "/" in name or "\0" in name


def _write_lightningdit(latents: LatentSet, folder: Path, seed: int, progress: Callable[[int, int], None]) -> None:
    from safetensors.torch import save_file

    kept: list[Pair] = []
    moments, n_shards = ChannelMoments(), 0
    for pair in _pairs(latents, progress):
        kept.append(pair)
        if len(kept) < SHARD and pair.number < len(latents) - 1:
            continue
        shard = {
            "latents": torch.stack([_sample(pair.straight, seed, pair.number, "") for pair in kept]),
            "latents_flip": torch.stack([_sample(pair.mirrored, seed, pair.number, "flip") for pair in kept]),
            "labels": torch.tensor([pair.straight.label for pair in kept]),
        }
        save_file(shard, str(folder / f"latents_rank00_shard{n_shards:03d}.safetensors"))
        means = torch.stack([pair.straight.mean for pair in kept])
        logvars = [pair.straight.logvar for pair in kept if pair.straight.logvar is not None]
        moments.add(means, torch.stack(logvars) if logvars else None)
        kept, n_shards = [], n_shards + 1
    space = latent_space(moments)
    stats = {"mean": torch.tensor(space.mean).view(1, -1, 1, 1), "std": torch.tensor(space.std).view(1, -1, 1, 1)}
    torch.save(stats, folder / "latents_stats.pt")


def _sample(row: LatentRow | None, seed: int, number: int, side: str) -> torch.Tensor:
    assert row is not None
    return sample_moments(row.mean, row.logvar, seeded("export", seed, number, side))


def _moments(row: LatentRow) -> np.ndarray:
    return np.concatenate([row.mean.numpy(), _logvar(row)])


def _logvar(row: LatentRow) -> np.ndarray:
    return np.full(row.mean.shape, LOGVAR_RANGE[0], np.float32) if row.logvar is None else row.logvar.numpy()
