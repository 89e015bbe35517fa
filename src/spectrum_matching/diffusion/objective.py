"""The diffusion loss of one batch: sampled times and noise, weighting, result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..spectrum.dct import dct2
from ..spectrum.gain import dct_frequencies
from ..spectrum.separable import in_working_precision
from .path import Denoiser, Path
from .times import Times

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Weighting = Literal["none", "min_snr"]

NO_LABEL = -1


class Loss(NamedTuple):
    """Loss of a batch: `total` is the weighted mean, with gradient; `per_image` (b,) is unweighted and detached.

    t (b,): noise level of each image. tokens (b, n, width): output of the tapped block, or None.
    """

    total: Float[Tensor, ""]
    per_image: Float[Tensor, " b"]
    t: Float[Tensor, " b"]
    tokens: Float[Tensor, "b n width"] | None


def diffusion_loss(
    denoiser: Denoiser,
    path: Path,
    data: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"] | None,
    *,
    times: Times,
    generator: torch.Generator,
    label_dropout: float = 0.0,
    weighting: Weighting = "none",
    gamma: float = 5.0,
    spectral_weights: Float[Tensor, "h w"] | None = None,
    tap: int | None = None,
) -> Loss:
    """Average weight(t) · (prediction − target)² over batch and elements, in float32 or float64.

    data (b, c, h, w); labels (b,) int64 or None. t, the noise and which labels are dropped (each with probability
    `label_dropout`) are sampled from `generator`, a CPU generator, in this order; t is scaled to `path.ends`. weighting
    "min_snr": `min_snr_weight`. spectral_weights (h, w): of the squared DCT coefficients of the error, in `per_image`
    too, such as `frequency_weights`. Works under autocast.

    Raises:
        ValueError: where an argument is out of range, or the prediction does not have the shape of the data.
    """
    if weighting not in get_args(Weighting):
        raise ValueError(f"weighting must be one of {', '.join(get_args(Weighting))}; got {weighting!r}")
    if not 0 <= label_dropout <= 1:
        raise ValueError(f"label_dropout is a probability, got {label_dropout}")
    data = in_working_precision(data)
    lowest, highest = path.ends
    t = _to_device(lowest + (highest - lowest) * times.draw(len(data), generator), data.device)
    noise = _to_device(torch.randn(data.shape, dtype=data.dtype, generator=generator), data.device)
    if labels is not None:
        dropped = torch.rand(len(data), generator=generator) < label_dropout
        labels = labels.masked_fill(_to_device(dropped, labels.device), NO_LABEL)
    noisy = path.mix(data, noise, t)
    prediction, tokens = denoiser(noisy, t, labels, tap)
    if prediction.shape != data.shape:
        got = f"{tuple(prediction.shape)} for data {tuple(data.shape)}"
        raise ValueError(f"the denoiser predicts {got}: it was built for other channels or another size")
    error = in_working_precision(prediction) - path.target(data, noise, t)
    squares = error.square() if spectral_weights is None else spectral_weights.to(error) * dct2(error).square()
    per_image = squares.flatten(1).mean(1)
    weighted = per_image if weighting == "none" else min_snr_weight(path, t, gamma) * per_image
    return Loss(weighted.mean(), per_image.detach(), t, tokens)


def min_snr_weight(path: Path, t: Float[Tensor, " b"], gamma: float = 5.0) -> Float[Tensor, " b"]:
    """Return the weight (b,) that makes any prediction's squared error min(SNR, gamma) · (x̂ − x)², SNR = α²/σ².

    min(α², gamma·σ²) divided by σ² for data, by α² for noise, by (ασ' − α'σ)² for velocity: at a given x_t the errors
    of the three are proportional. Source: arXiv 2303.09556, section 3.4, which has min(SNR, gamma) for data,
    min(1, gamma/SNR) for noise and min(SNR, gamma)/(SNR + 1) for v = αε − σx on variance-preserving paths; there the
    velocity is (ασ' − α'σ)·v. Other paths follow from the identity alone.
    """
    if not (gamma > 0 and math.isfinite(gamma)):
        raise ValueError(f"gamma bounds the signal-to-noise ratio and must be positive, got {gamma}")
    along = path.coefficients(t)
    scale = {"data": along.sigma, "noise": along.alpha, "velocity": along.rate}[path.prediction]
    return torch.minimum(along.alpha.square(), gamma * along.sigma.square()) / scale.square()


def _to_device(values: Tensor, device: torch.device) -> Tensor:
    # Only from pinned memory does a copy not wait for what the accelerator still has to do.
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def frequency_weights(h: int, w: int, exponent: float) -> Float[Tensor, "h w"]:
    """Return weights of the DCT coefficients of an h × w grid, float64: frequency^exponent, with mean 1.

    That of DC is that of the lowest other frequency. Flattening latents by the same exponent weighs their loss so.
    """
    weights = dct_frequencies(h, w).clamp_min(1 / (2 * max(h, w))) ** exponent
    return weights / weights.mean()
