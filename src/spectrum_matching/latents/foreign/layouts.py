"""Caches of REPA, MAR and LightningDiT: which file holds which statistic of which image."""

import json
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.images import ImageChoice
from ...data.walk import Listing
from ...files.regular import require_regular
from ...latent_space import LatentSpace
from ..class_ids import class_id
from ..latent_set import BadLatentError, LatentInfo
from ..read_arrays import FileLatents, array_shape
from ..read_shards import ShardLatents, Statistic, open_shard
from ..statistics import joint_space

FLOATS = ("F16", "BF16", "F32", "F64")  # safetensors' names
SHARD_NAME = re.compile(r"latents_rank(\d+)_shard(\d+)\.safetensors")


def is_repa(listing: Listing) -> bool:
    """Return whether a folder, or one in it, holds dataset.json above .npy files."""
    return bool(_repa_roots(listing))


def open_repa(listing: Listing) -> FileLatents:
    """Open files img-mean-std-NUMBER.npy of mean and std (2c, h, w) below a dataset.json of labels.

    The listed folder holds them, or one in it (vae-sd), perhaps beside one of images.

    Raises:
        ValueError: when several folders do, or labels are damaged.
    """
    folder, roots = listing.root, _repa_roots(listing)
    if len(roots) > 1:
        named = ", ".join(root or "." for root in roots)
        raise ValueError(f"{folder} holds several sets of latents; name one: {named}")
    root = folder / roots[0]
    names = _below(listing, ".npy", roots[0])
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
        unread=listing.unread,
        notes=(
            "REPA's layout: mean and standard deviation of each posterior, before any scaling"
            " (its trainer multiplies samples by 0.18215).",
            *_second_names(listing),
        ),
    )


def is_mar(listing: Listing) -> bool:
    """Return whether .npz files lie below a folder."""
    return bool(_below(listing, ".npz"))


def open_mar(listing: Listing) -> FileLatents:
    """Open files CLASS/IMAGE.npz of `moments` and perhaps `moments_flip`, mean and log-variance (2c, h, w)."""
    folder, names = listing.root, _below(listing, ".npz")
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
        unread=listing.unread,
        notes=(
            "MAR's layout: mean and log-variance of each posterior, before any scaling (its trainer multiplies samples"
            " by 0.2325); those of mirrored images are left out.",
            *_second_names(listing),
        ),
    )


def is_lightningdit(listing: Listing) -> bool:
    """Return whether .safetensors files, or what bears such a name, lie in a folder."""
    return bool(_shards(listing))


def open_lightningdit(listing: Listing) -> ShardLatents:
    """Open shards latents_rankRR_shardSSS.safetensors of one sampled latent per image, and perhaps latents_stats.pt.

    Rank r of R held the images r, r + R, …; where ranks or shards are missing, the image of a row is unknown.

    Raises:
        ValueError: when a shard or the statistics are damaged; it is named.
    """
    folder = listing.root
    paths = sorted(_shards(listing), key=_rank_and_shard)
    layouts = [_shape(path) for path in paths]
    shapes = [shape for shape, _ in layouts]
    if len(kinds := {f"{dtype} {shape[1:]}" for shape, dtype in layouts}) > 1:
        raise ValueError(f"{folder}: mixed shapes or types ({', '.join(sorted(kinds))})")
    image_keys, n_ranks = _interleaved(paths, [shape[0] for shape in shapes])
    spaces = _latent_spaces(folder / "latents_stats.pt", shapes[0][1])
    tensors: dict[Statistic, str] = {"mean": "latents"}
    optional: dict[Statistic, str] = {"label": "labels", "mean_flip": "latents_flip"}
    for statistic, name in optional.items():
        if all(name in open_shard(path).keys() for path in paths):  # noqa: SIM118 - no mapping
            tensors[statistic] = name
    notes = [
        "LightningDiT's layout: one sample of each posterior, taken when the cache was made, before any scaling; means"
        " and variances are not stored; mirrored images are left out."
    ]
    if spaces[0] is not None:
        notes.append("latents_stats.pt holds each channel's mean and std over at most 10,000 of these latents.")
    if n_ranks > 1:
        notes.append(f"{n_ranks} processes shared the images; up to {n_ranks - 1} rows at the end repeat the first.")
    notes += _second_names(listing)
    n = len(image_keys)
    info = LatentInfo(
        holds="sample", n_images=(n - max(0, n_ranks - 1), n), latent_space=spaces[0], global_space=spaces[1]
    )
    return ShardLatents(folder, "lightningdit", info, paths, shapes, tensors, image_keys, notes=tuple(notes))


def _shards(listing: Listing) -> list[Path]:
    """Return the shards in a folder; also those that cannot be opened, so that the error names them."""
    names = (*listing.names, *(file.name for file in listing.unread))
    return [listing.root / name for name in names if "/" not in name and name.endswith(".safetensors")]


def _rank_and_shard(path: Path) -> tuple[int, int, str]:
    match = SHARD_NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2]), path.name) if match else (-1, -1, path.name)


def _shape(path: Path) -> tuple[tuple[int, ...], str]:
    """Return the shape (n, c, h, w) and the type of a shard's latents."""
    shard = open_shard(path)
    if "latents" not in (keys := set(shard.keys())):
        held = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        own = "; our own caches are read by their index.json, which is missing" if {"mean", "index"} <= keys else ""
        raise ValueError(f"shard {path} holds {held}; expected latents (n, c, h, w) and perhaps labels (n,){own}")
    slices = [shard.get_slice(name) for name in ("latents", "latents_flip") if name in keys]
    kinds = {(tuple(each.get_shape()), each.get_dtype()) for each in slices}
    shape, dtype = next(iter(kinds))
    n_labels = shard.get_slice("labels").get_shape() if "labels" in keys else shape[:1]
    if len(kinds) > 1 or len(shape) != 4 or 0 in shape[1:] or dtype not in FLOATS or list(n_labels) != [shape[0]]:
        found = " and ".join(f"{dtype} {shape}" for shape, dtype in sorted(kinds))
        raise ValueError(
            f"shard {path} holds latents {found} and labels {n_labels}, expected floats (n, c, h, w) and (n,)"
        )
    return shape, dtype


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
        require_regular(path)
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = (stored[key].double().flatten().tolist() for key in ("mean", "std"))
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
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


def _repa_roots(listing: Listing) -> list[str]:
    """Return the folders, "" or one below, that hold dataset.json above .npy files."""
    above = [posixpath.dirname(name) for name in listing.names if posixpath.basename(name) == "dataset.json"]
    return [folder for folder in above if "/" not in folder and _below(listing, ".npy", folder)]


def _repa_labels(path: Path, names: Sequence[str]) -> list[int]:
    try:
        labels = dict(json.loads(path.read_bytes())["labels"] or ())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f'{path} is damaged, expected {{"labels": [[file, class], …]}}') from error
    return [class_id(labels.get(name), path, name) for name in names]


def _below(listing: Listing, suffix: str, folder: str = "") -> list[str]:
    """Return files with a suffix below a folder, relative to it."""
    top = f"{folder}/" if folder else ""
    names = (name.removeprefix(top) for name in listing.names if name.startswith(top))
    return [name for name in names if posixpath.splitext(name)[1] == suffix]


def _second_names(listing: Listing) -> list[str]:
    """Return the note that links to files and folders that are listed already are left out, if there are any."""
    n = len(listing.again)
    return [f"{n} second names (links) of files and folders are left out, such as {listing.again[0]}."] if n else []
