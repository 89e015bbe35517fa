"""Caches of REPA, U-ViT and MAR: which file holds which statistic of which image."""

import json
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...data.images import ImageChoice
from ..file_latents import FileFormat, FileLatents
from ..latent_set import BadLatentError, LatentInfo
from .array_files import npy_shape, npz_shape, read_npy, read_npz

UVIT_NAME = re.compile(r"(0|[1-9]\d*)\.npy")
BATCH = 256  # images after which U-ViT's tool writes the same mirrored
N_COMPARED = 8
# Median correlation of an image and its mirror image, mirrored back, with TAEF2: 0.73; of two images: 0.07.
CORRELATION = 0.4


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
        FileFormat(npy_shape, _moments, "std"),
        root,
        names,
        [int(number[1]) if number else None for number in numbers],
        labels=_repa_labels(root / "dataset.json", names),
        notes=(
            "REPA's layout: mean and standard deviation of each posterior, before any scaling"
            " (its trainer multiplies samples by 0.18215).",
        ),
    )


def is_uvit(folder: Path) -> bool:
    """Return whether the folder holds 0.npy, 1.npy, …"""
    return any(UVIT_NAME.fullmatch(path.name) for path in folder.iterdir())


def open_uvit(folder: Path) -> FileLatents:
    """Open files 0.npy, 1.npy, … of mean and log-variance (2c, h, w), alone or paired with a label.

    The original tool writes 256 images, then the same mirrored, and so on. Where mirrored ones are detected they are
    not rows of their own.
    """
    numbers = {int(path.stem) for path in folder.iterdir() if UVIT_NAME.fullmatch(path.name)}
    n = max(numbers) + 1
    originals, mirrored = list(range(n)), None
    note = "The files' order shows no mirrored images: every file is taken for an image."
    for batch in (BATCH, n // 2) if n % 2 == 0 else ():
        halves = _halves(n, batch)
        if _are_mirrored(folder, *halves):
            originals, mirrored = halves
            note = f"{len(numbers.difference(originals))} files are of mirrored images and left out."
            break
    rows = [image for image, number in enumerate(originals) if number in numbers]
    return FileLatents(
        folder,
        "uvit",
        LatentInfo(n_images=(len(originals), len(originals))),
        FileFormat(npy_shape, _moments_and_label, "logvar"),
        folder,
        [f"{originals[image]}.npy" for image in rows],
        rows,
        mirrored=[f"{mirrored[image]}.npy" for image in rows] if mirrored else None,
        notes=(
            "U-ViT's layout: mean and log-variance of each posterior, before any scaling"
            " (its trainer multiplies samples by its autoencoder's factor, 0.18215 for Stable Diffusion's).",
            note,
        ),
    )


def is_mar(folder: Path) -> bool:
    """Return whether .npz files lie below the folder."""
    return bool(_below(folder, ".npz", first=True))


def open_mar(folder: Path) -> FileLatents:
    """Open files CLASS/IMAGE.npz of `moments` and perhaps `moments_flip`, mean and log-variance (2c, h, w)."""
    names = _below(folder, ".npz")
    classes: list[str] = []
    if all("/" in name for name in names):
        classes = sorted({name.split("/")[0] for name in names})
    ids = {name: label for label, name in enumerate(classes)}
    has_mirrored = any(_has_mirrored(folder / name) for name in names[:8])
    return FileLatents(
        folder,
        "mar",
        LatentInfo(classes=tuple(classes), n_images=(len(names), len(names))),
        FileFormat(partial(npz_shape, key="moments"), _npz_moments, "logvar", _npz_mirrored),
        folder,
        names,
        [name.removesuffix(".npz") for name in names],
        labels=[ids.get(name.split("/")[0], -1) for name in names],
        mirrored=names if has_mirrored else None,
        notes=(
            "MAR's layout: mean and log-variance of each posterior, before any scaling (its trainer multiplies samples"
            " by 0.2325); those of mirrored images are left out.",
        ),
    )


def _moments(path: Path) -> tuple[np.ndarray, int]:
    return _moments_and_label(path)[0], -1


def _moments_and_label(path: Path) -> tuple[np.ndarray, int]:
    moments, label, *rest = (*read_npy(path), -1)
    if len(rest) > 1 or not isinstance(moments, np.ndarray) or not _is_label(label):
        raise BadLatentError("holds objects that are not moments and a label")
    return moments, int(label)


def _is_label(value: object) -> bool:
    return np.size(value) == 1 and np.asarray(value).dtype.kind in "iu"  # type: ignore[arg-type]


def _npz_moments(path: Path) -> tuple[np.ndarray, int]:
    return read_npz(path, "moments"), -1


def _npz_mirrored(path: Path) -> tuple[np.ndarray, int]:
    return read_npz(path, "moments_flip"), -1


def _has_mirrored(path: Path) -> bool:
    try:
        return bool(npz_shape(path, "moments_flip"))
    except BadLatentError:
        return False


def _repa_roots(folder: Path) -> list[Path]:
    roots = [path for path in (folder, *sorted(folder.iterdir())) if (path / "dataset.json").is_file()]
    return [root for root in roots if _below(root, ".npy", first=True)]


def _repa_labels(path: Path, names: Sequence[str]) -> list[int]:
    try:
        labels = dict(json.loads(path.read_bytes())["labels"] or ())
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{path} is damaged, expected {{"labels": [[file, class], …]}}') from error
    return [label if isinstance(label := labels.get(name), int) else -1 for name in names]


def _below(root: Path, suffix: str, *, first: bool = False) -> list[str]:
    """Return relative names, sorted, of the visible files that end in `suffix`; `first`: at most one of them."""
    names = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.endswith(suffix) and not name.startswith("."):
                names.append(Path(folder, name).relative_to(root).as_posix())
                if first:
                    return names
    return sorted(names)


def _halves(n: int, batch: int) -> tuple[list[int], list[int]]:
    """Return the files of images and those of the same mirrored, if each batch of images is followed by the latter."""
    blocks = [range(start, min(start + 2 * batch, n)) for start in range(0, n, 2 * batch)]
    originals = [number for block in blocks for number in block[: len(block) // 2]]
    return originals, [number for block in blocks for number in block[len(block) // 2 :]]


def _are_mirrored(folder: Path, originals: Sequence[int], mirrored: Sequence[int]) -> bool:
    """Compare some files, spread over all: the other has the same label, and the mean of the mirror image."""
    correlations = []
    for image in range(0, len(originals), -(-len(originals) // N_COMPARED)):
        try:
            one, label = _moments_and_label(folder / f"{originals[image]}.npy")
            other, other_label = _moments_and_label(folder / f"{mirrored[image]}.npy")
        except BadLatentError:
            continue
        if label != other_label or one.shape != other.shape or one.ndim != 3:
            return False
        correlations.append(_correlation(one[: len(one) // 2], other[: len(one) // 2, :, ::-1]))
    return bool(correlations) and float(np.median(correlations)) > CORRELATION


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two fields (c, h, w), each channel centred; 0 where one is constant."""
    a, b = (np.nan_to_num(x.astype(float) - x.mean((-2, -1), keepdims=True)).ravel() for x in (one, other))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
