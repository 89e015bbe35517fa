"""Equivariance: are the latents of a rotated or scaled image the rotated or scaled latents?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ...records.analysis import EquivariancePoint
from ...records.measurement import Measurement
from ...spectrum.filters import resize
from ..estimates import estimate_mean
from ..metric import Metric, Published
from .sweep import DecoderBatch, DecoderMetric, DecoderSweep, DecoderTest

HALF_SIZE = Metric(
    key="equivariance_scale_50",
    title="equivariance error at half size",
    better="lower",
    range="from 0 on; 2 for unrelated latents",
    bounds=(0.0, None),
    one_sided=True,
    source="EQ-VAE (arXiv 2502.09509), appendix C.3",
    evidence="|r| with gFID 0.4–0.7 within families of one shape; 0.005 across 8 autoencoders: compare before, after",
    across=Published(-0.56, (-0.79, -0.20), 21, "its own mean over scales"),
    conventions="‖τ(E(x)) − E(τ(x))‖² / ‖E(τ(x))‖², posterior means, area resampling of both (the paper: bicubic)",
)
QUARTER_TURN = replace(
    HALF_SIZE,
    key="equivariance_turn_90",
    title="equivariance error at a quarter turn",
    evidence="|r| with gFID at most 0.03 over 86 tokenizers, that is none",
    across=Published(-0.12, (-0.55, 0.35), 21, "its own mean over turns"),
    conventions="‖τ(E(x)) − E(τ(x))‖² / ‖E(τ(x))‖², posterior means, 90° anticlockwise",
)

Resampler = Literal["area", "bicubic"]


@dataclass(frozen=True)
class Transform:
    """Quarter turns, anticlockwise, or scaling by numerator / denominator: (…, h, w) → (…, h', w').

    resampler: of a scaling; "area" averages exactly over what each new position covers, "bicubic" is torch's without
    antialiasing (align_corners False), which is the paper's and aliases.
    """

    turns: int = 0
    scale: tuple[int, int] = (1, 1)
    resampler: Resampler | None = None

    @property
    def name(self) -> str:
        """Human-readable name, without the resampler."""
        return f"scale {self.scale[0]}/{self.scale[1]}" if self.resampler else f"turn {90 * self.turns}°"

    def __call__(self, x: Tensor) -> Tensor:
        """Return images or latents transformed."""
        if self.resampler is None:
            return x.rot90(self.turns, (-2, -1))
        h, w = (n * self.scale[0] // self.scale[1] for n in x.shape[-2:])
        return resize(x, (h, w), self.resampler, antialias=False)


TURNS = tuple(Transform(turns) for turns in (1, 2, 3))
SCALES = ((1, 4), (1, 2), (3, 4))


def equivariance_transforms(
    size: tuple[int, int], grid: tuple[int, int], multiple: int
) -> tuple[tuple[Transform, ...], tuple[str, ...]]:
    """Return the paper's six transforms that are possible, scales by both resamplers, and why others are not.

    size (H, W), grid (h, w), multiple: an encoder takes sides that are multiples of it. A scale is possible if it takes
    the grid to whole positions and the images to such sides.
    """
    scales, left_out = [], []
    for numerator, denominator in SCALES:
        if any(n * numerator % denominator for n in grid):
            reason = f"a {grid[0]} × {grid[1]} grid does not scale to whole positions"
        elif any(n * numerator % (denominator * multiple) for n in size):
            reason = f"{size[0]} × {size[1]} images do not scale to multiples of {multiple} pixels"
        else:
            scales.append((numerator, denominator))
            continue
        left_out.append(f"scale {numerator}/{denominator}: {reason}")
    resamplers: tuple[Resampler, ...] = ("area", "bicubic")
    return (*TURNS, *(Transform(0, scale, how) for how in resamplers for scale in scales)), tuple(left_out)


def equivariance_error(
    encode: Callable[[Tensor], Tensor], latents: Tensor, images: Tensor, transform: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return ‖τ(E(x)) − E(τ(x))‖² / ‖E(τ(x))‖² for one transform τ: latents (b, c, h, w) = encode(images) → (b,).

    float32 or wider, from 0 without bound; about 2 where the two have nothing in common, and 0 for 0/0. A constant
    encoder has 0. Depends on the resampling, and on whether latents are the posterior's mean or samples; a large
    channel mean hides errors.

    Raises:
        ValueError: when the encoder returns another shape for τ(x).
    """
    expected, actual = transform(latents), encode(transform(images))
    if expected.shape != actual.shape:
        raise ValueError(
            f"transformed images {tuple(images.shape)} gave latents {tuple(actual.shape)}, expected "
            f"{tuple(expected.shape)}: the encoder's latents do not scale with its images"
        )
    wide = torch.promote_types(actual.dtype, torch.float32)
    expected, actual = expected.to(wide).flatten(1), actual.to(wide).flatten(1)
    energy = actual.square().sum(1).clamp_min(torch.finfo(wide).tiny)
    return (expected - actual).square().sum(1) / energy


def _transforms(test: DecoderTest) -> tuple[tuple[Transform, ...], tuple[str, ...]]:
    return equivariance_transforms(test.size, test.grid, test.multiple)


def equivariance_points(sweep: DecoderSweep) -> tuple[EquivariancePoint, ...]:
    """Return the errors of every possible transform."""
    rows = ((transform, sweep.rows(str(transform))) for transform in _transforms(sweep.test)[0])
    return tuple(
        EquivariancePoint(transform.name, transform.resampler or "", estimate_mean(errors))
        for transform, errors in rows
        if len(errors) == sweep.n
    )


def _collect(batch: DecoderBatch) -> Mapping[str, Tensor]:
    transforms, left_out = _transforms(batch.test)
    for reason in left_out:
        batch.note(f"Equivariance leaves out {reason}.")
    rows = {}
    for transform in transforms:
        try:
            rows[str(transform)] = equivariance_error(batch.test.encode, batch.latents, batch.images, transform)
        except (ValueError, RuntimeError) as error:
            if transform.resampler is None or isinstance(error, torch.OutOfMemoryError):
                raise
            # An encoder for one size of images reports it only when it meets another.
            reason = str(error).strip().partition("\n")[0]
            batch.note(
                f"Equivariance leaves out {transform.name} ({transform.resampler}): the encoder does not take the "
                f"smaller images ({reason})."
            )
    return rows


def _numbers(sweep: DecoderSweep) -> Mapping[str, Measurement]:
    errors = {(point.transform, point.resampler): point.error for point in equivariance_points(sweep)}
    no_half = Measurement(None, refused="the latent grid or the images do not scale by half")
    return {
        "equivariance_scale_50": errors.get(("scale 1/2", "area"), no_half),
        "equivariance_turn_90": errors[("turn 90°", "")],
    }


EQUIVARIANCE = DecoderMetric(
    (HALF_SIZE, QUARTER_TURN), _numbers, _collect, passes=lambda test: len(_transforms(test)[0])
)
