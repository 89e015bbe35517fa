"""Reconstructions against the images they are of: fidelity, and what is left of it below a low-pass."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..metrics.decoder.lowpass import legal_block, lowpass, scaled_strengths
from ..metrics.images.distances import FeatureStatistics
from ..metrics.images.pixels import SSIM_WINDOW, psnr, ssim
from ..nets.autoencoder import Autoencoder, eval_mode
from ..nets.vision.extractors import Extractor
from ..records.provenance import provenance
from ..records.scores import Evaluation, Protocol, Score
from .accumulate import ImageStatistics, round_to_bytes
from .frechet import around, frechet_score
from .generation import few_images, spectrum, unread, weight_free
from .reduce import merged, reduce_over, summed
from .reference import ROUNDING, reference_of
from .shares import Numbered

if TYPE_CHECKING:
    from accelerate import Accelerator

KEEP, BLOCK = (7, 5, 3), 8

Perceptual = Callable[[Tensor, Tensor], Tensor]


def evaluate_reconstruction(
    name: str,
    autoencoder: Autoencoder,
    batches: Iterable[Tensor | Numbered],
    extractor: Extractor | None = None,
    lpips: Perceptual | None = None,
    *,
    source: str = "images",
    source_digest: str = "",
    keep: Sequence[int] = KEEP,
    accelerator: "Accelerator | None" = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    warnings: tuple[str, ...] = (),
) -> Evaluation:
    """Encode and decode batches of images (b, 3, size, size) in [-1, 1], in each process its share; posterior means.

    source, source_digest: of the images, for the protocol. keep: diagonals of blocks of 8 cells that each low-pass rFID
    keeps; where the latent grid has no whole blocks of 8, the cut-off nearest to it in smaller ones, under the same
    key. lpips: on `device`, as the autoencoder (None: where it is). For the rest see `evaluate_generation`.
    """
    with eval_mode(autoencoder, device, seed=seed) as place:
        found = _Fidelity(autoencoder, extractor, lpips, tuple(keep), accelerator)
        first = 0
        for batch in batches:
            own = Numbered(batch, range(first, first + len(batch))) if isinstance(batch, Tensor) else batch
            found.add(name, own.images.to(place), own.numbers)
            found.real.bad.extend(own.bad)
            first += len(own.images)
        real, output = (reduce_over(statistics, accelerator) for statistics in (found.real, found.output))
        if real.n_images < 2:
            raise ValueError(f"{name}: at least 2 images are needed, got {real.n_images}")
        scores = tuple(found.scores(real, output))
    reference = reference_of(source, real, extractor)
    return Evaluation(
        name=name,
        kind="reconstruction",
        scores=(*scores, *weight_free(output, reference, seed, is_paired=True)),
        spectrum=spectrum(output, reference),
        protocol=Protocol(
            n_images=real.n_images,
            n_reference=real.n_images,
            size=real.size,
            reference=source,
            reference_digest=source_digest or reference.digest,
            extractor=reference.extractor,
            extractor_digest=reference.extractor_digest,
            resizer=reference.resizer,
            rounding=ROUNDING,
            sampling=None,
        ),
        provenance=provenance(place, torch.float32, seed),
        warnings=(*warnings, *(few_images(real.n_images) if extractor else ()), *unread(real), *found.notes),
    )


class _Fidelity:
    """Sums over this process's images."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        extractor: Extractor | None,
        lpips: Perceptual | None,
        keep: tuple[int, ...],
        accelerator: "Accelerator | None",
    ) -> None:
        self._autoencoder, self._extractor, self._lpips = autoencoder, extractor, lpips
        self._accelerator, self._keep, self._block = accelerator, keep, 0
        self.real, self.output = ImageStatistics(), ImageStatistics()
        self._sums: dict[str, Tensor] = {key: torch.zeros(3, dtype=torch.float64) for key in ("psnr", "ssim")}
        if lpips is not None:
            self._sums["lpips"] = torch.zeros(3, dtype=torch.float64)
        self._moved = {k: (FeatureStatistics(), FeatureStatistics()) for k in (keep if extractor else ())}
        self.notes: tuple[str, ...] = ()

    def add(self, name: str, images: Tensor, indices: Sequence[int]) -> None:
        """Count a batch in."""
        latents = self._autoencoder.encode(images).mean.float()
        output = self._autoencoder.decode(latents).float()
        if not output.isfinite().all():
            raise ValueError(f"{name} decodes to values that are not finite: look at its weights")
        self.real.add(images, self._extractor, indices)
        self.output.add(output, self._extractor, indices)
        self._count("psnr", psnr(output, images))
        if min(images.shape[-2:]) >= SSIM_WINDOW:
            self._count("ssim", ssim(output, images))
        if self._lpips is not None:
            self._count("lpips", self._lpips(output.clamp(-1, 1), images))
        grid = (latents.shape[-2], latents.shape[-1])
        self._block = legal_block(grid, BLOCK)
        if self._extractor is None or self._block == 1:
            return
        for keep, (target, decoded) in self._moved.items():
            (strength,) = scaled_strengths((keep,), BLOCK, self._block)
            moved = lowpass(self._autoencoder.decode, latents, output, images, strength, self._block)
            target.add(self._extractor(round_to_bytes(moved.image)))
            decoded.add(self._extractor(round_to_bytes(moved.decoded)))

    def _count(self, key: str, values: Tensor) -> None:
        values = values.double().cpu()
        self._sums[key] += torch.stack([torch.ones_like(values), values, values.square()]).sum(1)

    def scores(self, real: ImageStatistics, output: ImageStatistics) -> Iterator[Score]:
        """Of the images of all processes, whose statistics are `real` and `output`."""
        for key, sums in self._sums.items():
            n, total, squares = summed(sums, self._accelerator).tolist()
            if not n:
                yield Score(key, None, None, 0, f"images of {real.size} pixels hold no window of {SSIM_WINDOW}")
                continue
            variance = max(squares / n - (total / n) ** 2, 0.0)
            yield Score(key, total / n, around(total / n, math.sqrt(variance / max(n - 1, 1))), int(n))
        if self._extractor is None:
            return
        pair = output.features, real.features
        yield frechet_score("rfid", *pair, real.n_images, output.rows("features"), real.rows("features"))
        d = len(real.features.mean)
        for keep, pair in self._moved.items():
            key = f"rfid_lowpass_{keep}"
            target, decoded = (merged(statistics, d, self._accelerator) for statistics in pair)
            if not target.count:
                yield Score(key, None, None, real.n_images, "the latent grid has no blocks of 2 cells or more")
                continue
            yield frechet_score(key, decoded, target, target.count)
        if self._moved and 1 < self._block < BLOCK:
            self.notes = (f"low-pass in blocks of {self._block}: the latent grid has no whole blocks of {BLOCK}",)
