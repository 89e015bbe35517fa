"""Spectra of latents and of the images they encode, by band: exponent, gap to the flattened targets, best delta.

One row of bands an image is kept, so that every uncertainty is that of drawing other images of the same kind.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...methods.encoding_losses import spectrum_bands, varies
from ...records.analysis import Spectrum, SpectrumMatch
from ...records.measurement import Measurement
from ...spectrum.bands import Variant, flatten_bands, kl_divergence, spectrum_distribution
from ...spectrum.power import Radius, power_spectrum, radial_bins, radial_profile
from ...spectrum.powerlaw import fit_power_law
from ..estimates import estimate_mean, stretch
from ..metric import NONE, SPECTRUM_MATCHING, Metric
from ..rows import Rows
from .moments import ChannelMoments, Moments

EXPONENT = Metric(
    key="exponent",
    title="power-law exponent of the latents",
    better="target",
    range="0 (white) to about 3; photographs near 2",
    source=SPECTRUM_MATCHING,
    evidence=NONE + " as a predictor; diffusion generates coarse to fine, so a spectrum that falls is claimed to help",
    conventions="1/f^α in power, bands without DC weighted by 1/f; raw latents",
)
BEST_DELTA = Metric(
    key="best_delta",
    title="flattening of the images' spectrum that fits best",
    better="target",
    range="−0.5 to 2.5 searched; 0 keeps the images' spectrum, steeper latents lie below it, white ones far above 1",
    bounds=(-0.5, 2.5),
    is_searched=True,
    source=SPECTRUM_MATCHING,
    evidence=NONE + " beyond the paper's own training runs",
    conventions="scale-free variant: frequencies, no logarithm, no DC; interval by bootstrap over images",
)
GAP = replace(
    BEST_DELTA,
    key="gap_scale_free_1",
    title="spectrum gap at delta 1, scale-free",
    unit="nats",
    better="lower",
    range="from 0 on; large for latents steeper and flatter than the target alike",
    bounds=(0.0, None),
    is_searched=False,
    conventions="KL(flattened image spectrum ‖ latent spectrum) per image, 16 bands, no DC; any latent scale",
)
GAP_PAPER = replace(
    GAP,
    key="gap_paper_1",
    title="spectrum gap at delta 1, as in the paper's code",
    conventions="blurred and bicubic image, band numbers, log(1 + power): depends on the scale of the latents",
)

N_BINS = 16
CURVE_DELTAS = tuple(i / 10 for i in range(-5, 26))
SEARCH_DELTAS = tuple(i / 100 for i in range(-50, 251))
VARIANTS: tuple[Variant, ...] = ("scale_free", "paper")
GAP_METRICS: dict[Variant, Metric] = {"scale_free": GAP, "paper": GAP_PAPER}
RADII: dict[Variant, Radius] = {"scale_free": "frequency", "paper": "index"}


class Bands(NamedTuple):
    """Mean power by band, a row an image, without DC and empty bands: images (n, bins), latents (n, bins).

    images: zero without images. frequencies (bins,): cycles per latent position. ranks (bins,): what flattening raises
    to delta. log_power: whether the variant compares shares of log(1 + power).
    """

    images: Tensor
    latents: Tensor
    frequencies: Tensor
    ranks: Tensor
    log_power: bool


class LatentSpectra:
    """Moments and band profiles of latents (b, c, h, w) of one grid and of the images (b, 3, H, W) they encode.

    Batches change nothing but rounding in float64. n: images. n_flat: of these, images whose pixels or latents do not
    vary within the image. has_images: whether images were added; without, there is no "paper" variant.
    """

    def __init__(self) -> None:
        self.n = self.n_flat = 0
        self.has_images = False
        self._grid = (0, 0)
        self._moments = ChannelMoments()
        self._rows = {variant: (Rows(), Rows()) for variant in VARIANTS}  # of images and of latents
        self._axes: dict[Variant, tuple[Tensor, bool]] = {}
        self._channel_power = torch.zeros(0)

    def add(self, latents: Tensor, images: Tensor | None) -> None:
        """Add a batch.

        Raises:
            ValueError: when shapes do not match or the grid has fewer than three bands.
        """
        self._moments.add(latents)
        profile = radial_profile(power_spectrum(latents), N_BINS, "frequency", drop_dc=True).cpu().double().sum(0)
        if not self.n:
            h, w = self._grid = (latents.shape[-2], latents.shape[-1])
            if (n_bands := len(filled_bands(self._grid, N_BINS, "frequency")[1])) < 3:
                raise ValueError(f"a {h} x {w} latent has {n_bands} frequency bands; its spectrum needs at least 3")
        self._channel_power = self._channel_power + profile if self.n else profile
        self.n += len(latents)
        self.has_images = images is not None
        paired = latents.new_zeros(len(latents), 3, *self._grid) if images is None else images
        kept = varies(latents) if images is None else varies(latents) & varies(images)
        self.n_flat += int((~kept).sum())
        for variant in VARIANTS if self.has_images else VARIANTS[:1]:
            if kept.any():
                bands = spectrum_bands(latents[kept], paired[kept], bins=N_BINS, variant=variant)
                for rows, values in zip(self._rows[variant], (bands.images, bands.latents), strict=True):
                    rows.add(values)
                self._axes[variant] = bands.ranks.cpu(), bands.log_power

    def moments(self) -> Moments:
        """Return the moments of all latents."""
        return self._moments.moments()

    def bands(self, variant: Variant) -> Bands:
        """Return the bands as one variant of ESM compares them; "scale_free" is plain power on the latents' grid."""
        kept, frequencies = filled_bands(self._grid, N_BINS, RADII[variant])
        images, latents = (rows.all().double()[:, kept] for rows in self._rows[variant])
        ranks, log_power = self._axes[variant]
        return Bands(images, latents, frequencies, ranks[kept], log_power)

    @property
    def is_flat(self) -> bool:
        """Whether no latent, or none with its image, varies within an image."""
        return self.n_flat == self.n

    def channel_power(self) -> Tensor:
        """Return the mean power of each channel by the bands of "scale_free": (c, bins)."""
        return self._channel_power[:, filled_bands(self._grid, N_BINS, "frequency")[0]] / self.n


def filled_bands(grid: tuple[int, int], n_bins: int, radius: Radius) -> tuple[Tensor, Tensor]:
    """Return which rings hold a coefficient other than DC, (n_bins,) bool, and the frequencies of these."""
    rings = radial_bins(*grid, n_bins, radius)
    kept = rings.counts > (torch.arange(n_bins) == 0)
    return kept, rings.frequencies[kept]


def image_bands(images: Tensor, n_bins: int) -> tuple[Tensor, Tensor]:
    """Return mean power by band on the images' own grid, without DC and empty bands, and the bands' frequencies.

    (b, 3, H, W) → (b, bins), (bins,) in cycles per pixel.
    """
    kept, frequencies = filled_bands((images.shape[-2], images.shape[-1]), n_bins, "frequency")
    profile = radial_profile(power_spectrum(images).mean(1), n_bins, "frequency", drop_dc=True)
    return profile.cpu().double()[:, kept], frequencies


def targets(bands: Bands, delta: float) -> Tensor:
    """Return the images' band distributions flattened by delta: (n, bins)."""
    return spectrum_distribution(flatten_bands(bands.images, bands.ranks, delta), bands.log_power)


def shares(bands: Bands) -> Tensor:
    """Return the latents' band distributions: (n, bins)."""
    return spectrum_distribution(bands.latents, bands.log_power)


def gaps(bands: Bands, deltas: Sequence[float]) -> Tensor:
    """Return KL(target ‖ latent) in nats for each image and delta: (n, len(deltas))."""
    actual = shares(bands)
    # In place: hundreds of small results among large temporary ones would keep the heap from giving those back.
    found = actual.new_empty(len(actual), len(deltas))
    for column, delta in enumerate(deltas):
        found[:, column] = kl_divergence(targets(bands, delta), actual)
    return found


def match_spectra(bands: Bands, variant: Variant, generator: torch.Generator) -> SpectrumMatch:
    """Return the latents' bands compared with the images' at every delta.

    The interval of the best delta is of 1000 resamples of the images, stretched about it as Student's t interval of a
    mean is about a normal one: percentiles of few images cover too little. Of a single image it is the
    whole searched range.
    """
    by_image = gaps(bands, SEARCH_DELTAS)
    mean, deltas = by_image.mean(0), torch.tensor(SEARCH_DELTAS, dtype=torch.float64)
    resampled = deltas[resampled_means(by_image, generator).argmin(-1)]
    ends = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    best, searched = deltas[mean.argmin()], deltas[[0, -1]]
    ends = best + (ends - best) * stretch(len(by_image)) if len(by_image) > 1 else searched
    low, high = ends.clamp(*searched).tolist()
    return SpectrumMatch(
        variant=variant,
        frequencies=tuple(bands.frequencies.tolist()),
        latent=tuple(shares(bands).mean(0).tolist()),
        deltas=CURVE_DELTAS,
        targets=tuple(tuple(targets(bands, delta).mean(0).tolist()) for delta in CURVE_DELTAS),
        gaps=tuple(map(estimate_mean, gaps(bands, CURVE_DELTAS).unbind(1))),
        best_delta=float(best),
        best_delta_interval=(low, high),
        best_gap=float(mean.min()),
    )


def fit_spectrum(rows: Tensor, frequencies: Tensor, generator: torch.Generator) -> Spectrum:
    """Return the mean of rows (n, bins) and the exponent of a power law through it, with its bootstrap standard error.

    A band weighs 1 / frequency, its width on the logarithmic axis; equal weights would fit mostly the highest octave.
    Bands without power are left out of the fit.
    """
    exponents = fit_power_law(resampled_means(rows, generator), frequencies, 1 / frequencies).exponent
    exponent = fit_power_law(rows.mean(0), frequencies, 1 / frequencies).exponent
    n = len(rows)  # resampled means vary less than means of other images, by the factor that makes a variance unbiased
    error = float(exponents.std()) * math.sqrt(n / (n - 1)) if n > 1 else math.nan
    if exponent.isnan():
        estimate = Measurement(None, refused="fewer than two bands have power")
    else:
        estimate = Measurement(float(exponent), error if math.isfinite(error) else None)
    return Spectrum(tuple(frequencies.tolist()), tuple(rows.mean(0).tolist()), estimate)


def spectral_numbers(spectrum: Spectrum, matches: Sequence[SpectrumMatch]) -> dict[str, Measurement]:
    """Return exponent, and best delta and gaps of the variants that were matched, by the keys of their metrics."""
    numbers = {EXPONENT.key: replace(spectrum.exponent, white=0.0)}
    for match in matches:
        numbers[GAP_METRICS[match.variant].key] = match.gap(1.0)
        if match.variant == "scale_free":
            low, high = match.best_delta_interval
            # A quarter of the interval of 95 % is the standard error of a Gaussian.
            numbers[BEST_DELTA.key] = Measurement(match.best_delta, (high - low) / 4)
    return numbers


def resampled_means(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return means of `rows` (n, k) over n rows sampled with replacement: (1000, k)."""
    n = len(rows)
    draws = (torch.randint(n, (n,), generator=generator) for _ in range(1000))
    return torch.stack([draw.bincount(minlength=n).to(rows) @ rows / n for draw in draws])
