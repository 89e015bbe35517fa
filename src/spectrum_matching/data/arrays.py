"""Sets of images held in a tensor, or in an .npz in the format of ADM's evaluator."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..files.digests import LENGTH
from ..files.npy import explain_npz_errors, read_npy_header, read_npz_headers
from .decode import Frame
from .fingerprint import Content, Contents
from .images import ImageRow, ImageSet
from .walk import BadFile

IMAGES = "arr_0"
MEMBER = f"{IMAGES}.npy"


class ArchivedImages(Contents, Dataset[ImageRow]):
    """Images uint8 (n, size, size, 3) under `arr_0` of an .npz, read one by one as they are asked for.

    Raises:
        ValueError: for anything else, and for a file that is cut off.
    """

    def __init__(self, path: Path) -> None:
        header = read_npz_headers(path).get(IMAGES)
        if header is None:
            raise ValueError(f"{path} has no {IMAGES}: expected an .npz of images as ADM's evaluator takes it")
        shape = header.shape
        if header.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or header.is_transposed:
            raise ValueError(f"{path}: {IMAGES} is {header.dtype} {shape}, expected uint8 (n, size, size, 3)")
        if shape[1] != shape[2] or 0 in shape:
            raise ValueError(f"{path}: {IMAGES} is {shape}, expected square images, at least one")
        self._path, self._n, self.size = path, shape[0], shape[1]
        self._n_bytes = 3 * self.size**2
        with explain_npz_errors(path), zipfile.ZipFile(path) as archive, archive.open(MEMBER) as stream:
            info = archive.getinfo(MEMBER)
            read_npy_header(stream)
            self._begin = stream.tell()
        self._stream: IO[bytes] | None = None
        self._process = 0
        n_complete = (info.file_size - self._begin) // self._n_bytes
        if n_complete < self._n:
            raise ValueError(f"{path} is cut off within image {n_complete} of {self._n}")
        self.source, self._checksum = str(path), info.CRC.to_bytes(4, "big")
        self.bad: tuple[BadFile, ...] = ()
        self.classes: tuple[str, ...] = ()
        self.names = tuple(f"{path.name}:{index}" for index in range(self._n))

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> ImageRow:
        if not 0 <= index < self._n:
            raise IndexError(f"image {index} of {self._n}")
        # A worker that reads from its parent's stream would move the position there.
        if self._stream is None or self._process != os.getpid():
            self._stream, self._process = zipfile.ZipFile(self._path).open(MEMBER), os.getpid()  # noqa: SIM115
        with explain_npz_errors(self._path):
            self._stream.seek(self._begin + index * self._n_bytes)
            pixels = torch.frombuffer(bytearray(self._stream.read(self._n_bytes)), dtype=torch.uint8)
        image = pixels.view(self.size, self.size, 3).permute(2, 0, 1).float() / 127.5 - 1
        return ImageRow(image, -1, (), index)

    def frame(self, index: int) -> Frame:
        """Return the size of an image."""
        return Frame(self.size, self.size)

    def content(self, index: int) -> Content:
        """Return the byte count of an image, and the checksum of them all."""
        return Content(self._n_bytes, self._checksum)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_stream": None}


class TensorImages(Contents, Dataset[ImageRow]):
    """Images (n, channels, size, size) in [-1, 1], 3 channels for RGB, and, where given, their labels (n,).

    Raises:
        ValueError: for another shape, values that are not finite or outside [-1, 1], or images in [0, 1].
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None) -> None:
        if images.ndim != 4 or not images.shape[1] or images.shape[2] != images.shape[3] or not len(images):
            expected = "expected (n, 3, size, size), or of other channels"
            raise ValueError(f"images are {tuple(images.shape)}; {expected}: crop them to squares")
        if not images.is_floating_point() or not images.isfinite().all() or images.abs().max() > 1.001:
            raise ValueError(
                "images must be finite floats in [-1, 1]; scale them: [0, 1] by 2x - 1, bytes by x / 127.5 - 1"
            )
        if images.min() >= 0:
            raise ValueError("no image value is below 0, so these seem to lie in [0, 1]: give 2x - 1, in [-1, 1]")
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(f"labels are {tuple(labels.shape)}; expected ({len(images)},)")
        self._images = images.detach().cpu().float()
        self._labels = labels.tolist() if labels is not None else [-1] * len(images)
        self.source, self.channels, self.size = "tensor", *images.shape[1:3]
        self.bad: tuple[BadFile, ...] = ()
        self.classes: tuple[str, ...] = ()
        self.names = tuple(str(index) for index in range(len(images)))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> ImageRow:
        return ImageRow(self._images[index], self._labels[index], (), index)

    def frame(self, index: int) -> Frame:
        """Return the size of an image."""
        return Frame(self.size, self.size)

    def content(self, index: int) -> Content:
        """Return the byte count and the digest of an image."""
        pixels = self._images[index].contiguous().numpy()
        return Content(pixels.nbytes, hashlib.sha256(pixels.data).digest()[: LENGTH // 2])


Images = ImageSet | TensorImages | ArchivedImages


def as_image_set(images: Images | Tensor) -> Images:
    """Return a set of images, or a tensor as one.

    Raises:
        ValueError: for anything else, such as a DataLoader, and as `TensorImages` does.
    """
    if isinstance(images, Tensor):
        return TensorImages(images)
    if not isinstance(images, Images):
        expected = "expected a tensor (n, 3, size, size) in [-1, 1], or what open_images returns"
        raise ValueError(f"images are {type(images).__name__}; {expected}")
    return images
