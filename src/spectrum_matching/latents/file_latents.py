"""Latents in one file for each image, as REPA, U-ViT and MAR write them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from ..data.images import BadFile, check_in_threads
from ..files.digests import digest_lines, n_bytes
from .latent_set import LOGVAR_RANGE, BadLatentError, LatentInfo, LatentRow, LatentSet, Layout

MOST_OF_OTHER_SHAPE = 0.05
N_PROBED = 8

Shape = tuple[int, ...]


class FileFormat(NamedTuple):
    """How a file holds moments (2c, h, w) and perhaps a label (-1: none), and what their second half is.

    shape: reads headers alone, None where only reading the file tells. read_mirrored: reads the moments of the mirrored
    image.
    """

    shape: Callable[[Path], Shape | None]
    read: Callable[[Path], tuple[np.ndarray, int]]
    second: Literal["std", "logvar"]
    read_mirrored: Callable[[Path], tuple[np.ndarray, int]] | None = None


class FileLatents(LatentSet):
    """Latents of which each lies in a file of its own.

    names: files below `root`. mirrored: for each that of the mirrored image, perhaps the same one. labels: where given,
    used instead of those in the files. Unusable files are left out, from their headers, and named in `info.bad`.

    Raises:
        ValueError: when no latent can be used, or shapes are mixed.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        info: LatentInfo,
        file_format: FileFormat,
        root: Path,
        names: Sequence[str],
        image_keys: Sequence[str | int | None],
        *,
        notes: tuple[str, ...],
        labels: Sequence[int] | None = None,
        mirrored: Sequence[str] | None = None,
    ) -> None:
        self._root, self._format = root, file_format
        verdicts = check_in_threads(lambda item: _verdict(root / names[item], file_format.shape), len(names))
        for item in [item for item, verdict in enumerate(verdicts) if verdict is None][:N_PROBED]:
            verdicts[item] = _verdict(root / names[item], lambda path: file_format.read(path)[0].shape)
        shape = _common_shape(root, verdicts)
        bad = tuple(
            BadFile(name, verdict if isinstance(verdict, str) else f"shape {verdict}, the others have {shape}")
            for name, verdict in zip(names, verdicts, strict=True)
            if verdict not in (None, shape)
        )
        if not shape:
            raise ValueError(f"{root}: no latent can be read ({bad[0].name}: {bad[0].reason})")
        items = [item for item, verdict in enumerate(verdicts) if verdict in (None, shape)]
        self._shape, self._names = shape, [names[item] for item in items]
        self._labels = None if labels is None else [labels[item] for item in items]
        self._mirrored = None if mirrored is None else [mirrored[item] for item in items]
        info = replace(info, channels=shape[0] // 2, grid=(shape[1], shape[2]), flips=mirrored is not None, bad=bad)
        digest = digest_lines(f"{name}\0{n_bytes(root / name)}" for name in names)
        super().__init__(folder, layout, info, [image_keys[item] for item in items], notes, digest)

    def name(self, row: int) -> str:
        """Return the file of a row, relative to the folder of the files."""
        return self._names[row]

    def read(self, row: int, is_mirrored: bool = False) -> LatentRow:
        """Read a file; see `LatentSet.read`."""
        names, read = self._names, self._format.read
        if is_mirrored:
            assert self._mirrored is not None
            names, read = self._mirrored, self._format.read_mirrored or self._format.read
        moments, label = read(self._root / names[row])
        if moments.shape != self._shape:
            raise BadLatentError(f"shape {moments.shape}, the others have {self._shape}")
        with np.errstate(over="ignore"):
            mean, second = np.split(moments.astype(np.float32), 2)
        if not np.isfinite(mean).all() or not np.isfinite(second).all():
            raise BadLatentError("holds NaN or infinite values")
        if self._format.second == "std":
            if (second < 0).any():
                raise BadLatentError("negative standard deviations; does it hold log-variances?")
            with np.errstate(divide="ignore"):
                second = 2 * np.log(second)
        label = label if self._labels is None else self._labels[row]
        logvar = torch.from_numpy(second.clip(*LOGVAR_RANGE))
        return LatentRow(torch.from_numpy(mean.copy()), logvar, label, self.image_keys[row])

    def _read_labels(self) -> Sequence[int]:
        return self._labels if self._labels is not None else [self._label(row) for row in range(len(self))]

    def _label(self, row: int) -> int:
        try:
            return self.read(row).label
        except BadLatentError:
            return -1


def _verdict(path: Path, shape: Callable[[Path], Shape | None]) -> Shape | str | None:
    """Return the shape of the moments, a reason against the file, or None where only reading tells."""
    try:
        found = shape(path)
    except BadLatentError as error:
        return str(error)
    if found is not None and (len(found) != 3 or found[0] % 2 or 0 in found):
        return f"shape {found}, expected (2 x channels, height, width)"
    return found


def _common_shape(root: Path, verdicts: Sequence[Shape | str | None]) -> Shape:
    """Return the shape of nearly all files, () where no file has one."""
    counts = Counter(verdict for verdict in verdicts if isinstance(verdict, tuple))
    shape = counts.most_common(1)[0][0] if counts else ()
    if counts.total() - counts[shape] > MOST_OF_OTHER_SHAPE * counts.total():
        shapes = ", ".join(f"{n} of {shape}" for shape, n in counts.most_common(3))
        raise ValueError(f"{root}: mixed shapes ({shapes}); keep latents of one shape in a folder")
    return shape
