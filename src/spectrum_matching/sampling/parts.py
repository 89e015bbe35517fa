"""Finished batches of samples, in a hidden folder beside what they become: kept until all are there.

The folder's name holds the digest of how the images are sampled, so that two samplings never mix.
"""

import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..files.atomic import open_atomically
from ..files.digests import digest_json
from ..files.npy import explain_npz_errors
from ..records.scores import Sampling
from .sample_record import without_names

NAME = re.compile(r"(\d{8,})-(\d{8,})\.npz")

log = logging.getLogger(__name__)


def parts_of(out: Path, record: Sampling) -> Path:
    """Return the folder of the finished batches of a sampling."""
    digest = digest_json(asdict(without_names(record)))
    return out.with_name(f".{out.name}.{digest[:10]}.parts")


def all_parts_of(out: Path) -> list[Path]:
    """Return the folders of finished batches of any sampling into `out`."""
    name = re.compile(re.escape(f".{out.name}.") + r"[0-9a-f]{10}\.parts")
    return [path for path in out.parent.iterdir() if name.fullmatch(path.name)] if out.parent.is_dir() else []


def begin_parts(out: Path, record: Sampling) -> Path:
    """Make the folder of a sampling's batches, with the whole ones that are there already; delete all others."""
    parts = parts_of(out, record)
    for other in all_parts_of(out):
        if other != parts:
            shutil.rmtree(other)
    parts.mkdir(parents=True, exist_ok=True)
    for indices in finished(parts):
        try:
            read_part(parts, indices)
        except ValueError as error:
            log.warning("%s: these images are sampled again", error)
            _part(parts, indices).unlink()
    return parts


def missing_batches(parts: Path, n_images: int, batch_size: int) -> list[range]:
    """Divide the images that are not finished into batches; finished batches may be of any size."""
    gaps, end = [], 0
    for batch in [*finished(parts), range(n_images, n_images)]:
        gaps.append(range(end, batch.start))
        end = batch.stop
    return [gap[start : start + batch_size] for gap in gaps for start in range(0, len(gap), batch_size)]


def write_part(parts: Path, indices: range, pixels: np.ndarray) -> None:
    """Write a finished batch, uint8 (b, H, W, 3), with the indices of its images: a name alone can be exchanged."""
    with open_atomically(_part(parts, indices)) as stream:
        np.savez(stream, pixels, indices=np.array(indices))


def read_part(parts: Path, indices: range) -> np.ndarray:
    """Return a finished batch, uint8 (b, H, W, 3).

    Raises:
        ValueError: naming the file, where it is damaged, or of other images.
    """
    path = _part(parts, indices)
    with explain_npz_errors(path), np.load(path, allow_pickle=False) as archive:
        pixels: np.ndarray = archive["arr_0"]  # checked by the archive's CRC
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != len(indices) or pixels.shape[3] != 3:
            raise ValueError(f"{pixels.dtype} {pixels.shape}, expected uint8 ({len(indices)}, height, width, 3)")
        if not np.array_equal(archive["indices"], np.array(indices)):
            raise ValueError(f"it is of other images than {indices.start} to {indices.stop - 1}")
    return pixels


def joined(parts: Path, n_images: int) -> Iterator[np.ndarray]:
    """Yield the finished batches in order.

    Raises:
        ValueError: where they do not hold images 0 to n_images − 1 once each, in one size.
    """
    batches: Sequence[range] = finished(parts)
    if [i for batch in batches for i in batch] != list(range(n_images)):
        raise ValueError(f"the batches in {parts} are not images 0 to {n_images - 1} once each: rerun the same command")
    shape: tuple[int, ...] = ()
    for indices in batches:
        pixels = read_part(parts, indices)
        shape = shape or pixels.shape[1:]
        if pixels.shape[1:] != shape:
            raise ValueError(f"images in {parts} are {shape} and {pixels.shape[1:]}: remove it, then rerun the command")
        yield pixels


def finished(parts: Path) -> list[range]:
    """Return the indices of each finished batch, in order."""
    names = (NAME.fullmatch(path.name) for path in parts.iterdir())
    return sorted((range(int(name[1]), int(name[2])) for name in names if name), key=lambda batch: batch.start)


def _part(parts: Path, indices: range) -> Path:
    return parts / f"{indices.start:08d}-{indices.stop:08d}.npz"
