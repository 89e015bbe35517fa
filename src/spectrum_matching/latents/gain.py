"""The spectral gain of a latent space: chosen by one number, measured on latents, scaled to unit variance."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..latent_space import LatentSpace, SpectralGain
from ..seeding import seeded, spread
from ..spectrum.power import power_spectrum, radial_bins, radial_profile
from .gain_choice import GainChoice
from .latent_set import LatentSet, sample_moments

N_LATENTS, BATCH_SIZE = 10_000, 256
HIGHEST = 0.5**0.5
LEAST = 1e-6
"""Power below this share of the mean counts as so much: what has none keeps a finite gain."""


Read = Callable[[], Iterable[Tensor]]
"""Returns batches (b, c, h, w) of raw latents, the same at every call."""


def with_gain(space: LatentSpace, choice: GainChoice, read: Read) -> LatentSpace:
    """Return the space with the chosen gain in place of its own, and unit variance after it.

    Channels are centred one by one, whatever the space's means: a constant offset is no signal, and a gain would change
    its share of the variance. The variance is that of all channels together where the space has one standard deviation
    for all, and else, or with a gain for each channel, of each.

    Raises:
        ValueError: for settings that do not go together.
    """
    choice.check()
    if not choice.is_given:
        return space
    strength = choice.whiten if choice.flatten is None else choice.flatten
    if not strength and choice.gain_channels != "decorrelated":
        return space.without_gain
    plain = _centred(space.without_gain, read)
    if choice.gain_channels == "decorrelated":
        plain = replace(plain, rotation=_principal_axes(plain, read))
    power = mean_power(plain, read)  # (c, h, w)
    _, h, w = power.shape
    if min(h, w) < 2:
        raise ValueError(
            f"latents of {h} x {w} positions have no spectrum over both axes: leave out flatten and whiten"
        )
    rows = power if choice.gain_channels != "all" else power.mean(0, keepdim=True)
    gain = _power_law(h, w, choice.flatten) if choice.flatten is not None else _inverse(rows, choice)
    by_channel = len(space.std) > 1 or choice.gain_channels != "all"
    after = (power * gain.table(h, w).square()).mean((1, 2))  # (c,)
    scale = (after if by_channel else after.mean(0, keepdim=True)).sqrt()
    scale = torch.where(scale > LEAST, scale, 1.0)[:, None]
    values = torch.tensor(gain.values, dtype=torch.float64) / scale
    return replace(plain, gain=replace(gain, values=tuple(map(tuple, values.tolist()))))


def cached_samples(latents: LatentSet) -> Iterator[Tensor]:
    """Yield batches of samples of the posteriors of latents spread over a set, raw; the same at every call."""
    rows = spread(len(latents), N_LATENTS)
    for start in range(0, len(rows), BATCH_SIZE):
        batch = latents.read_batch([(row, False) for row in rows[start : start + BATCH_SIZE]])
        yield sample_moments(batch.mean, batch.logvar, seeded("gain", start))


def mean_power(space: LatentSpace, read: Read) -> Tensor:
    """Return the mean squared DCT coefficients (c, h, w) of latents in a space, float64; white noise has 1 each."""
    total, n = torch.zeros(()), 0
    for latents in read():
        total = total + power_spectrum(space.to_unit(latents.cpu().double())).sum(0).cpu()
        n += len(latents)
    if not n:
        raise ValueError("no latents to measure a spectrum of")
    return total / n


def _centred(space: LatentSpace, read: Read) -> LatentSpace:
    """Return the space with the mean of each channel as its mean."""
    total, n = torch.zeros(()), 0
    for latents in read():
        units = space.to_unit(latents.cpu().double())
        total, n = total + units.mean((2, 3)).sum(0).cpu(), n + len(units)
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (space.mean, space.std))
    return replace(space, mean=tuple((mean + std * total / n).tolist()))


def _power_law(h: int, w: int, exponent: float) -> SpectralGain:
    ends = (1 / (2 * max(h, w)), HIGHEST)
    return SpectralGain((tuple(frequency ** (exponent / 2) for frequency in ends),), frequencies=ends)


def _inverse(power: Tensor, choice: GainChoice) -> SpectralGain:
    """Return the measured power (rows, h, w) to minus half of `whiten`."""
    assert choice.whiten is not None
    _, h, w = power.shape
    frequencies: tuple[float, ...] = ()
    if choice.whiten_by == "ring":
        bins = radial_bins(h, w, min(h, w), "frequency")
        power = radial_profile(power, min(h, w), "frequency", drop_dc=True)
        counts = bins.counts.clone()
        counts[0] -= 1  # DC
        is_used = counts > 0
        power, frequencies = power[:, is_used], tuple(bins.frequencies[is_used].tolist())
    else:
        power = power.clone()
        power[:, 0, 0] = (power[:, 0, 1] + power[:, 1, 0]) / 2
        power = power.flatten(1)
    floor = LEAST * power.mean(1, keepdim=True)
    values = torch.where(floor > 0, power.maximum(floor), 1.0) ** (-choice.whiten / 2)
    return SpectralGain(
        tuple(map(tuple, values.tolist())), frequencies=frequencies, grid=None if frequencies else (h, w)
    )


def _principal_axes(space: LatentSpace, read: Read) -> tuple[tuple[float, ...], ...]:
    """Return the eigenvectors of the channels' covariance at unit scale as rows, that of the largest variance first."""
    products, n = torch.zeros(()), 0
    for latents in read():
        units = space.to_unit(latents.cpu().double()).transpose(0, 1).flatten(1)
        products, n = products + (units @ units.mT).cpu(), n + units.shape[1]
    axes = torch.linalg.eigh(products / n).eigenvectors.flip(1).mT
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # eigh leaves the sign open
    return tuple(map(tuple, axes.tolist()))
