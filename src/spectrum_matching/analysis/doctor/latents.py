"""Checks of the latents: declared against measured scale, packing, dead channels, posterior noise."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ...latent_space import LatentSpace
from ...metrics.latents.moments import (
    DEAD,
    ChannelMoments,
    Moments,
    check_normalisation,
    counted_channels,
    dead_channels,
)
from ...records.diagnosis import Outcome
from ...seeding import seeded
from ..verdict import UNIT_SCALE
from .examination import HALF, Examination, fine, listed, look, skipped, wrong

OFF_SCALE, FAR_OFF = 1.5, 3.0
"""Factors by which a standard deviation may differ from 1 on a few images, and from which it is wrong. The
signal-to-noise ratio of a diffusion model is off by their squares, 2.25 and 9, at every noise level."""

OFF_CENTRE, FAR_OUT = 1.0, 3.0
"""Means of normalised channels that are reported, and that are wrong: in standard deviations of the noise that
diffusion starts from."""

NOISE = 0.99
"""Share of a channel's variance that is posterior noise from which it tells less than 0.005 nats a position."""

EXPLODED = 2.0
"""Mean log-variance beyond which noise is not that of a prior of unit variance: it is 7 times too large."""


def fits(space: LatentSpace, n_channels: int) -> bool:
    """Return whether a normalisation has one value for all channels, or one for each packed one."""
    return {len(space.mean), len(space.std)} <= {1, n_channels * space.patch**2}


def scale(case: Examination) -> Outcome:
    """Compare the scale and shift of the latents with what is declared, over all channels and for each."""
    space, n_channels = case.model.latent_space, case.model.channels
    if not fits(space, n_channels):
        evidence = (
            f"{len(space.mean)} means and {len(space.std)} deviations for {n_channels * space.patch**2} channels."
        )
        return wrong("The declared normalisation does not fit the latents.", evidence, measured_statistics(case))
    moments = unit_moments(case, space)
    measured = check_normalisation(space, moments.channel_means, moments.channel_stds)
    std, (least, most) = float(measured.std), measured.channel_stds
    means, stds = moments.channel_means, moments.channel_stds
    live = counted_channels(stds * torch.tensor(space.std).to(stds))
    if not std:
        return skipped("latents do not vary")
    counted = "all channels" if live.all() else "all live channels"
    evidence = (
        f"Standard deviation {std:.3g} over {counted}, {least:.3g} … {most:.3g} within each; means "
        f"{float(means.min()):.2g} … {float(means.max()):.2g}."
    )
    factor = case.model.declaration(LatentSpace("scale", (0.0,), (1 / measured.suggested_scaling_factor,)))
    if space.convention == "none":
        if 1 / FAR_OFF < std < FAR_OFF:
            verdict = f"No normalisation is declared; latents are within a factor of {FAR_OFF:g} of unit scale."
            return fine(verdict, f"{evidence} `analyze` asks for a factor of {UNIT_SCALE:g}.")
        return look("No normalisation is declared, and the latents are far from unit scale.", evidence, factor)
    off, by_channel = max(std, 1 / std), space.convention in ("per channel", "packed")
    if off > OFF_SCALE:
        size = f"{off:.2g} times too {'large' if std > 1 else 'small'}"
        verdict, fix = f"Normalised as declared ({space.convention}), latents are {size}.", factor
        if known := _known_mistake(case, space, off):
            verdict, fix = f"{verdict} {known[0]}", known[1]
        if by_channel:  # beside means and deviations, a scaling factor of its own would be wrong
            fix = measured_statistics(case)
        return (wrong if off > FAR_OFF or known else look)(verdict, evidence, fix)
    far = [c for c, mean in enumerate(means.tolist()) if abs(mean) > OFF_CENTRE]
    if by_channel:
        off_scale = [bool(live[c]) and not 1 / FAR_OFF < s < FAR_OFF for c, s in enumerate(stds.tolist())]
        far += [c for c, is_off in enumerate(off_scale) if is_off and c not in far]
    if far:
        verdict = f"Normalised as declared ({space.convention}), channels {listed([str(c) for c in far])} are off."
        is_wrong = float(means.abs().max()) > FAR_OUT
        return (wrong if is_wrong else look)(verdict, evidence, measured_statistics(case))
    return fine(f"The declared normalisation ({space.convention}) gives unit scale.", evidence)


def _known_mistake(case: Examination, space: LatentSpace, off: float) -> tuple[str, str] | None:
    """Return the usual mistake that explains a scale, and its fix, if it leaves less than a tenth of what is off."""
    mistakes = {
        "They are of unit scale already.": (LatentSpace(), case.model.declaration(LatentSpace("scale"))),
        "Divided in place of multiplied, they are of unit scale.": (
            replace(space, std=tuple(1 / s for s in space.std)),
            "declare the reciprocal: scaling_factor is 1 / standard deviation",
        ),
    }
    for verdict, (other, fix) in mistakes.items():
        moments = unit_moments(case, other)
        std = float(check_normalisation(other, moments.channel_means, moments.channel_stds).std)
        if abs(math.log(std)) < math.log(off) / 10:
            return verdict, fix
    return None


def measured_statistics(case: Examination) -> str:
    """Return the declaration that normalises each channel, packed where it packs, as it is on these images."""
    patch = case.model.latent_space.patch
    moments = unit_moments(case, LatentSpace(patch=patch))
    stds = torch.where(dead_channels(moments.channel_stds), 1, moments.channel_stds)  # dead channels keep their scale
    mean, std = (tuple(row.tolist()) for row in (moments.channel_means, stds))
    measured = LatentSpace("packed" if patch > 1 else "per channel", mean, std, patch)
    return f"measure on your own images with `specmatch cache`; on these, {case.model.declaration(measured)}"


def packing(case: Examination) -> Outcome:
    """Try the statistics of packed latents in the other order: position before channel."""
    space, channels = case.model.latent_space, case.model.channels
    if space.patch == 1 or len(space.mean) == 1 or not fits(space, channels):
        return skipped("latents are not packed, with statistics of each channel")

    def reordered(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(torch.tensor(values, dtype=torch.float64).view(-1, channels).mT.flatten().tolist())

    declared = _misfit(unit_moments(case, space))
    other = _misfit(unit_moments(case, replace(space, mean=reordered(space.mean), std=reordered(space.std))))
    evidence = f"Squared deviation from mean 0 and log-scale 0: {declared:.3g} as declared, {other:.3g} reordered."
    if other <= HALF * declared:
        return wrong(
            "Statistics of packed latents are in another order than the packing.",
            evidence,
            f"mean and std: values.view({space.patch**2}, {channels}).T.flatten(), channel before row and column",
        )
    return fine("Packed statistics are in the order of the packing: channel, row, column.", evidence)


def _misfit(moments: Moments) -> float:
    return float(moments.channel_means.square().mean() + moments.channel_stds.clamp_min(1e-6).log().square().mean())


def channels(case: Examination) -> Outcome:
    """Look for channels that do not vary from image to image."""
    stds = moments_of(case.latents - case.latents.mean(0)).channel_stds
    dead = [str(c) for c in dead_channels(stds).nonzero()[:, 0].tolist()]
    if float(stds.max()) <= DEAD * float(case.latents.abs().max()):
        evidence = f"From image to image, standard deviations are {float(stds.max()):.2g} at most."
        return wrong("No channel varies: the encoder ignores the images.", evidence, _DEAD)
    if dead:
        evidence = f"Of {len(stds)} channels, {listed(dead)}: at most a millionth of the largest standard deviation."
        return wrong("Some channels are dead: they carry nothing.", evidence, _DEAD)
    return fine(f"All {len(stds)} channels vary.", f"Standard deviations {stds.min():.3g} … {stds.max():.3g}.")


_DEAD = "find what switches them off (a KL weight too high, a layer not loaded), or train with fewer channels"


def posterior(case: Examination) -> Outcome:
    """Compare posterior noise with what the means tell, by channel."""
    if not case.model.is_stochastic:
        return skipped("latents have no variance")
    noise = case.posterior.logvar.cpu().double().exp().transpose(0, 1).flatten(1).mean(1)
    logvar = case.posterior.logvar.cpu().double().transpose(0, 1).flatten(1).mean(1)
    stds = moments_of(case.latents).channel_stds
    share = noise / (noise + stds.square())
    full = ((share > NOISE) & ~dead_channels(stds)).nonzero()[:, 0].tolist()
    evidence = (
        f"Noise is {float(share.min()):.2%} … {float(share.max()):.2%} of a channel’s variance; mean log-variance "
        f"{float(logvar.min()):.3g} … {float(logvar.max()):.3g}."
    )
    if not full:
        return fine("Latents tell more than their noise hides.", evidence)
    which = "all channels" if len(full) == len(share) else f"channels {listed([str(c) for c in full])}"
    level = wrong if len(full) == len(share) else look
    if float(logvar[full].max()) > EXPLODED:
        fix = "check the log-variance: its half of the moments, its clamp, its sign, float16 overflow"
        return wrong(f"The posterior’s variance has exploded in {which}.", evidence, fix)
    return level(
        f"The posterior has collapsed in {which}: samples tell nothing of the image.",
        evidence,
        "lower the KL weight and train on, or decode posterior.mean where samples were meant to be",
    )


def unit_moments(case: Examination, space: LatentSpace) -> Moments:
    """Return the moments of posterior samples as a diffusion model sees them, normalised by `space`."""
    latents = case.latents.float()
    if case.model.is_stochastic:
        noise = torch.randn(latents.shape, generator=seeded("doctor", "posterior")).to(latents.device)
        latents = latents + case.posterior.logvar.float().mul(0.5).exp() * noise
    return moments_of(space.to_unit(latents))


def moments_of(latents: Tensor) -> Moments:
    """Return the moments of latents (n, c, h, w) by channel."""
    accumulated = ChannelMoments()
    accumulated.add(latents)
    return accumulated.moments()
