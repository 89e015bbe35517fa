"""Velocity irreducible variance: what no flow model predicts, from a Kronecker estimate of the latents' covariance."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ..estimates import N_GROUPS, GroupedSums, jackknife_scalar, mean_root
from ..metric import NONE, RIGHT_SPACE, STANDARDISED, Metric, Published
from .kronecker import Batches, Kronecker, fit_kronecker, sweep_classes
from .sweep import LatentMetric, LatentSweep

VIV = Metric(
    key="viv",
    title="velocity irreducible variance, one class",
    unit="standard deviations · π/2",
    better="lower",
    range="0 to π/2, which is white noise",
    bounds=(0.0, math.pi / 2),
    one_sided=True,
    source=f"{RIGHT_SPACE}, equations 2–6, without its classes; the estimator is that of GAE's port",
    evidence=NONE + " without labels; with them see the per-class form",
    across=Published(0.15, (-0.40, 0.65), 14, "by class; without three values above π/2"),
    conventions=f"mean of (π/2)√λ, channels ⊗ positions, 5 rounds; all images one class; {STANDARDISED}",
)
VIV_CLASS = replace(
    VIV,
    key="viv_class",
    title="velocity irreducible variance, by class",
    source=f"{RIGHT_SPACE}, equations 2–6; the estimator is that of GAE's port",
    evidence="|r| with gFID 0.79–0.90 within families of one shape (50 images in each of 1000 classes)",
    across=Published(0.15, (-0.40, 0.65), 14, "without three values above π/2"),
    conventions=f"mean over classes of the mean of (π/2)√λ, channels ⊗ positions, 5 rounds; {STANDARDISED}",
)

MIN_IMAGES = 50
ROWS_PER_POSITION = 3
MAX_NUMBERS = 2**25
"""Numbers that the accumulators of all classes fitted at once may hold together."""


class IrreducibleVariance(NamedTuple):
    """Means over classes.

    mean: of (π/2)√λ over the spectrum, the reading that fits the published range. per_dimension: the sum of (π/2)√λ
    over c·h·w, which differs from it only where rows are fewer than positions. within: variance within classes, per
    dimension. standard_error: of `mean`, over images.
    """

    mean: float
    per_dimension: float
    within: float
    standard_error: float | None


def rank_refusal(n_images: int, n_channels: int, grid: tuple[int, int]) -> str:
    """Return why so many images of a class give a biased estimate; empty where they do not.

    With n·c < 3·h·w rows, or fewer than 50 images, the estimate on separable Gaussians is off by up to a factor of 2.5.
    """
    positions = grid[0] * grid[1]
    needed = max(MIN_IMAGES, math.ceil(ROWS_PER_POSITION * positions / n_channels))
    if n_images >= needed:
        return ""
    return (
        f"{n_images} images x {n_channels} channels are too few for {positions} positions: "
        f"the estimate is biased below {needed} images"
    )


def white_irreducible_variance(n_images: int, n_channels: int, grid: tuple[int, int]) -> float:
    """Return the value for white noise of so many images a class, standardised over all classes: π/2 for many."""
    positions, rows = grid[0] * grid[1], max(n_images - 1, 1)
    aspects = min(1.0, positions / (rows * n_channels)), min(1.0, n_channels / (rows * positions))
    # The mean of n images takes 1/n of the variance with it.
    left = math.sqrt(rows / n_images)
    return math.pi / 2 * left * mean_root(aspects[0]) * mean_root(aspects[1])


def irreducible_variance(batches: Batches, rounds: int = 5, fixed_energy: bool = False) -> IrreducibleVariance:
    """Return the velocity irreducible variance of latents that are read again and again, never held: (π/2)·√λ.

    λ are the eigenvalues of the covariance within a class, taken as channels ⊗ positions and fitted in `rounds`; their
    sum is the class's variance. In 0 … π/2 for standardised latents. Without classes (all ids equal) it is not the
    published metric but a joint flatness of channels and space. Classes of identical images win it. Does not check the
    rank: see `rank_refusal`.

    fixed_energy: the latents were standardised as one class, so that their total variance would be the same for other
    images; the standard error is then that of its shape only.

    Raises:
        ValueError: when no image has a class.
    """
    sizes: dict[int, int] = {}
    for latents, labels in batches():
        shape = latents.shape[1:]
        for label in labels.tolist():
            sizes[label] = sizes.get(label, 0) + 1
    classes = sorted(set(sizes) - {-1})
    if not classes:
        raise ValueError("no image has a class; give all of them one and the same for the variance of the whole set")
    c, positions = shape[0], shape[1:].numel()
    n_at_once = max(1, MAX_NUMBERS // (2 * positions**2 + (N_GROUPS + 2) * c * positions))
    fits = []
    for start in range(0, len(classes), n_at_once):
        fits += _fit(batches, classes[start : start + n_at_once], c, positions, rounds)
    means, per_dimension, within, errors = zip(*(fit.summary(fixed_energy) for fit in fits), strict=True)
    k = len(fits)
    error = None if None in errors else math.sqrt(sum(e**2 for e in errors)) / k
    return IrreducibleVariance(sum(means) / k, sum(per_dimension) / k, sum(within) / k, error)


class _ClassSpectrum(Kronecker):
    """The spectrum of one class, with what its standard error takes."""

    def __init__(self, c: int, positions: int) -> None:
        super().__init__(c, positions)
        self.groups = GroupedSums()

    def add_groups(self, x: Tensor) -> None:
        # To first order, leaving images out changes eigenvalues and keeps eigenvectors.
        x = x - self.mean
        power = (self.vectors["channels"].mT @ x @ self.vectors["positions"]).square()
        self.groups.add("power", power, self.n)
        self.groups.add("energy", x.square().sum((1, 2)), self.n)
        self.groups.add("images", torch.ones(len(x), dtype=torch.float64), self.n)
        self.n += len(x)

    def summary(self, fixed_energy: bool) -> tuple[float, float, float, float | None]:
        """Return the fields of `IrreducibleVariance` for this class."""
        energy = float(self.groups["energy"].sum()) / self.n
        all_energy = torch.tensor(energy, dtype=torch.float64)
        roots = _roots(self.values["channels"], self.values["positions"], all_energy)

        def refit(power: Tensor, energy: Tensor, n: Tensor) -> Tensor:
            return self._refitted(power / n, all_energy if fixed_energy else energy / n)

        groups = (self.groups["power"], self.groups["energy"], self.groups["images"])
        number = jackknife_scalar(refit, *groups)
        n = self.mean.numel()
        return float(roots.mean()), float(roots.sum()) / n, energy / n, number.standard_error

    def _refitted(self, power: Tensor, energy: Tensor) -> Tensor:
        channels, positions = (_inverse(self.values[factor]) for factor in ("channels", "positions"))
        return _roots(power @ positions, channels @ power, energy).mean()


def _roots(channels: Tensor, positions: Tensor, energy: Tensor) -> Tensor:
    """Return (π/2)√λ, where λ is the outer product of both spectra scaled to the sum `energy`: (c, s)."""
    products = torch.outer(channels, positions)
    return math.pi / 2 * (products * (energy / products.sum().clamp_min(1e-300))).sqrt()


def _inverse(values: Tensor) -> Tensor:
    return torch.where(values > 0, 1 / values, 0)


def _fit(batches: Batches, classes: Sequence[int], c: int, positions: int, rounds: int) -> list[_ClassSpectrum]:
    fits = {k: _ClassSpectrum(c, positions) for k in classes}
    fit_kronecker(batches, fits, rounds)
    for fit in fits.values():
        fit.n = 0
    sweep_classes(batches, fits, lambda k, x: fits[k].add_groups(x))
    return list(fits.values())


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    one_class = torch.zeros(sweep.n, dtype=torch.long)
    return {"viv": _number(sweep, one_class), "viv_class": _number(sweep, sweep.rows("labels"), by_class=True)}


def _number(sweep: LatentSweep, labels: Tensor, by_class: bool = False) -> Measurement:
    counts = labels[labels >= 0].unique(return_counts=True)[1].tolist()
    if not counts:
        return Measurement(None, refused="no labels")
    refusal = rank_refusal(min(counts), sweep.n_live, sweep.grid)
    if refusal:
        return Measurement(None, refused=f"the smallest class: {refusal}" if by_class else refusal)
    n_values = sweep.n * sweep.n_positions
    sample = (1 - 1 / n_values) ** 0.5  # the source divides by n − 1

    def standardised() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in sweep.read():
            yield batch.latents * sample, batch.labels if by_class else torch.zeros_like(batch.labels)

    white = sum(white_irreducible_variance(n, sweep.n_live, sweep.grid) for n in counts) / len(counts)
    result = irreducible_variance(standardised, fixed_energy=not by_class)
    return Measurement(result.mean, result.standard_error, white)


IRREDUCIBLE_VARIANCE = LatentMetric((VIV, VIV_CLASS), _numbers)
