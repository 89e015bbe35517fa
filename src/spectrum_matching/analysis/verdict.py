"""The verdict: what the numbers of an analysis mean in words, with the evidence and what to do.

No threshold is calibrated against generation: each is named here, stated in the evidence and in docs/analyze.md. A
number is compared with one by its interval of 95 %; where that holds the threshold, the finding is "undecided".
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ..metrics.latents.channels import HEAVY
from ..records.analysis import Analysis, Finding, LatentView, Normalisation, SpectrumFinding, SpectrumMatch
from ..records.measurement import Measurement
from .commands import cache, fine_tune, flatten, measure_more

MATCHED = (0.8, 1.3)
"""Best deltas that count as at the target, around the delta of 1.0 (f16) and 1.2 (f8) that the paper trained with."""

ALIGNED, MISALIGNED = 1.0, 3.0
"""Low-pass gaps in dB below which a decoder keeps frequencies apart (a quarter more error than low-passing its
output leaves) and from which it does not (twice the error)."""

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
SIDES = {
    "steeper": "steeper than the target, the images’ flattened by f¹",
    "at-target": "at the target, the images’ flattened by f¹",
    "flatter": "flatter than the target, the images’ flattened by f¹",
}
MORE_IMAGES = "Measure more images."
SPECTRUM_ADVICE: dict[Side, str] = {
    "steeper": "To bring it there, fine-tune with ESM, which asks for more power at high frequencies; a smoothness or "
    "equivariance term works against it.",
    "at-target": "",
    "flatter": "To bring it there, fine-tune with ESM, which removes the excess in the encoder, and without a KL term, "
    "since posterior noise whitens latents.",
    "undecided": MORE_IMAGES,
}
Comparison = Literal["below", "above", "undecided"]


def compare(number: Measurement, threshold: float) -> Comparison:
    """Return on which side of a threshold the interval of 95 % lies; one that touches it from above is above."""
    value, half = float(number), number.half_width or 0.0
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
        _centre(analysis.normalisation),
        _dead_channels(analysis.diffused),
        _outlier_channels(analysis.diffused),
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
        f"Scale-free best delta {_signed(match.best_delta)} (95 % {_signed(low)} … {_signed(high)}; {MATCHED[0]:g} … "
        f"{MATCHED[1]:g} counts as at the target); gap there {match.best_gap:.3f} nats, at delta 1 "
        f"{match.gap(1.0).value:.3f}; power above half of Nyquist {_signed(excess, '+.1f')} dB from the target’s."
    )
    readings = {"As the paper’s code reads it, it is": paper}
    if len(analysis.views) > 1:
        means = analysis.view("mean").match("scale_free")
        readings = {"Posterior means, without their noise, are": means} | readings
    # Other readings are named where they say something else.
    others = [
        f"{words} {SIDES[other]} (delta {_signed(reading.best_delta)})."
        for words, reading in readings.items()
        if (other := spectrum_side(reading)) not in (side, "undecided")
    ]
    first, last = match.deltas[0], match.deltas[-1]
    beyond = " or less" if match.best_delta <= first else " or more" if match.best_delta >= last else ""
    fit = f"delta {_signed(match.best_delta)}{beyond} fits, {_signed(low)} … {_signed(high)}"
    power = ""
    if round(abs(excess), 1) and side in ("steeper", "flatter") and (excess > 0) == (side == "flatter"):
        power = f", with {abs(excess):.1f} dB {'more' if excess > 0 else 'less'} power above half of Nyquist"
    if side == "undecided":
        verdict = f"Whether the latents’ spectrum is at the target is undecided: {fit}."
    else:
        verdict = f"The latents’ spectrum is {SIDES[side]} ({fit}){power}."
    advice, command = SPECTRUM_ADVICE[side], ""
    if side == "undecided":
        command = measure_more(analysis)
    elif side != "at-target":
        exponent = round(1 - match.best_delta, 2)
        advice += f" Or leave the autoencoder as it is: latents with a gain, --source.flatten {exponent:g}, have it."
        command = fine_tune(analysis, "esm") or flatten(analysis, exponent)
    return Finding(KEYS[side], "neutral", " ".join([verdict, *others]), evidence, advice, command)


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
    noise = analysis.measurement("posterior_noise")
    if noise is None or noise.value is None or (side := compare(noise, NOISY_POSTERIOR)) == "below":
        return None
    evidence = (
        f"{_share(noise)} of a sampled latent’s variance is posterior noise (reported from {NOISY_POSTERIOR:.0%})."
    )
    if side == "undecided":
        verdict = "Whether samples are visibly noisier than means is undecided."
        return Finding("posterior-undecided", "neutral", verdict, evidence, MORE_IMAGES, measure_more(analysis))
    return Finding(
        "noisy-posterior",
        "neutral",
        "Samples are visibly noisier than means: which of the two a diffusion model is trained on matters here.",
        evidence,
        "Fine-tune without a KL term, which lets the posterior narrow, or diffuse posterior means.",
        fine_tune(analysis, "autoencoder"),
    )


def _decoder(analysis: Analysis) -> Finding | None:
    if analysis.decoding is None or (point := analysis.decoding.mildest) is None:
        return None
    gap, everything, transfer = float(point.gap), analysis.decoding.diagonals, analysis.decoding.transfer
    evidence = (
        f"Low-pass keep {point.keep} of {everything}: decoded {point.decoded.value:.1f} dB, aligned "
        f"{point.aligned.value:.1f} dB, gap {gap:.2f} ± {point.gap.half_width or 0:.2f} dB (95 %; below {ALIGNED:g} it "
        f"keeps frequencies apart, from {MISALIGNED:g} it does not)"
    )
    responds: Comparison = "above"
    if transfer:
        even = sum(transfer.even[: len(transfer.frequencies)]) / len(transfer.frequencies)
        responds = compare(transfer.diagonal, even)
        evidence += (
            f"; {_share(transfer.diagonal)} of a band’s energy decodes into that band (evenly spread: {even:.0%})"
        )
    evidence += "."
    aligned, misaligned = compare(point.gap, ALIGNED), compare(point.gap, MISALIGNED)
    dsm = "To bring them together, fine-tune with DSM: low-passed latents are decoded into low-passed images."
    if aligned == "below" and responds == "below":
        verdict = "The decoder responds to no frequency of the latents: that it keeps them apart means nothing."
        return Finding("decoder-idle", "bad", verdict, evidence, "Check whether it uses its latents at all.")
    if aligned == "below" and responds == "above":
        return Finding("decoder-aligned", "neutral", "The decoder keeps frequencies apart.", evidence)
    if misaligned == "above":
        verdict = "The decoder needs high latent frequencies to draw low image frequencies."
        return Finding("decoder-misaligned", "neutral", verdict, evidence, dsm, fine_tune(analysis, "dsm"))
    if aligned == "above" and misaligned == "below":
        verdict = (
            "The decoder keeps frequencies apart only in part: low-passed latents decode worse than low-passed output."
        )
        return Finding("decoder-partly-aligned", "neutral", verdict, evidence, dsm, fine_tune(analysis, "dsm"))
    verdict = "How far the decoder keeps frequencies apart is undecided."
    if aligned == "below":
        verdict = "Whether the decoder responds to the frequencies of the latents is undecided."
    command = measure_more(analysis, tests=True)
    return Finding(
        "decoder-undecided", "neutral", verdict, evidence, "Run the decoder’s tests on more images.", command
    )


def _scale(analysis: Analysis) -> Finding:
    normalisation = analysis.normalisation
    std, (least, most) = float(normalisation.std), normalisation.channel_stds
    within = f" ± {normalisation.std.half_width:.2g}" if normalisation.std.half_width else ""
    evidence = (
        f"After the declared normalisation ({normalisation.convention}) the standard deviation of "
        f"{analysis.diffused.kind}s is {std:.3g}{within}, by channel {least:.3g} … {most:.3g} (within a factor of "
        f"{UNIT_SCALE:g} of 1 is unit scale)."
    )
    is_declared = normalisation.convention != "none"
    lowest, highest = compare(normalisation.std, 1 / UNIT_SCALE), compare(normalisation.std, UNIT_SCALE)
    if lowest == "above" and highest == "below":
        undeclared = "No normalisation is declared, and the latents are of unit scale as they are."
        verdict = "The declared scale matches these latents." if is_declared else undeclared
        return Finding("scale-matches", "good", verdict, evidence)
    if "undecided" in (lowest, highest):
        verdict = "Whether the latents are of unit scale is undecided."
        return Finding("scale-undecided", "neutral", verdict, evidence, MORE_IMAGES, measure_more(analysis))
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


def _centre(normalisation: Normalisation) -> Finding | None:
    least, most = normalisation.channel_means
    if max(-least, most) <= OFF_CENTRE:
        return None
    return Finding(
        "off-centre",
        "warning",
        "Normalised as declared, some channels are far from centred: a diffusion model starts from noise of mean 0.",
        f"Their means are {least:.3g} … {most:.3g} (reported above {OFF_CENTRE:g}).",
        "Normalise with the mean and standard deviation of each channel.",
    )


def _dead_channels(view: LatentView) -> Finding | None:
    dead = [c for c, channel in enumerate(view.channels) if channel.state == "dead"]
    if not dead:
        return None
    return Finding(
        "dead-channels",
        "bad",
        f"{len(dead)} of {len(view.channels)} channels are dead: they carry nothing.",
        f"Channels {_listed(dead)} have a standard deviation of at most a millionth of the largest.",
        "Find what switches these off (a KL weight too high does), or train with fewer channels.",
    )


def _outlier_channels(view: LatentView) -> Finding | None:
    outliers = [c for c, channel in enumerate(view.channels) if channel.state == "outlier"]
    if not outliers:
        return None
    heavy = [c for c in outliers if abs(view.channels[c].kurtosis or 0) > HEAVY]
    off_scale = [c for c in outliers if c not in heavy]
    reasons = [f"standard deviation of channel {c} {view.channels[c].std:.3g}" for c in off_scale[:6]]
    reasons += [f"excess kurtosis of channel {c} {view.channels[c].kurtosis:.3g}" for c in heavy[:6]]
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
        f"{len(outliers)} of {len(view.channels)} channels differ greatly from the others.",
        f"{'; '.join(reasons).capitalize()} (median deviation of live channels {typical:.3g}; excess kurtosis counts "
        f"above {HEAVY:g}).",
        " ".join(advice),
    )


def _reconstruction(analysis: Analysis) -> Finding | None:
    psnr = analysis.measurement("psnr")
    if psnr is None or psnr.value is None or (side := compare(psnr, WEAK_PSNR)) == "above":
        return None
    evidence = f"PSNR {psnr.value:.2f} ± {psnr.half_width or 0:.2f} dB (weak below {WEAK_PSNR:g})."
    advice = "Read the one-sided metrics only beside those of an autoencoder that reconstructs as well."
    if side == "undecided":
        verdict = "Whether reconstructions are so weak that smooth latents may only mean lost information is undecided."
        return Finding("reconstruction-undecided", "neutral", verdict, evidence, MORE_IMAGES, measure_more(analysis))
    verdict = "Reconstructions are so weak that smooth latents may only mean lost information."
    return Finding("weak-reconstruction", "warning", verdict, evidence, advice)


def _share(number: Measurement) -> str:
    spread = f" ± {number.half_width:.1%}" if number.half_width else ""
    return f"{float(number):.1%}{spread}"


def _signed(value: float, digits: str = ".2f") -> str:
    return f"{value:{digits}}".replace("-", "−")


def _listed(channels: Sequence[int]) -> str:
    listed = ", ".join(map(str, channels[:6]))
    return f"{listed} and {len(channels) - 6} more" if len(channels) > 6 else listed
