"""The Gaussian with the latents' mean and covariance, one for each class: what a model of second moments generates."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..latents.kronecker import Kronecker, fit_kronecker
from .laws import Basis, ClassLaws, Dense, GaussianLaw, Separable, rows_of
from .model import Fitting, GenerativeMetric, distances

MAX_FULL = 4096
"""Numbers in a latent up to which all their covariances are estimated; above, channels ⊗ positions."""

MAX_NUMBERS = 2**25
"""Covariances that the classes may have together; where they have more, all classes share one."""

LATENTS_PER_CLASS = 50
"""On average, below which classes would remember single latents, and all are taken as one."""

MAX_RATIO = 2
"""Numbers in a latent, for each latent of a class on average, up to which classes have covariances of their own."""

ROWS_PER_POSITION = 3
"""Above `MAX_FULL`: channels times latents of the smallest class for each position, from which on classes have
covariances of their own."""

LEAST = 10
"""Reference latents below which nothing is fitted."""

BLOCK = 1024
ROUNDS = 5


TRIAL = (
    "ours, one budget, eight small autoencoders (docs/forecast.md): Spearman 0.52 with the trained models’ distance to "
    "images, 0.93 with that to reconstructions"
)


def classes_of(labels: Tensor) -> Tensor:
    """Return the class of each latent (n,) to fit by: its label, or 0 for all where that would be too fine."""
    n_classes = len(labels.unique())
    return labels if n_classes * LATENTS_PER_CLASS <= len(labels) else torch.zeros_like(labels)


def fit_gaussian(fitting: Fitting) -> ClassLaws:
    """Fit a Gaussian to the latents of each class, in unit scale.

    Up to 4,096 numbers a latent the covariance is that of all of them, above channels ⊗ positions by maximum
    likelihood. Classes share one covariance where their own would be too low in rank, or too large together. Divided by
    n, so that classes in their shares have the covariance of all latents together.

    Nothing is shrunk: the law does not change under an invertible linear map of the latents, and noise in a class's
    covariance averages out over draws, where what shrinking takes away does not. Of 1,000 and of 4,750 latents in each
    class of CIFAR-10 the distances are the same; with shrinkage (OAS) towards one covariance they depend on the number.

    Raises:
        ValueError: for fewer latents than `LEAST`.
    """
    reference = fitting.reference
    if reference.n < LEAST:
        raise ValueError(f"{reference.n} reference latents are too few for a covariance: take {LEAST} or more")
    classes, numbers = classes_of(reference.labels).unique(return_inverse=True)
    c, h, w = reference.shape
    counts, d, k = numbers.bincount(), c * h * w, len(classes)
    reading = _Reading(fitting, numbers)
    if d <= MAX_FULL:
        laws = _full(reading, counts, by_class=k * d <= MAX_RATIO * reference.n and k * d**2 <= MAX_NUMBERS)
    else:
        has_rank = int(counts.min()) * c >= ROWS_PER_POSITION * h * w
        laws = _separable(reading, counts, by_class=has_rank and k * (h * w) ** 2 <= MAX_NUMBERS)
    return ClassLaws(
        dict(zip(classes.tolist(), laws, strict=True)), counts / reference.n, reference.space, fitting.seed
    )


class _Reading:
    """Unit-scale latents (b, c, h, w) and their classes' numbers (b,), again and again, with the progress of it all."""

    def __init__(self, fitting: Fitting, numbers: Tensor) -> None:
        self.fitting, self.numbers, self.shape = fitting, numbers, fitting.reference.shape
        self.done, self.passes = 0, 2

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, reference = 0, self.fitting.reference
        for latents, _ in reference.blocks(BLOCK):
            units = reference.space.to_unit(latents.double())
            yield units, self.numbers[first : first + len(units)]
            first += len(units)
            self.done += len(units)
            self.fitting.progress(self.done, self.passes * reference.n)


def _means(reading: _Reading, counts: Tensor) -> Tensor:
    """Return the mean of each class (k, c, h, w)."""
    sums = torch.zeros(len(counts), *reading.shape, dtype=torch.float64)
    for units, numbers in reading():
        sums.index_add_(0, numbers, units)
    return sums / counts.view(-1, 1, 1, 1)


def _full(reading: _Reading, counts: Tensor, by_class: bool) -> list[GaussianLaw]:
    means = _means(reading, counts)
    d, device = means[0].numel(), reading.fitting.device
    scatters = torch.zeros(len(counts) if by_class else 1, d, d, dtype=torch.float64, device=device)
    for units, numbers in reading():
        rows = (units - means[numbers]).flatten(1).to(device)
        for k, some in rows_of(numbers if by_class else torch.zeros_like(numbers)).items():
            part = rows[some.to(device)]
            scatters[k] += part.mT @ part
    if not by_class:
        return _sharing(means, *_dense(scatters[0] / counts.sum(), reading.shape))
    covariances = (scatter / n for scatter, n in zip(scatters, counts.tolist(), strict=True))
    return [GaussianLaw(m.float(), *_dense(s, reading.shape)) for m, s in zip(means, covariances, strict=True)]


def _dense(covariance: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Basis]:
    # Of fewer latents than numbers some variances are 0, up to rounding below.
    values, vectors = torch.linalg.eigh(covariance.cpu())
    return values.clamp_min(0).float(), Dense(vectors.float(), shape)


def _separable(reading: _Reading, counts: Tensor, by_class: bool) -> list[GaussianLaw]:
    c, h, w = reading.shape
    reading.passes = 1 + 2 * ROUNDS + (not by_class)
    if by_class:
        fits = {k: Kronecker(c, h * w) for k in range(len(counts))}
        fit_kronecker(reading, fits, ROUNDS)
        return [GaussianLaw(f.mean.float().view(c, h, w), *_product(f, reading.shape)) for f in fits.values()]
    means, fit = _means(reading, counts), Kronecker(c, h * w)
    fit_kronecker(lambda: ((x - means[k], torch.zeros_like(k)) for x, k in reading()), {0: fit}, ROUNDS)
    return _sharing(means, *_product(fit, reading.shape))


def _product(fit: Kronecker, shape: tuple[int, int, int]) -> tuple[Tensor, Basis]:
    basis = Separable(fit.vectors["channels"].float(), fit.vectors["positions"].float(), shape)
    return torch.outer(fit.values["channels"], fit.values["positions"]).float(), basis


def _sharing(means: Tensor, variances: Tensor, basis: Basis) -> list[GaussianLaw]:
    return [GaussianLaw(mean.float(), variances, basis) for mean in means]


GAUSSIAN = GenerativeMetric(
    distances(
        "gaussian_fid",
        "Fréchet distance of the Gaussian",
        "images decoded from a Gaussian with the latents’ mean and covariance; with labels, of each class, if these "
        f"have {LATENTS_PER_CLASS} latents on average, and with one covariance for all where that is few for its size",
        source="ours",
        evidence=TRIAL,
    ),
    fit_gaussian,
)
