"""Caches of REPA, MAR and LightningDiT: which file holds which statistic of which image."""

import json
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.images import ImageChoice
from ...data.walk import walk
from ...latent_space import LatentSpace
from ..latent_set import BadLatentError, LatentInfo
from ..read_arrays import FileLatents, array_shape
from ..read_shards import ShardLatents, Statistic, open_shard
from ..statistics import joint_space

SHARD_NAME = re.compile(r"latents_rank(\d+)_shard(\d+)\.safetensors")


def is_repa(folder: Path) -> bool:
    """Return whether the folder, or one in it, holds dataset.json above .npy files."""
    return bool(_repa_roots(folder))


def open_repa(folder: Path) -> FileLatents:
    """Open files img-mean-std-NUMBER.npy of mean and std (2c, h, w) below a dataset.json of labels.

    `folder` holds them, or one folder that does (vae-sd), perhaps beside one of images.

    Raises:
        ValueError: when several folders do, or labels are damaged.
    """
    roots = _repa_roots(folder)
    if len(roots) > 1:
        raise ValueError(f"{folder} holds several sets of latents; name one: {', '.join(path.name for path in roots)}")
    root = roots[0]
    names = _below(root, ".npy")
    numbers = [re.search(r"(\d+)\.npy$", name) for name in names]
    images = root.parent / "images"
    choice = ImageChoice(str(images)) if images.is_dir() else None
    return FileLatents(
        folder,
        "repa",
        LatentInfo(images=choice, n_images=(len(names), len(names))),
        root,
        names,
        [int(number[1]) if number else None for number in numbers],
        _repa_labels(root / "dataset.json", names),
        second="std",
        notes=(
            "REPA's layout: mean and standard deviation of each posterior, before any scaling"
            " (its trainer multiplies samples by 0.18215).",
        ),
    )


def is_mar(folder: Path) -> bool:
    """Return whether .npz files lie below the folder."""
    return any(path.suffix == ".npz" for path in walk(folder).files)


def open_mar(folder: Path) -> FileLatents:
    """Open files CLASS/IMAGE.npz of `moments` and perhaps `moments_flip`, mean and log-variance (2c, h, w)."""
    names = _below(folder, ".npz")
    classes: list[str] = []
    if all("/" in name for name in names):
        classes = sorted({name.split("/")[0] for name in names})
    ids = {name: label for label, name in enumerate(classes)}
    flips = any(_has_mirrored(folder / name) for name in names[:8])
    return FileLatents(
        folder,
        "mar",
        LatentInfo(flips=flips, classes=tuple(classes), n_images=(len(names), len(names))),
        folder,
        names,
        [name.removesuffix(".npz") for name in names],
        [ids.get(name.split("/")[0], -1) for name in names],
        second="logvar",
        key="moments",
        notes=(
            "MAR's layout: mean and log-variance of each posterior, before any scaling (its trainer multiplies samples"
            " by 0.2325); those of mirrored images are left out.",
        ),
    )


def is_lightningdit(folder: Path) -> bool:
    """Return whether .safetensors files lie in the folder."""
    return bool(_shards(folder))


def open_lightningdit(folder: Path) -> ShardLatents:
    """Open shards latents_rankRR_shardSSS.safetensors of one sampled latent per image, and perhaps latents_stats.pt.

    Rank r of R held the images r, r + R, …; where ranks or shards are missing, the image of a row is unknown.

    Raises:
        ValueError: when a shard or the statistics are damaged; it is named.
    """
    paths = sorted(_shards(folder), key=_rank_and_shard)
    shapes = [_shape(path) for path in paths]
    if len({shape[1:] for shape in shapes}) > 1:
        raise ValueError(f"{folder}: mixed shapes ({', '.join(sorted({str(shape[1:]) for shape in shapes}))})")
    image_keys, n_ranks = _interleaved(paths, [shape[0] for shape in shapes])
    spaces = _latent_spaces(folder / "latents_stats.pt", shapes[0][1])
    tensors: dict[Statistic, str] = {"mean": "latents", "label": "labels"}
    if all("latents_flip" in open_shard(path).keys() for path in paths):  # noqa: SIM118 - no mapping
        tensors["mean_flip"] = "latents_flip"
    notes = [
        "LightningDiT's layout: one sample of each posterior, taken when the cache was made, before any scaling; means"
        " and variances are not stored; mirrored images are left out."
    ]
    if spaces[0] is not None:
        notes.append("latents_stats.pt holds each channel's mean and std over at most 10,000 of these latents.")
    if n_ranks > 1:
        notes.append(f"{n_ranks} processes shared the images; up to {n_ranks - 1} rows at the end repeat the first.")
    n = len(image_keys)
    info = LatentInfo(
        holds="sample", n_images=(n - max(0, n_ranks - 1), n), latent_space=spaces[0], global_space=spaces[1]
    )
    return ShardLatents(folder, "lightningdit", info, paths, shapes, tensors, image_keys, notes=tuple(notes))


def _shards(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.safetensors") if not path.name.startswith(".")]


def _rank_and_shard(path: Path) -> tuple[int, int, str]:
    match = SHARD_NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2]), path.name) if match else (-1, -1, path.name)


def _shape(path: Path) -> tuple[int, ...]:
    shard = open_shard(path)
    if not {"latents", "labels"} <= (keys := set(shard.keys())):
        held = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        raise ValueError(f"shard {path} holds {held}; expected latents and labels")
    shape = tuple(shard.get_slice("latents").get_shape())
    n_labels = shard.get_slice("labels").get_shape()
    if len(shape) != 4 or n_labels != [shape[0]]:
        raise ValueError(f"shard {path} holds latents {shape} and labels {n_labels}, expected (n, c, h, w) and (n,)")
    return shape


def _interleaved(paths: Sequence[Path], lengths: Sequence[int]) -> tuple[Sequence[int | None], int]:
    """Return the image of each row, and the number of ranks (0, and no images, where some are missing)."""
    shards: dict[int, list[int]] = {}
    n_rows: dict[int, int] = {}
    for path, length in zip(paths, lengths, strict=True):
        rank, shard, _ = _rank_and_shard(path)
        shards.setdefault(rank, []).append(shard)
        n_rows[rank] = n_rows.get(rank, 0) + length
    n_ranks = len(shards)
    whole = sorted(shards) == list(range(n_ranks)) and len(set(n_rows.values())) == 1
    if not whole or any(numbers != list(range(len(numbers))) for numbers in shards.values()):
        return [None] * sum(lengths), 0
    return [rank + n_ranks * row for rank in range(n_ranks) for row in range(n_rows[rank])], n_ranks


def _latent_spaces(path: Path, channels: int) -> tuple[LatentSpace | None, LatentSpace | None]:
    """Return the normalisation by channel and that of all channels together, None where there are no statistics."""
    if not path.exists():
        return None, None
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = (stored[key].double().flatten().tolist() for key in ("mean", "std"))
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}); remove it to go without it") from error
    if len(mean) != channels or len(std) != channels or not min(std) > 0 or not np.isfinite(mean + std).all():
        raise ValueError(f"{path} holds no finite mean and positive std for {channels} channels; remove it")
    space = LatentSpace("per channel", tuple(mean), tuple(std))
    return space, joint_space(space)


def _has_mirrored(path: Path) -> bool:
    try:
        return bool(array_shape(path, "moments_flip"))
    except BadLatentError:
        return False


def _repa_roots(folder: Path) -> list[Path]:
    roots = [path for path in (folder, *sorted(folder.iterdir())) if (path / "dataset.json").is_file()]
    return [root for root in roots if any(path.suffix == ".npy" for path in walk(root).files)]


def _repa_labels(path: Path, names: Sequence[str]) -> list[int]:
    try:
        labels = dict(json.loads(path.read_bytes())["labels"] or ())
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{path} is damaged, expected {{"labels": [[file, class], …]}}') from error
    return [label if isinstance(label := labels.get(name), int) else -1 for name in names]


def _below(root: Path, suffix: str) -> list[str]:
    return [name for name in walk(root).names if Path(name).suffix == suffix]
