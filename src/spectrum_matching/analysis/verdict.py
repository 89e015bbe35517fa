"""The verdict: what the numbers of an analysis mean in words, with the evidence and what to try.

No threshold is calibrated against generation: each is named here, stated in the evidence and in docs/analyze.md.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from ..metrics.latents.channels import HEAVY
from ..records.analysis import Analysis, Finding, LatentView, Normalisation, SpectrumMatch

MATCHED = (0.8, 1.3)
"""Best deltas that count as matched, around the delta of 1.0 (f16) and 1.2 (f8) that the paper trained with."""

ALIGNED, MISALIGNED = 1.0, 3.0
"""Low-pass gaps in dB below which a decoder counts as aligned (a quarter more error than low-passing its own output
leaves) and from which it counts as misaligned (twice the error)."""

UNIT_SCALE = 1.15
"""Factor by which a normalised standard deviation may differ from 1."""

OFF_CENTRE = 1.0
"""Mean of a normalised channel above which it counts as off centre, in standard deviations after normalisation."""

NOISY_POSTERIOR = 0.1
"""Share of a sampled latent's variance from which posterior noise is reported."""

WEAK_PSNR = 20.0
"""PSNR in dB below which one-sided metrics of the latents cannot be trusted: they may describe lost information."""


def with_findings(analysis: Analysis) -> Analysis:
    """Return the analysis with its verdict, most important finding first; what was not measured is left out."""
    view = analysis.view("mean")
    findings = [
        _spectrum(view),
        _posterior(analysis, view),
        _decoder(analysis),
        _scale(analysis.normalisation),
        _centre(analysis.normalisation),
        _dead_channels(view),
        _outlier_channels(view),
        _reconstruction(analysis),
    ]
    return replace(analysis, findings=tuple(filter(None, findings)))


def _spectrum(view: LatentView) -> Finding | None:
    if not view.matches:
        return None
    match = view.match("scale_free")
    low, high = match.best_delta_interval
    excess = high_band_excess(match)
    evidence = (
        f"Scale-free best delta {_signed(match.best_delta)} (95 % {_signed(low)} … {_signed(high)}; {MATCHED[0]:g} … "
        f"{MATCHED[1]:g} counts as matched); gap there {match.best_gap:.3f} nats, at delta 1 "
        f"{match.gap(1.0).value:.3f}; power above half of Nyquist {_signed(excess, '+.1f')} dB from the delta 1 target."
    )
    if match.best_delta > MATCHED[1]:
        return Finding(
            "over-noisy",
            "bad" if low > MATCHED[1] else "warning",
            _mismatch("over-noisy, with too much fine detail: their spectrum is flatter", match, excess, "more"),
            evidence,
            "Train or fine-tune with ESM (scale-free, delta 1), which removes the excess in the encoder; with a KL "
            "term, lower its weight first, since posterior noise whitens latents.",
        )
    if match.best_delta < MATCHED[0]:
        return Finding(
            "over-smoothed",
            "bad" if high < MATCHED[0] else "warning",
            _mismatch("over-smoothed, with too little fine detail: their spectrum is steeper", match, excess, "less"),
            evidence,
            "Train or fine-tune with ESM (scale-free, delta 1), which asks for more power at high frequencies; "
            "weaken a smoothness or equivariance term if there is one.",
        )
    verdict = "The latents’ spectrum is matched: it falls about as fast as the images’ flattened by f¹."
    return Finding("matched", "good", verdict, evidence, "")


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


def _mismatch(how: str, match: SpectrumMatch, excess: float, side: str) -> str:
    first, last = match.deltas[0], match.deltas[-1]
    beyond = " or less" if match.best_delta <= first else " or more" if match.best_delta >= last else ""
    fit = f"delta {_signed(match.best_delta)}{beyond} fits, not 1"
    power = (
        f", with {abs(excess):.1f} dB {side} power above half of Nyquist" if (excess > 0) == (side == "more") else ""
    )
    return f"The latents are {how} than the images’ flattened by f¹ ({fit}){power}."


def _posterior(analysis: Analysis, view: LatentView) -> Finding | None:
    noise = analysis.measurement("posterior_noise")
    if noise is None or noise.value is None or noise.value < NOISY_POSTERIOR:
        return None
    sample = analysis.view("sample")
    deltas = ""
    if sample.matches:
        of_means, of_samples = (_signed(v.match("scale_free").best_delta) for v in (view, sample))
        deltas = f"; best delta of means {of_means}, of samples {of_samples}"
    return Finding(
        "noisy-posterior",
        "warning",
        "Samples are visibly noisier than means: which of the two a diffusion model is trained on matters here.",
        f"{noise.value:.0%} of a sampled latent’s variance is posterior noise (reported from {NOISY_POSTERIOR:.0%})"
        f"{deltas}.",
        "Train the diffusion model on posterior means, or lower the KL weight of the autoencoder.",
    )


def _decoder(analysis: Analysis) -> Finding | None:
    if analysis.decoding is None or (point := analysis.decoding.mildest) is None:
        return None
    gap, everything, transfer = float(point.gap), analysis.decoding.diagonals, analysis.decoding.transfer
    evidence = (
        f"Low-pass keep {point.keep} of {everything}: decoded {point.decoded.value:.1f} dB, aligned "
        f"{point.aligned.value:.1f} dB, gap {gap:.2f} ± {point.gap.standard_error:.2f} dB "
        f"(aligned below {ALIGNED:g}, misaligned from {MISALIGNED:g})"
    )
    is_idle = False
    if transfer:
        even = sum(transfer.even[: len(transfer.frequencies)]) / len(transfer.frequencies)
        diagonal = float(transfer.diagonal)
        is_idle = diagonal <= even
        evidence += f"; {diagonal:.0%} of a band’s energy decodes into that band (evenly spread: {even:.0%})"
    evidence += "."
    advice = (
        "Fine-tune with DSM, the decoder alone or the whole model: decode low-passed latents into low-passed images."
    )
    if gap < ALIGNED and is_idle:
        verdict = "The decoder responds to no frequency of the latents: that it keeps them apart means nothing."
        return Finding("decoder-idle", "bad", verdict, evidence, "Check whether it uses its latents at all.")
    if gap < ALIGNED:
        return Finding("decoder-aligned", "good", "The decoder keeps frequencies apart.", evidence, "")
    if gap < MISALIGNED:
        verdict = (
            "The decoder keeps frequencies apart only in part: low-passed latents decode worse than low-passed output."
        )
        return Finding("decoder-partly-aligned", "warning", verdict, evidence, advice)
    verdict = "The decoder is not aligned: it needs high latent frequencies to draw low image frequencies."
    return Finding("decoder-misaligned", "bad", verdict, evidence, advice)


def _scale(normalisation: Normalisation) -> Finding:
    std, (least, most) = normalisation.std, normalisation.channel_stds
    evidence = (
        f"After the declared normalisation ({normalisation.convention}) the standard deviation is {std:.3g}, by "
        f"channel {least:.3g} … {most:.3g}."
    )
    is_unit, is_declared = 1 / UNIT_SCALE <= std <= UNIT_SCALE, normalisation.convention != "none"
    if is_unit:
        undeclared = "No normalisation is declared, and the latents are of unit scale as they are."
        verdict = "The declared scale matches these latents." if is_declared else undeclared
        return Finding("scale-matches", "good", verdict, evidence, "")
    advice = (
        f"Scale raw latents by {normalisation.suggested_scaling_factor:.4g}, or normalise each channel by its own mean "
        f"and standard deviation."
    )
    if not is_declared:
        verdict = f"No normalisation is declared, and the latents’ standard deviation is {std:.3g}."
        return Finding("scale-undeclared", "warning", verdict, evidence, advice)
    times, side = (std, "large") if std > 1 else (1 / std, "small")
    verdict = (
        f"The declared scale does not match these latents: normalised by it, they are {times:.2g} times too {side}."
    )
    return Finding("scale-wrong", "bad", verdict, evidence, advice)


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
        "Train with fewer channels, or find what switches these off (a KL weight too high does).",
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
    if psnr is None or psnr.value is None or psnr.value >= WEAK_PSNR:
        return None
    return Finding(
        "weak-reconstruction",
        "warning",
        "Reconstructions are so weak that smooth latents may only mean lost information.",
        f"PSNR {psnr.value:.2f} dB (under {WEAK_PSNR:g}).",
        "Read the one-sided metrics only beside those of an autoencoder that reconstructs as well.",
    )


def _signed(value: float, digits: str = ".2f") -> str:
    return f"{value:{digits}}".replace("-", "−")


def _listed(channels: Sequence[int]) -> str:
    listed = ", ".join(map(str, channels[:6]))
    return f"{listed} and {len(channels) - 6} more" if len(channels) > 6 else listed
