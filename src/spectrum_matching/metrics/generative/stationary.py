"""Gaussians that know a spectrum and nothing else, and those that know no more than each channel's variance."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...spectrum.dct import dct2
from ...spectrum.power import squared_radii
from .laws import ClassLaws, Cosine, GaussianLaw
from .model import Fitting, GenerativeMetric, distances

BLOCK = 1024
"""Latents that are read at once."""

EVIDENCE = "ours: with the Gaussian's distance it says how much of generation the spectrum alone decides"


def ring_means(power: Tensor) -> Tensor:
    """Replace the power of each DCT coefficient (…, h, w) by the mean over all of exactly its frequency, DC alone."""
    h, w = power.shape[-2:]
    _, rings = squared_radii(h, w, "frequency").unique(return_inverse=True)
    rings = rings.flatten()
    sums = torch.zeros(*power.shape[:-2], int(rings.max()) + 1, dtype=power.dtype)
    sums.index_add_(-1, rings, power.flatten(-2))
    return (sums / rings.bincount())[..., rings].unflatten(-1, (h, w))


def fit_stationary(fitting: Fitting) -> ClassLaws:
    """Fit independent DCT coefficients with each channel's mean and its power as a function of frequency alone.

    The power is about the channel's mean over all positions, as a spectrum has it. One law for all classes.
    """
    return _one_law(fitting, ring_means)


def fit_white(fitting: Fitting) -> ClassLaws:
    """Fit white noise with each channel's mean and variance."""
    return _one_law(fitting, lambda power: power.mean((-2, -1), keepdim=True).expand_as(power))


def _one_law(fitting: Fitting, average: Callable[[Tensor], Tensor]) -> ClassLaws:
    reference = fitting.reference
    power = torch.zeros(reference.shape, dtype=torch.float64)
    done = 0
    for latents, _ in reference.blocks(BLOCK):
        # Unit-scale channels have mean 0.
        power += dct2(reference.space.to_unit(latents)).double().square().sum(0)
        done += len(latents)
        fitting.progress(done, reference.n)
    mean = torch.zeros(reference.shape)
    law = GaussianLaw(mean, average(power / done).float(), Cosine())
    return ClassLaws({0: law}, torch.ones(1), reference.space, fitting.seed)


STATIONARY = GenerativeMetric(
    distances(
        "stationary_fid",
        "Fréchet distance of the stationary Gaussian",
        "images decoded from independent DCT coefficients with each channel’s mean and its mean power at each "
        "frequency, all classes together",
        source="ours",
        evidence=EVIDENCE,
    ),
    fit_stationary,
)
WHITE = GenerativeMetric(
    distances(
        "white_fid",
        "Fréchet distance of white noise",
        "images decoded from white noise with each channel’s mean and variance",
        source="ours",
        evidence="ours: where the scale of the closed-form models begins",
    ),
    fit_white,
)
