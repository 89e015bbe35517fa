"""The loss of one batch: what is drawn for it, what it is weighted by, and what comes back."""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..spectrum.separable import in_working_precision
from .denoiser import Denoiser
from .path import Path
from .times import Times

Weighting = Literal["none", "min_snr"]

NO_LABEL = -1


class Loss(NamedTuple):
    """Of one batch. total: the weighted mean, to differentiate. per_image (b,): squared error, unweighted, detached.

    t (b,): where each image was noised. tokens (b, n, width): of the tapped block, or None.
    """

    total: Tensor
    per_image: Tensor
    t: Tensor
    tokens: Tensor | None


def diffusion_loss(
    denoiser: Denoiser,
    path: Path,
    data: Tensor,
    labels: Tensor | None,
    *,
    times: Times,
    generator: torch.Generator,
    label_dropout: float = 0.0,
    weighting: Weighting = "none",
    gamma: float = 5.0,
    tap: int | None = None,
) -> Loss:
    """Mean over the batch of weight(t) · mean over (c, h, w) of (prediction − target)², in float32 or float64.

    data (b, c, h, w); labels (b,) int64 or None. t, the noise and which labels are dropped (each with probability
    `label_dropout`) come from `generator`, a CPU generator, in this order; t is spread over `path.ends`. weighting
    "min_snr": `min_snr_weight`. Works under autocast. ValueError where an argument is out of range, or where the
    prediction is not of the shape of the data.
    """
    if weighting not in get_args(Weighting):
        raise ValueError(f"weighting must be one of {', '.join(get_args(Weighting))}; got {weighting!r}")
    if not 0 <= label_dropout <= 1:
        raise ValueError(f"label_dropout is a probability, got {label_dropout}")
    data = in_working_precision(data)
    lowest, highest = path.ends
    t = _moved(lowest + (highest - lowest) * times.draw(len(data), generator), data.device)
    noise = _moved(torch.randn(data.shape, dtype=data.dtype, generator=generator), data.device)
    if labels is not None:
        dropped = torch.rand(len(data), generator=generator) < label_dropout
        labels = labels.masked_fill(_moved(dropped, labels.device), NO_LABEL)
    noisy = path.mix(data, noise, t)
    prediction, tokens = denoiser(noisy, t, labels, tap)
    if prediction.shape != data.shape:
        raise ValueError(
            f"the denoiser predicts {tuple(prediction.shape)} for data {tuple(data.shape)}: "
            "it was built for other channels or another size"
        )
    error = in_working_precision(prediction) - path.target(data, noise, t)
    per_image = error.square().flatten(1).mean(1)
    weighted = per_image if weighting == "none" else min_snr_weight(path, t, gamma) * per_image
    return Loss(weighted.mean(), per_image.detach(), t, tokens)


def min_snr_weight(path: Path, t: Tensor, gamma: float = 5.0) -> Tensor:
    """Weight (b,) under which the squared error of any prediction is min(SNR, gamma) · (x̂ − x)², with SNR = α²/σ².

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


def _moved(drawn: Tensor, device: torch.device) -> Tensor:
    # Only from pinned memory does a copy not wait for what the accelerator still has to do.
    return (drawn.pin_memory() if device.type == "cuda" else drawn).to(device, non_blocking=True)
