"""A diffusion model whose denoiser is solved, not trained: at each noise level a ridge regression in closed form.

The denoiser is the Wiener filter of the Gaussian of a latent's class plus a sum of fixed random convolutional features,
whose weights are the least-squares solution for what the filter leaves of the clean latent. Sampled by the flow from
noise to data, whose linear part is solved exactly: without features, samples are those of the Gaussian.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from ...seeding import seeded, spread
from .gaussian import fit_gaussian
from .laws import ClassLaws, GaussianLaw, rows_of
from .model import Fitting, GenerativeMetric, distances

LEVELS = tuple((8 * (0.05 / 8) ** (torch.arange(13, dtype=torch.float64) / 12)).tolist())
"""Standard deviations of the noise on unit-scale latents, from where they are nearly Gaussian down: log-spaced."""

N_FILTERS, N_GATES = 96, 16
MAX_CHANNELS = 128
"""Channels from each of which N_GATES features come, whose products are solved at every level."""
MAX_LATENTS = 4096
"""Latents, spread over the reference, that the regressions are solved on: more change little and cost the same each."""

HELD_OUT = 5
"""One latent in so many chooses the ridge and does not enter the solution."""

RIDGES = tuple(10.0**k for k in range(-8, 1))
"""Relative to the largest eigenvalue of the features' second moments."""

BATCH = 256


class Features:
    """Fixed random features of noisy latents and their linear estimate: (b, c, h, w), twice → (b, f, h, w).

    Rectified random 3 × 3 filters of both, with random maps of position and offsets of class; and the estimate times
    random gates, which open with its contrast around a position and over the whole latent: what differs most from a
    Gaussian in latents of images is that their variance varies.
    """

    def __init__(self, channels: int, classes: Sequence[int], seed: int) -> None:
        generator = seeded("features of a solved denoiser", seed)

        def random(*shape: int, scale: float) -> Tensor:
            return scale * torch.randn(*shape, generator=generator)

        fan_in = 2 * channels
        self._filters = random(N_FILTERS, fan_in, 3, 3, scale=1.5 / math.sqrt(9 * fan_in))
        self._offsets = random(N_FILTERS, scale=1.0)
        self._positions = random(N_FILTERS, 2, scale=0.5)
        self._of_class = {k: random(N_FILTERS, scale=0.5) for k in classes}
        self._gates = random(N_GATES, fan_in, 1, 1, scale=1.5 / math.sqrt(fan_in))
        self._thresholds = random(N_GATES, scale=1.0)

    def __call__(self, noisy: Tensor, estimate: Tensor, k: int) -> Tensor:
        """Return features of latents of class k; both inputs at unit scale."""
        h, w = noisy.shape[-2:]
        axes = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        place = torch.einsum("fa,ahw->fhw", self._positions, torch.stack(axes))
        both = conv2d(torch.cat([noisy, estimate], 1), self._filters, self._offsets + self._of_class[k], padding=1)
        energy = estimate.square()
        local = avg_pool2d(energy, 3, 1, 1, count_include_pad=False)
        contrast = torch.cat([local, energy.mean((2, 3), keepdim=True).expand_as(local)], 1).sqrt()
        gates = torch.relu(conv2d(contrast - 1, self._gates, self._thresholds))
        gated = (estimate[:, :, None] * gates[:, None]).flatten(1, 2)
        return torch.cat([torch.ones_like(noisy[:, :1]), torch.relu(both + place), gated], 1)


class Level(NamedTuple):
    """A noise level: sigma, the scale of the linear estimate there, and the features' weights (f, c)."""

    sigma: float
    scale: float
    weights: Tensor


class Normal:
    """Sums for the regression of targets (n, c) on features (n, f), float64."""

    def __init__(self, n_features: int, n_targets: int) -> None:
        self.gram = torch.zeros(n_features, n_features, dtype=torch.float64)
        self.cross = torch.zeros(n_features, n_targets, dtype=torch.float64)
        self.energy = 0.0

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add rows; their products are of float32, their sums over batches of float64."""
        self.gram += features.mT @ features
        self.cross += features.mT @ targets
        self.energy += float(targets.double().square().sum())

    def error(self, weights: Tensor) -> float:
        """Return the summed squared error of a prediction by weights (f, c)."""
        return self.energy + float((weights * (self.gram @ weights - 2 * self.cross)).sum())


def solve(fit: Normal, held_out: Normal) -> Tensor:
    """Return the weights (f, c) of the ridge that predicts held-out targets best: zeros where none helps."""
    values, vectors = torch.linalg.eigh(fit.gram)
    turned = vectors.mT @ fit.cross
    best, least = torch.zeros_like(fit.cross), held_out.energy
    for ridge in RIDGES:
        weights = vectors @ (turned / (values.clamp_min(0) + ridge * values[-1]).unsqueeze(1))
        error = held_out.error(weights)
        if error < least:
            best, least = weights, error
    return best


class SolvedModel:
    """Denoisers of a ladder of noise levels and their sampler: a `LatentModel`."""

    def __init__(self, laws: ClassLaws, features: Features, levels: Sequence[Level]) -> None:
        self.laws, self.features, self.levels = laws, features, levels

    def sample(self, indices: Sequence[int]) -> Tensor:
        """Draw raw latents (b, c, h, w) float32 from the noise with which the Gaussian draws its own."""
        white, classes = self.laws.noise(indices), self.laws.classes(indices)
        units = torch.empty_like(white)
        for k, rows in rows_of(classes).items():
            units[rows] = self._flow(self.laws.laws[k], white[rows], k)
        return self.laws.space.from_unit(units)

    def correction(self, noisy: Tensor, level: Level, k: int) -> Tensor:
        """Return what the features add to the linear estimate of latents of class k."""
        estimate = self.laws.laws[k].denoise(noisy, level.sigma)
        features = self.features(noisy / math.sqrt(1 + level.sigma**2), estimate / level.scale, k)
        return torch.einsum("nfhw,fc->nchw", features, level.weights)

    def _flow(self, law: GaussianLaw, white: Tensor, k: int) -> Tensor:
        """Solve dx/dσ = (x − denoised) / σ from the first level down.

        A coefficient of variance λ is √(λ + σ²) z along the flow, and only the correction changes z:
        dz/dσ = −correction / (σ √(λ + σ²)), whose weight over a step has a closed form. Heun's method. What a basis
        of few vectors leaves out is noise alone, which the features have seen as well.
        """
        basis, variances = law.basis, law.variances
        z = basis.forward(white)
        rest = white - basis.back(z)

        def latents(z: Tensor, sigma: float) -> Tensor:
            return law.mean + basis.back((variances + sigma**2).sqrt() * z) + sigma * rest

        def correction(z: Tensor, level: Level) -> Tensor:
            return basis.forward(self.correction(latents(z, level.sigma), level, k))

        here = correction(z, self.levels[0])
        for level, after in zip(self.levels[:-1], self.levels[1:], strict=True):
            weight = step_weight(variances, level.sigma, after.sigma)
            there = correction(z + weight * here, after)
            z = z + weight * (here + there) / 2
            here = correction(z, after) if after is not self.levels[-1] else there
        return latents(z, 0.0)


def step_weight(variances: Tensor, sigma: float, after: float) -> Tensor:
    """Return ∫ dσ / (σ √(λ + σ²)) from `after` to sigma, for each variance λ."""
    root = variances.double().sqrt().clamp_min(1e-6)
    return ((torch.asinh(root / after) - torch.asinh(root / sigma)) / root).to(variances)


def fit_solved(fitting: Fitting) -> SolvedModel:
    """Fit the Gaussians, then solve the denoiser of each level on latents spread over the reference.

    Raises:
        ValueError: for latents of so many channels that it would take hours, and as `fit_gaussian` does.
    """
    reference = fitting.reference
    if reference.shape[0] > MAX_CHANNELS:
        raise ValueError(f"latents of {reference.shape[0]} channels are too wide to solve: at most {MAX_CHANNELS}")
    total, n_gaussian = (len(LEVELS) + 2) * reference.n, 2 * reference.n

    def progress(done: int, all_done: int) -> None:
        fitting.progress(n_gaussian * done // all_done, total)

    laws = fit_gaussian(fitting._replace(progress=progress))
    chosen = spread(reference.n, MAX_LATENTS, fitting.seed)
    parts = [reference.read(chosen[first : first + BATCH]) for first in range(0, len(chosen), BATCH)]
    units = reference.space.to_unit(torch.cat(parts))
    labels = reference.labels[chosen] if len(laws.laws) > 1 else torch.full((len(chosen),), next(iter(laws.laws)))
    features = Features(units.shape[1], list(laws.laws), fitting.seed)
    levels = []
    for number, sigma in enumerate(LEVELS):
        levels.append(_solve_level(laws, features, units, labels, sigma, fitting.seed))
        fitting.progress(n_gaussian + (number + 1) * reference.n, total)
    return SolvedModel(laws, features, levels)


def _solve_level(laws: ClassLaws, features: Features, units: Tensor, labels: Tensor, sigma: float, seed: int) -> Level:
    noise = torch.randn(units.shape, generator=seeded("noise of a solved denoiser", seed, sigma))
    noisy, estimate = units + sigma * noise, torch.empty_like(units)
    for k, rows in rows_of(labels).items():
        estimate[rows] = laws.laws[k].denoise(noisy[rows], sigma)
    scale = max(float(estimate.square().mean().sqrt()), 1e-6)
    sides: list[Normal] = []
    for k, rows in rows_of(labels).items():
        for some in rows.split(BATCH):
            found = features(noisy[some] / math.sqrt(1 + sigma**2), estimate[some] / scale, k).movedim(1, -1)
            target = (units[some] - estimate[some]).movedim(1, -1)
            sides = sides or [Normal(found.shape[-1], target.shape[-1]) for _ in range(2)]
            is_held = some % HELD_OUT == HELD_OUT - 1
            for side, part in zip(sides, (~is_held, is_held), strict=True):
                side.add(found[part].flatten(0, 2), target[part].flatten(0, 2))
    return Level(sigma, scale, solve(*sides).float())


SOLVED = GenerativeMetric(
    distances(
        "solved_fid",
        "Fréchet distance of the solved diffusion model",
        "images decoded from a diffusion model of 13 noise levels, whose denoiser is the Wiener filter of each class "
        "plus random features with least-squares weights",
        source="ours",
    ),
    fit_solved,
)
