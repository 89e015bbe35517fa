"""Latents and their spectra over a set of images, batch by batch: only band profiles are kept, a row an image.

The rows are what the bootstrap needs: every uncertainty here is that of drawing other images of the same kind.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...methods.encoding import Variant, spectrum_bands
from ...spectrum.bands import flatten_bands, kl_divergence, spectrum_distribution
from ...spectrum.contrast import rmsc
from ...spectrum.power import Radius, power_spectrum, radial_bins, radial_profile
from ...spectrum.powerlaw import fit_power_law
from .moments import ChannelMoments, Moments

VARIANTS: tuple[Variant, ...] = ("scale_free", "paper")
RADII: dict[Variant, Radius] = {"scale_free": "frequency", "paper": "index"}


class Bands(NamedTuple):
    """Mean power by band, a row an image, without DC and empty bands: images (n, bins), latents (n, bins).

    images: NaN where there were none. frequencies (bins,): cycles per latent cell. ranks (bins,): what
    flattening raises to delta. log_power: whether the variant compares shares of log(1 + power).
    """

    images: Tensor
    latents: Tensor
    frequencies: Tensor
    ranks: Tensor
    log_power: bool


class Flattening(NamedTuple):
    """The delta of the smallest mean gap, its 95 % interval (bootstrap over images), and that gap in nats."""

    delta: float
    low: float
    high: float
    gap: float


class LatentStatistics:
    """Moments, band profiles and RMSC of latents (b, c, h, w) of one grid, beside the images (b, 3, H, W) they are of.

    Without images, "scale_free" holds the latents' bands alone and there is no "paper".
    What is kept does not depend on how the images were cut into batches, rounding in float64 aside.
    """

    def __init__(self, n_bins: int = 16) -> None:
        self._n_bins = n_bins
        self.n_flat = 0
        self._moments = ChannelMoments()
        self._ranks: dict[Variant, Tensor] = {}
        self._log_power: dict[Variant, bool] = {}
        self._rows: dict[Variant, list[tuple[Tensor, Tensor]]] = {variant: [] for variant in VARIANTS}
        self._rmsc: list[Tensor] = []

    def add(self, latents: Tensor, images: Tensor | None) -> None:
        """Count a batch in. ValueError where shapes do not match or the grid has fewer than three bands."""
        if not self._rmsc:
            self._start(latents)
        self._moments.add(latents)
        profile = radial_profile(power_spectrum(latents), self._n_bins, "frequency", drop_dc=True)
        profile = profile.cpu().double()[..., self._kept["scale_free"]]
        self._channel_power += profile.sum(0)
        if images is None:
            varies = _varies(latents)
            self.n_flat += int((~varies).sum())
            nothing = profile.new_full((int(varies.sum()), profile.shape[-1]), torch.nan)
            self._rows["scale_free"].append((nothing, profile.mean(1)[varies.cpu()]))
        else:
            self._add_pairs(latents, images)
        self._rmsc.append(rmsc(latents).cpu().double())

    def _add_pairs(self, latents: Tensor, images: Tensor) -> None:
        # Of a flat picture rounding alone has a spectrum, which would weigh as much as any other image's.
        varies = _varies(images) & _varies(latents)
        self.n_flat += int((~varies).sum())
        if not varies.any():
            return
        for variant, rows in self._rows.items():
            bands = spectrum_bands(latents[varies], images[varies], bins=self._n_bins, variant=variant)
            kept = self._kept[variant]
            rows.append((bands.images.cpu().double()[:, kept], bands.latents.cpu().double()[:, kept]))
            self._ranks[variant] = bands.ranks.cpu().double()[kept]
            self._log_power[variant] = bands.log_power

    def _start(self, latents: Tensor) -> None:
        h, w = latents.shape[-2:]
        self._kept = {variant: filled_bands(h, w, self._n_bins, radius) for variant, radius in RADII.items()}
        self._frequencies = {
            variant: radial_bins(h, w, self._n_bins, radius).frequencies[self._kept[variant]]
            for variant, radius in RADII.items()
        }
        n_bands = len(self._frequencies["scale_free"])
        if n_bands < 3:
            raise ValueError(f"a {h} x {w} latent has {n_bands} frequency bands; its spectrum needs at least 3")
        self._ranks = {"scale_free": self._frequencies["scale_free"]}
        self._log_power = {"scale_free": False}
        self._channel_power = torch.zeros(latents.shape[1], n_bands, dtype=torch.float64)

    def moments(self) -> Moments:
        """As from `ChannelMoments`."""
        return self._moments.moments()

    def bands(self, variant: Variant) -> Bands:
        """As one variant of ESM takes them; "scale_free" is the plain power on the latents' grid."""
        images, latents = (torch.cat(rows) for rows in zip(*self._rows[variant], strict=True))
        return Bands(images, latents, self._frequencies[variant], self._ranks[variant], self._log_power[variant])

    @property
    def is_flat(self) -> bool:
        """Whether no latent, or none beside its image, varies over its cells."""
        return self.n_flat == sum(map(len, self._rmsc))

    @property
    def has_images(self) -> bool:
        """Whether the latents came beside images."""
        return bool(self._rows["paper"])

    def channel_power(self) -> Tensor:
        """(c, bins): mean power by the bands of "scale_free"."""
        return self._channel_power / sum(map(len, self._rmsc))

    def rmsc(self) -> Tensor:
        """(n,): RMS spatial contrast of each image's latents."""
        return torch.cat(self._rmsc)


def _varies(x: Tensor) -> Tensor:
    """Whether a picture (b, c, h, w) holds more than rounding beside its channels' means: (b,) bool."""
    wide = x.double()
    spread = (wide - wide.mean((-2, -1), keepdim=True)).square().mean((1, 2, 3))
    return spread > 1e-12 * wide.square().mean((1, 2, 3))


def filled_bands(h: int, w: int, n_bins: int, radius: Radius) -> Tensor:
    """Which rings hold a coefficient other than DC: (n_bins,) bool."""
    counts = radial_bins(h, w, n_bins, radius).counts.clone()
    counts[0] -= 1
    return counts > 0


def image_bands(images: Tensor, n_bins: int) -> tuple[Tensor, Tensor]:
    """Mean power by band on the images' own grid, without DC and empty bands: (b, 3, H, W) → (b, bins), (bins,).

    The second is the frequency of each band in cycles per pixel.
    """
    h, w = images.shape[-2:]
    kept = filled_bands(h, w, n_bins, "frequency")
    profile = radial_profile(power_spectrum(images).mean(1), n_bins, "frequency", drop_dc=True)
    return profile.cpu().double()[:, kept], radial_bins(h, w, n_bins, "frequency").frequencies[kept]


def targets(bands: Bands, delta: float) -> Tensor:
    """The images' band distributions flattened by delta: (n, bins)."""
    return spectrum_distribution(flatten_bands(bands.images, bands.ranks, delta), bands.log_power)


def shares(bands: Bands) -> Tensor:
    """The latents' band distributions: (n, bins)."""
    return spectrum_distribution(bands.latents, bands.log_power)


def gaps(bands: Bands, deltas: Sequence[float]) -> Tensor:
    """KL(target ‖ latent) in nats for each image and delta: (n, len(deltas))."""
    actual = shares(bands)
    return torch.stack([kl_divergence(targets(bands, delta), actual) for delta in deltas], dim=1)


def best_delta(bands: Bands, deltas: Sequence[float], generator: torch.Generator) -> Flattening:
    """The best of `deltas`, found again on each of 1000 resamples of the images for its interval."""
    by_image = gaps(bands, deltas)
    grid = torch.tensor(deltas, dtype=torch.float64)
    mean = by_image.mean(0)
    resampled = grid[resampled_means(by_image, generator).argmin(-1)]
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Flattening(float(grid[mean.argmin()]), low, high, float(mean.min()))


def fit_exponent(bands: Tensor, frequencies: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Exponent of the power law through the mean of `bands` (n, bins), and its bootstrap standard error.

    A band weighs 1 / frequency, its width on the logarithmic axis; equal weights would fit the highest octave alone.
    """
    exponents = fit_power_law(resampled_means(bands, generator), frequencies, 1 / frequencies).exponent
    return float(fit_power_law(bands.mean(0), frequencies, 1 / frequencies).exponent), float(exponents.std())


def resampled_means(rows: Tensor, generator: torch.Generator, n_resamples: int = 1000) -> Tensor:
    """Means of `rows` (n, k) over draws of n rows with replacement: (n_resamples, k)."""
    n = len(rows)
    draws = (torch.randint(n, (n,), generator=generator) for _ in range(n_resamples))
    return torch.stack([draw.bincount(minlength=n).to(rows) @ rows / n for draw in draws])
