"""The verdict: what the numbers of an analysis mean in words, with the evidence and what to do.

No threshold is calibrated against generation: each is named here, stated in the evidence and in docs/analyze.md. A
number is compared with one by its interval of 95 %, by Student's t; where that holds the threshold, or there is none,
the finding is "undecided".
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ..metrics.estimates import half_interval
from ..metrics.latents.channels import HEAVY, OUTLYING
from ..metrics.latents.spectra import BEST_DELTA
from ..records.analysis import Analysis, Finding, SpectrumFinding, SpectrumMatch
from ..records.measurement import Measurement
from .commands import are_left, cache, fine_tune, flatten, has_part, measure_more

MATCHED = (0.8, 1.3)
"""Best deltas that count as at the target, around the delta of 1.0 (f16) and 1.2 (f8) that the paper trained with."""

ALIGNED, MISALIGNED = 1.0, 3.0
"""Low-pass gaps in dB below which a decoder draws low image frequencies from low latent frequencies alone (a quarter
more error than low-passing its output leaves) and from which it does not (twice the error)."""

UNIT_SCALE = 1.15
"""Factor by which a normalised standard deviation may differ from 1."""

OFF_CENTRE = 1.0
"""Mean of a normalised channel above which it counts as off centre, in standard deviations after normalisation."""

NOISY_POSTERIOR = 0.1
"""Share of a sampled latent's variance from which posterior noise is reported."""

WEAK_PSNR = 20.0
"""PSNR in dB below which one-sided metrics of the latents cannot be trusted: they may describe lost information."""


Side = Literal["steeper", "at-target", "flatter", "undecided"]
KEYS: dict[Side, SpectrumFinding] = {
    "steeper": "spectrum-steeper",
    "at-target": "spectrum-at-target",
    "flatter": "spectrum-flatter",
    "undecided": "spectrum-undecided",
}
TARGET = "the images’ flattened by f¹"
SIDES = {
    "steeper": "steeper than the target",
    "at-target": "as steep as the target",
    "flatter": "flatter than the target",
}
Comparison = Literal["below", "above", "undecided"]


def compare(number: Measurement, threshold: float, n: int) -> Comparison:
    """Return on which side of a threshold the interval of 95 % lies; one that touches it from above is above.

    n: images that the number was estimated over.
    """
    value, half = float(number), half_interval(number, n)
    if half is None:
        return "undecided"
    if value - half >= threshold:
        return "above"
    return "below" if value + half < threshold else "undecided"


def with_findings(analysis: Analysis) -> Analysis:
    """Return the analysis with its verdict, most important finding first; what was not measured is left out.

    Latents are judged as a diffusion model sees them: samples of the posterior, where there is one.
    """
    findings = [
        _spectrum(analysis),
        _posterior(analysis),
        _decoder(analysis),
        _scale(analysis),
        _centre(analysis),
        _dead_channels(analysis),
        _outlier_channels(analysis),
        _reconstruction(analysis),
    ]
    return replace(analysis, findings=tuple(filter(None, findings)))


def _spectrum(analysis: Analysis) -> Finding | None:
    view = analysis.diffused
    if not view.matches:
        return None
    match, paper = view.match("scale_free"), view.match("paper")
    side = spectrum_side(match)
    low, high = match.best_delta_interval
    excess = high_band_excess(match)
    evidence = (
        f"Scale-free best delta of {analysis.name_of(view)} {_delta(match.best_delta)} "
        f"(95 % {_delta(low)} … {_delta(high)}; {MATCHED[0]:g} … {MATCHED[1]:g} counts as at the target); gap there "
        f"{match.best_gap:.3f} nats, at delta 1 {match.gap(1.0).value:.3f}; power above half of Nyquist "
        f"{_signed(excess, '+.1f')} dB from the target’s."
    )
    readings = {"As the paper’s code reads it, it is": paper}
    if len(analysis.views) > 1:
        means = analysis.view("mean").match("scale_free")
        readings = {"Posterior means, without their noise, are": means} | readings
    # Other readings are named where they say something else.
    others = [
        f"{words} {SIDES[other]} (delta {_delta(reading.best_delta)})."
        for words, reading in readings.items()
        if (other := spectrum_side(reading)) not in (side, "undecided")
    ]
    fit = f"best delta {_delta(match.best_delta)}, 95 % {_delta(low)} … {_delta(high)}"
    spectrum = f"the spectrum of {analysis.name_of(view)}"
    if side == "undecided":
        verdict = f"Whether {spectrum} is as steep as the target, {TARGET}, is undecided: {fit}."
        advice, command = _more(analysis)
    else:
        verdict = f"T{spectrum[1:]} is {SIDES[side]}, {TARGET} ({fit}){_power(side, excess)}."
        advice, command = _spectrum_advice(analysis, side, excess), ""
    if side in ("steeper", "flatter"):
        command = fine_tune(analysis, "esm")
        # A power law has a slope alone, and at an end of the search that is not known.
        if not BEST_DELTA.beyond(match.best_delta) and _has_one_slope(side, excess):
            exponent = round(1 - match.best_delta, 2)
            gain = flatten(analysis, exponent)
            how = gain if gain and command else f"--source.flatten {exponent:g}"
            command = command or gain
            advice += f" Or keep the autoencoder; a gain on its latents gives them the target’s slope: {how}."
    return Finding(KEYS[side], "neutral", " ".join([verdict, *others]), evidence, advice, command)


def _power(side: Side, excess: float) -> str:
    """Return a clause on high frequencies, where a spectrum may lie on the other side than its slope says."""
    if side == "at-target" or not round(abs(excess), 1):
        return ""
    power = f"{abs(excess):.1f} dB {'more' if excess > 0 else 'less'} power above half of Nyquist"
    if _has_one_slope(side, excess):
        return f", with {power}"
    return f", though it has {power}: no single slope describes it"


def _has_one_slope(side: Side, excess: float) -> bool:
    return not round(abs(excess), 1) or (excess > 0) == (side == "flatter")


def _spectrum_advice(analysis: Analysis, side: Side, excess: float) -> str:
    if side == "at-target":
        return ""
    if has_part(analysis, "esm"):
        return "Training had ESM already: more updates or a larger --method.esm-weight may bring it there."
    advice, excess = "To bring it there, fine-tune with ESM", round(excess, 1)
    if side == "steeper":
        why = ", which asks for more power at high frequencies; a smoothness or equivariance term works against it"
        return f"{advice}{why if excess < 0 else ''}."
    noise, n = analysis.measurement("posterior_noise"), analysis.sample.n_images
    is_noisy = noise is not None and noise.value is not None and compare(noise, NOISY_POSTERIOR, n) != "below"
    advice += ", which removes the excess in the encoder" if excess > 0 else ""
    return f"{advice}{', and without a KL term, since posterior noise whitens latents' if is_noisy else ''}."


def spectrum_side(match: SpectrumMatch) -> Side:
    """Return on which side of the target a spectrum lies by the whole interval of its best delta."""
    low, high = match.best_delta_interval
    if low > MATCHED[1]:
        return "flatter"
    if high < MATCHED[0]:
        return "steeper"
    return "at-target" if MATCHED[0] <= low and high <= MATCHED[1] else "undecided"


def high_band_excess(match: SpectrumMatch) -> float:
    """Return the latents' share of power above 0.25 cycles per position over that of the target at delta 1, in dB.

    Shares are of the bands' mean powers, as in the variant's distributions.
    """
    above = [frequency > 0.25 for frequency in match.frequencies]
    latent, target = (
        sum(share for share, high in zip(shares, above, strict=True) if high)
        for shares in (match.latent, match.target(1.0))
    )
    return 10 * math.log10(max(latent, 1e-12) / max(target, 1e-12))


def _posterior(analysis: Analysis) -> Finding | None:
    noise, n = analysis.measurement("posterior_noise"), analysis.sample.n_images
    if noise is None or noise.value is None or (side := compare(noise, NOISY_POSTERIOR, n)) == "below":
        return None
    evidence = (
        f"{_share(noise, n)} of the variance of posterior samples is posterior noise (reported from "
        f"{NOISY_POSTERIOR:.0%})."
    )
    if side == "undecided":
        verdict = "Whether posterior samples are clearly noisier than posterior means is undecided."
        return Finding("posterior-undecided", "neutral", verdict, evidence, *_more(analysis))
    return Finding(
        "noisy-posterior",
        "neutral",
        "Posterior samples are clearly noisier than posterior means: which of the two a diffusion model is trained on "
        "matters here.",
        evidence,
        "Fine-tune without a KL term, which lets the posterior narrow, or diffuse posterior means.",
        fine_tune(analysis, "autoencoder"),
    )


def _decoder(analysis: Analysis) -> Finding | None:
    if analysis.decoding is None or (point := analysis.decoding.mildest) is None:
        return None
    gap, everything, transfer = float(point.gap), analysis.decoding.diagonals, analysis.decoding.transfer
    n_tests = analysis.decoding.n_tests
    evidence = (
        f"Low-pass keep {point.keep} of {everything}: low-passed latents decode to {point.decoded.value:.1f} dB, the "
        f"low-passed output has {point.aligned.value:.1f} dB; gap {gap:.2f}{_within(point.gap, n_tests)} dB (95 %; a "
        f"decoder is aligned below {ALIGNED:g}, misaligned from {MISALIGNED:g})"
    )
    responds: Comparison = "above"
    if transfer:
        even = sum(transfer.even[: len(transfer.frequencies)]) / len(transfer.frequencies)
        responds = compare(transfer.diagonal, even, transfer.n_images)
        share = _share(transfer.diagonal, transfer.n_images)
        evidence += f"; {share} of a band’s energy decodes into that band (evenly spread: {even:.2%})"
    evidence += "."
    aligned, misaligned = (compare(point.gap, threshold, n_tests) for threshold in (ALIGNED, MISALIGNED))
    dsm = "To change that, fine-tune with DSM: low-passed latents are decoded into low-passed images."
    if has_part(analysis, "dsm"):
        dsm = "Training had DSM already: more updates may change that."
    if aligned == "below" and responds == "below":
        verdict = (
            "Less of a latent band’s energy decodes into that band than by an even spread: that low-passed latents "
            "decode well means nothing."
        )
        return Finding("decoder-idle", "bad", verdict, evidence, "Check whether the decoder uses its latents at all.")
    if aligned == "below" and responds == "above":
        verdict = "The decoder draws low image frequencies from low latent frequencies alone."
        return Finding("decoder-aligned", "neutral", verdict, evidence)
    if misaligned == "above":
        verdict = "The decoder needs high latent frequencies to draw low image frequencies."
        return Finding("decoder-misaligned", "neutral", verdict, evidence, dsm, fine_tune(analysis, "dsm"))
    if aligned == "above" and misaligned == "below":
        verdict = "The decoder draws low image frequencies in part from high latent frequencies."
        return Finding("decoder-partly-aligned", "neutral", verdict, evidence, dsm, fine_tune(analysis, "dsm"))
    verdict = "How far the decoder needs high latent frequencies to draw low image frequencies is undecided."
    if aligned == "below":
        verdict = "Whether a latent band’s energy decodes into that band more than by an even spread is undecided."
    return Finding("decoder-undecided", "neutral", verdict, evidence, *_more(analysis, tests=True))


def _scale(analysis: Analysis) -> Finding:
    normalisation = analysis.normalisation
    std, (least, most) = float(normalisation.std), normalisation.channel_stds
    n = analysis.sample.n_images
    within = f" ± {half:.2g} (95 %)" if (half := half_interval(normalisation.std, n)) else ""
    is_declared = normalisation.convention != "none"
    counted = "all live channels" if any(c.state == "dead" for c in analysis.diffused.channels) else "all channels"
    after = f"After the declared normalisation ({normalisation.convention}) the" if is_declared else "The"
    evidence = (
        f"{after} standard deviation of {analysis.name_of(analysis.diffused)} is {std:.3g}{within} over {counted} "
        f"together (within a factor of {UNIT_SCALE:g} of 1 is unit scale), {least:.3g} … {most:.3g} within single "
        f"channels."
    )
    lowest, highest = (compare(normalisation.std, threshold, n) for threshold in (1 / UNIT_SCALE, UNIT_SCALE))
    if lowest == "above" and highest == "below":
        undeclared = f"No normalisation is declared, and over {counted} together the latents are of unit scale."
        verdict = "The declared scale matches these latents." if is_declared else undeclared
        return Finding("scale-matches", "good", verdict, evidence)
    if "undecided" in (lowest, highest):
        verdict = "Whether the latents are of unit scale is undecided."
        return Finding("scale-undecided", "neutral", verdict, evidence, *_more(analysis))
    advice = (
        f"Multiply raw latents by {normalisation.suggested_scaling_factor:.4g}, or normalise each channel by its own "
        f"mean and standard deviation, as training on a cache does."
    )
    if not is_declared:
        verdict = f"No normalisation is declared, and the latents’ standard deviation is {std:.3g}."
        return Finding("scale-undeclared", "warning", verdict, evidence, advice, cache(analysis))
    times, side = (std, "large") if std > 1 else (1 / std, "small")
    verdict = (
        f"The declared scale does not match these latents: normalised by it, they are {times:.2g} times too {side}."
    )
    return Finding("scale-wrong", "bad", verdict, evidence, advice, cache(analysis))


def _centre(analysis: Analysis) -> Finding | None:
    normalisation, latents = analysis.normalisation, analysis.name_of(analysis.diffused)
    least, most = normalisation.channel_means
    if max(-least, most) <= OFF_CENTRE:
        return None
    declared = normalisation.convention != "none"
    channels = "Normalised as declared, some channels are" if declared else "Some channels are"
    return Finding(
        "off-centre",
        "warning",
        f"{channels} far from centred: a diffusion model starts from noise of mean 0.",
        f"Means of channels of {latents} are {_signed(least, '.3g')} … {_signed(most, '.3g')} (reported beyond "
        f"±{OFF_CENTRE:g}).",
        "Normalise each channel by its own mean and standard deviation, measured on your images.",
    )


def _dead_channels(analysis: Analysis) -> Finding | None:
    channels = analysis.diffused.channels
    dead = [c for c, channel in enumerate(channels) if channel.state == "dead"]
    if not dead:
        return None
    verdict = f"{len(dead)} of {len(channels)} channels are dead: they carry nothing."
    names, have, these = f"Channels {_listed(dead)}", "have", "these"
    if len(dead) == 1:
        verdict = f"1 of {len(channels)} channels is dead: it carries nothing."
        names, have, these = f"Channel {dead[0]}", "has", "it"
    return Finding(
        "dead-channels",
        "bad",
        verdict,
        f"{names} of {analysis.name_of(analysis.diffused)} {have} a standard deviation of at most a millionth of the "
        f"largest.",
        f"Find what switches {these} off (a KL weight too high does), or train with fewer channels.",
    )


def _outlier_channels(analysis: Analysis) -> Finding | None:
    view, (least, most) = analysis.diffused, analysis.normalisation.channel_stds
    outliers = [c for c, channel in enumerate(view.channels) if channel.state == "outlier"]
    heavy = [c for c in outliers if abs(view.channels[c].kurtosis or 0) > HEAVY]
    off_scale = [c for c in outliers if c not in heavy]
    # The state is of raw latents: a normalisation of each channel takes differences of scale away.
    if analysis.normalisation.convention in ("per channel", "packed") and most <= OUTLYING * least:
        outliers, off_scale = heavy, []
    if not outliers:
        return None
    reasons = [f"standard deviation of channel {c} {view.channels[c].std:.3g}" for c in off_scale[:6]]
    reasons += [f"excess kurtosis of channel {c} {view.channels[c].kurtosis:.3g}" for c in heavy[:6]]
    differ = "differs" if len(outliers) == 1 else "differ"
    typical = statistics.median(channel.std for channel in view.channels if channel.state != "dead")
    advice = []
    if off_scale:
        advice.append(
            "Normalise channel by channel before diffusion: one scale for all leaves these too large or small."
        )
    if heavy:
        advice.append(
            "Inspect the channels of heavy tails: a few positions carry them, often at the border or in flat regions."
        )
    return Finding(
        "outlier-channels",
        "warning",
        f"{len(outliers)} of {len(view.channels)} channels {differ} greatly from the others.",
        f"Of {analysis.name_of(view)}: {'; '.join(reasons)} (median deviation of live channels {typical:.3g}; excess "
        f"kurtosis counts above {HEAVY:g}).",
        " ".join(advice),
    )


def _reconstruction(analysis: Analysis) -> Finding | None:
    psnr = analysis.measurement("psnr")
    if psnr is None or psnr.value is None or (side := compare(psnr, WEAK_PSNR, analysis.sample.n_images)) == "above":
        return None
    within = _within(psnr, analysis.sample.n_images)
    evidence = f"PSNR {psnr.value:.2f}{within} dB (95 %; weak below {WEAK_PSNR:g})."
    advice = "Read the one-sided metrics only beside those of an autoencoder that reconstructs as well."
    if side == "undecided":
        verdict = "Whether reconstructions are so weak that smooth latents may only mean lost information is undecided."
        return Finding("reconstruction-undecided", "neutral", verdict, evidence, *_more(analysis))
    verdict = "Reconstructions are so weak that smooth latents may only mean lost information."
    return Finding("weak-reconstruction", "warning", verdict, evidence, advice)


def _more(analysis: Analysis, *, tests: bool = False) -> tuple[str, str]:
    """Return the advice to measure more images, or to run the decoder's tests on more, and its command."""
    if not are_left(analysis, tests=tests):
        what = "The decoder’s tests ran on all images" if tests else "All images"
        return f"{what} of this set{'' if tests else ' were measured'}: measure a larger one.", ""
    advice = "Run the decoder’s tests on more images." if tests else "Measure more images."
    return advice, measure_more(analysis, tests=tests)


def _within(number: Measurement, n: int) -> str:
    half = half_interval(number, n)
    return " ± unknown" if half is None else f" ± {half:.2f}"


def _share(number: Measurement, n: int) -> str:
    spread = f" ± {half:.1%} (95 %)" if (half := half_interval(number, n)) else ""
    return f"{float(number):.1%}{spread}"


def _delta(delta: float) -> str:
    return BEST_DELTA.beyond(delta) + _signed(delta)


def _signed(value: float, digits: str = ".2f") -> str:
    return f"{value:{digits}}".replace("-", "−")


def _listed(channels: Sequence[int]) -> str:
    listed = ", ".join(map(str, channels[:6]))
    return f"{listed} and {len(channels) - 6} more" if len(channels) > 6 else listed
