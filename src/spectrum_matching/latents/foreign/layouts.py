"""The caches of REPA, U-ViT, MAR and LightningDiT: what lies where, which statistic it is, which image it is of."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ...data.images import ImageChoice
from ...latent_space import LatentSpace
from ..sources import FileFormat, FileLatents, LatentSource, MirroredFiles
from .array_files import BadLatentError, npy_shape, npz_shape, read_npy, read_npz

Layout = Literal["specmatch", "repa", "lightningdit", "uvit", "mar"]
Holds = Literal["posterior", "mean", "sample"]
UVIT_NAME = re.compile(r"(0|[1-9]\d*)\.npy")


class OpenedLayout(NamedTuple):
    """Latents, what a reader must know of them, and how many images (at least, at most) they were made from.

    choice: of those images, where the layout tells; image_digest: the digest that they must have. holds: what the mean
    of a row is. classes: names of the labels; autoencoder: what encoded the images; both empty where unknown.
    """

    layout: Layout
    latents: LatentSource
    notes: tuple[str, ...]
    n_images: tuple[int, int]
    latent_space: LatentSpace | None = None
    choice: ImageChoice | None = None
    image_digest: str | None = None
    digest: str | None = None
    holds: Holds = "posterior"
    classes: tuple[str, ...] = ()
    autoencoder: str = ""


def is_repa(folder: Path) -> bool:
    """Whether the folder, or one in it, holds dataset.json above .npy files."""
    return bool(_repa_roots(folder))


def open_repa(folder: Path) -> OpenedLayout:
    """Files img-mean-std-NUMBER.npy of mean and std (2c, h, w) below a dataset.json of labels, images/ beside them.

    `folder` holds them, or one folder that does (vae-sd). Raises ValueError where several do, or labels are damaged.
    """
    found = _repa_roots(folder)
    if len(found) > 1:
        raise ValueError(f"{folder} holds several sets of latents; name one: {', '.join(path.name for path in found)}")
    root = found[0]
    names = _below(root, ".npy")
    numbers = [re.search(r"(\d+)\.npy$", name) for name in names]
    image_keys = [int(number[1]) if number else None for number in numbers]
    labels = _repa_labels(root / "dataset.json", names)
    latents = FileLatents(root, names, image_keys, labels, FileFormat(npy_shape, _plain, "std"))
    notes = (
        "REPA's layout: mean and standard deviation of each posterior, before any scaling"
        " (its trainer multiplies samples by 0.18215).",
    )
    images = root.parent / "images"
    choice = ImageChoice(str(images)) if images.is_dir() else None
    return OpenedLayout("repa", latents, notes, (len(names),) * 2, choice=choice)


def is_uvit(folder: Path) -> bool:
    """Whether the folder holds 0.npy, 1.npy, …"""
    return any(UVIT_NAME.fullmatch(path.name) for path in folder.iterdir())


def open_uvit(folder: Path) -> OpenedLayout:
    """Files 0.npy, 1.npy, … of mean and log-variance (2c, h, w), alone or paired with a label.

    The original tool writes 256 images, then the same mirrored, and so on. Where mirrored ones are found they are no
    rows of their own.
    """
    numbers = sorted(int(path.stem) for path in folder.iterdir() if UVIT_NAME.fullmatch(path.name))
    n = numbers[-1] + 1
    batch = mirrored_batch(n, lambda number: _moments_and_label(folder / f"{number}.npy"))
    originals = {number: place for number in numbers if (place := original(number, n, batch)) is not None}
    names, image_keys = [f"{number}.npy" for number in originals], list(originals.values())
    mirrored = None
    if batch:
        mirror_names = [f"{mirror(number, n, batch)}.npy" for number in originals]
        mirrored = MirroredFiles(mirror_names, _moments_and_label)
    file_format = FileFormat(npy_shape, _moments_and_label, "logvar")
    latents = FileLatents(folder, names, image_keys, None, file_format, mirrored)
    notes = (
        "U-ViT's layout: mean and log-variance of each posterior, before any scaling"
        " (its trainer multiplies samples by its autoencoder's factor, 0.18215 for Stable Diffusion's).",
        f"{len(numbers) - len(names)} files are of mirrored images and left out."
        if batch
        else "The files' order shows no mirrored images: every file is taken for an image.",
    )
    return OpenedLayout("uvit", latents, notes, (n // 2 if batch else n,) * 2)


def is_mar(folder: Path) -> bool:
    """Whether .npz files lie below the folder."""
    return bool(_below(folder, ".npz", first=True))


def open_mar(folder: Path) -> OpenedLayout:
    """Files CLASS/IMAGE.npz of `moments` and perhaps `moments_flip`, mean and log-variance (2c, h, w)."""
    names = _below(folder, ".npz")
    image_keys = [name.removesuffix(".npz") for name in names]
    classes = sorted({name.split("/")[0] for name in names})
    labels = [-1] * len(names)
    if all("/" in name for name in names):
        ids = {name: label for label, name in enumerate(classes)}
        labels = [ids[name.split("/")[0]] for name in names]
    mirrored = MirroredFiles(names, _npz_mirrored) if any(_has_mirrored(folder / name) for name in names[:8]) else None
    file_format = FileFormat(_npz_moments_shape, _npz_moments, "logvar")
    latents = FileLatents(folder, names, image_keys, labels, file_format, mirrored)
    notes = (
        "MAR's layout: mean and log-variance of each posterior, before any scaling (its trainer multiplies samples by"
        " 0.2325); those of mirrored images are left out.",
    )
    known = tuple(classes) if labels[0] >= 0 else ()
    return OpenedLayout("mar", latents, notes, (len(names),) * 2, classes=known)


def _plain(path: Path) -> tuple[np.ndarray, int]:
    return _moments_and_label(path)[0], -1


def _moments_and_label(path: Path) -> tuple[np.ndarray, int]:
    moments, label, *rest = (*read_npy(path), -1)
    if len(rest) > 1 or not isinstance(moments, np.ndarray) or not _is_label(label):
        raise BadLatentError("holds objects that are not moments and a label")
    return moments, int(label)


def _is_label(value: object) -> bool:
    return np.size(value) == 1 and np.asarray(value).dtype.kind in "iu"  # type: ignore[arg-type]


def _npz_moments_shape(path: Path) -> tuple[int, ...]:
    return npz_shape(path, "moments")


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
    """Relative names, sorted, of the visible files that end in `suffix`; `first`: at most one of them."""
    names = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.endswith(suffix) and not name.startswith("."):
                names.append(Path(folder, name).relative_to(root).as_posix())
                if first:
                    return names
    return sorted(names)


BATCH = 256


N_LOOKED_AT = 8


# An image and its mirror image, mirrored back, against two images: 0.73 and 0.07 at the median with TAEF2.
LIKENESS = 0.4


def original(number: int, n: int, batch: int) -> int | None:
    """The image that file `number` of `n` is of, None for a mirrored one; with batch 0 none is mirrored."""
    if not batch:
        return number
    block, place = divmod(number, 2 * batch)
    return block * batch + place if place < _half(block, n, batch) else None


def mirror(number: int, n: int, batch: int) -> int:
    """The file of the mirror image of what file `number` of `n` is of, which is no mirrored one itself."""
    return number + _half(number // (2 * batch), n, batch)


def mirrored_batch(n: int, read: Callable[[int], tuple[np.ndarray, int]]) -> int:
    """The number of images after which the same come mirrored: 256, half of the `n` files, or 0 where none do.

    `read` gives a file's moments (2c, h, w) and label, or raises BadLatentError. Some files, spread over all, are
    looked at: label and mean must be those of the file one batch further, the mean mirrored.
    """
    return next((batch for batch in (BATCH, n // 2) if n % 2 == 0 and _is_mirrored(n, batch, read)), 0)


def _is_mirrored(n: int, batch: int, read: Callable[[int], tuple[np.ndarray, int]]) -> bool:
    originals = [number for number in range(n) if original(number, n, batch) is not None]
    likenesses = []
    for number in originals[:: -(-len(originals) // N_LOOKED_AT)]:
        try:
            one, label = read(number)
            other, label_further = read(mirror(number, n, batch))
        except BadLatentError:
            continue
        if label != label_further or one.shape != other.shape or one.ndim != 3:
            return False
        likenesses.append(_likeness(one[: len(one) // 2], other[: len(one) // 2, :, ::-1]))
    return bool(likenesses) and float(np.median(likenesses)) > LIKENESS


def _half(block: int, n: int, batch: int) -> int:
    return min(2 * batch, n - 2 * batch * block) // 2


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation over cells of (c, h, w), each channel centred; 0 where one is constant."""
    a, b = (np.nan_to_num(x.astype(float) - x.mean((-2, -1), keepdims=True)).ravel() for x in (one, other))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
