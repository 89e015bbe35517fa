"""The latents of a set of images: one sweep takes statistics and keeps them on disk, a second one does the rest."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..metrics import LatentStatistics, image_bands
from ..metrics.latents.block_dct import block_amplitudes, block_profile
from ..metrics.latents.structure import LatentNumbers, latent_numbers
from ..metrics.latents.sweep import LatentBatch
from ..records.analysis import Kind
from ..seeding import seeded
from ..spectrum.filters import resize


class Spool:
    """Rows of one shape and dtype in a temporary file, which goes when the spool is closed or the process ends.

    ValueError, naming the folder and the remedy, when the disk is full.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="specmatch-")  # noqa: SIM115
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype("float32")
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, rows: Tensor) -> None:
        """Append rows (b, …)."""
        values = rows.detach().cpu().contiguous().numpy()
        if not self._n:
            self._shape, self._dtype = values.shape[1:], values.dtype
        try:
            self._file.write(values.tobytes())
            self._file.flush()
        except OSError as error:
            raise ValueError(
                f"latents are kept in {tempfile.gettempdir()} while they are measured, and after {self._n} no more fit "
                f"({error.strerror}): set TMPDIR to a folder on a larger disk, or take fewer images"
            ) from error
        self._n += len(values)

    def batches(self, size: int, n: int | None = None) -> Iterator[Tensor]:
        """The first `n` rows (None: all) in order, `size` at a time."""
        n = self._n if n is None else min(n, self._n)
        row = math.prod(self._shape) * self._dtype.itemsize
        for first in range(0, n, size):
            self._file.seek(first * row)
            data = bytearray(self._file.read(min(size, n - first) * row))
            self._file.seek(0, 2)
            yield torch.from_numpy(np.frombuffer(data, self._dtype).reshape(-1, *self._shape))

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


N_IMAGE_BINS = 32
SWEEP = 64  # images at once in the second sweep


class Encodings:
    """Posterior means, and samples where the encoder is stochastic, in the order of the images. Close it after use."""

    def __init__(self, seed: int) -> None:
        self.statistics: dict[Kind, LatentStatistics] = {}
        self.image_rows: list[Tensor] = []
        self.image_frequencies = torch.empty(0)
        self.labels: list[Tensor] = []
        self.noise: list[Tensor] = []
        self._spools: dict[Kind, Spool] = {}
        self._masks = Spool()
        self._image_amplitudes: Tensor | float = 0.0
        self._seed = seed
        self.n_images = 0

    def add(
        self,
        mean: Tensor,
        logvar: Tensor | None,
        images: Tensor | None,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> None:
        """Count a batch in: mean, logvar (b, c, h, w), images (b, 3, H, W), labels (b,), masks (b, h, w) bool.

        logvar: None for a deterministic encoder. ValueError as from `LatentStatistics.add`.
        """
        views: dict[Kind, Tensor] = {"mean": mean.float()}
        if logvar is not None:
            deviation = logvar.float().mul(0.5).exp()
            views["sample"] = views["mean"] + deviation * self._draw(mean)
            self.noise.append(deviation.square().mean((1, 2, 3)).cpu().double())
        for kind, latents in views.items():
            self.statistics.setdefault(kind, LatentStatistics()).add(latents, images)
            self._spools.setdefault(kind, Spool()).add(latents)
        if images is not None:
            bands, self.image_frequencies = image_bands(images, N_IMAGE_BINS)
            self.image_rows.append(bands)
            h, w = mean.shape[-2:]
            if min(h, w) >= 8:
                amplitudes = block_amplitudes(resize(images, (h, w), "area").cpu().double()).sum(0)
                self._image_amplitudes = amplitudes + self._image_amplitudes
        self.labels.append(torch.full((len(mean),), -1) if labels is None else labels)
        if masks is not None:
            self._masks.add(masks)
        self.n_images += len(mean)

    def image_block_dct(self) -> tuple[float, ...]:
        """Block-DCT profile of the images averaged onto the latent grid; empty without images or below 8 cells."""
        if not isinstance(self._image_amplitudes, Tensor):
            return ()
        return tuple(block_profile(self._image_amplitudes).tolist())

    def notes(self) -> tuple[str, ...]:
        """What a reader of the spectra must know."""
        n = self.statistics["mean"].n_flat
        return (f"{n} images are flat, they or their latents, and have no part in the spectra.",) if n else ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is there."""
        return tuple(self._spools)

    def batches(self, kind: Kind, size: int = SWEEP, n: int | None = None) -> Iterator[Tensor]:
        """Latents (b, c, h, w) float32, the first `n` (None: all)."""
        return self._spools[kind].batches(size, n)

    def second_sweep(self, kind: Kind, with_labels: bool) -> LatentNumbers:
        """What needs the moments of all latents first."""
        labels = torch.cat(self.labels) if with_labels else torch.full((self.n_images,), -1)

        def rows() -> Iterable[LatentBatch]:
            masks = self._masks.batches(SWEEP) if len(self._masks) else iter(())
            for latents, own in zip(self.batches(kind), labels.split(SWEEP), strict=True):
                yield LatentBatch(latents, own, next(masks, None))

        moments = self.statistics[kind].moments()
        return latent_numbers(rows, moments)

    def _draw(self, mean: Tensor) -> Tensor:
        """Noise that is each image's own, whatever its batch."""
        places = range(self.n_images, self.n_images + len(mean))
        noise = [torch.randn(mean.shape[1:], generator=seeded("posterior", self._seed, place)) for place in places]
        return torch.stack(noise).to(mean.device)

    def close(self) -> None:
        """Give the disk space back."""
        for spool in (*self._spools.values(), self._masks):
            spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
