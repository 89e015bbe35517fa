"""What the numbers say, in words, with the evidence beside each sentence and what to try.

No threshold here is calibrated against generation: each is named where it is used, and stands in the evidence.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from ..metrics.latents.channels import HEAVY
from ..records.analysis import Analysis, Finding, LatentView, Normalisation, SpectrumMatch

MATCHED = (0.8, 1.3)
"""Flattenings that count as matched: those around the delta of 1.0 (f16) and 1.2 (f8) that the paper trained with."""

ALIGNED, MISALIGNED = 1.0, 3.0
"""Low-pass gaps in dB up to which a decoder counts as aligned (a quarter more error than low-passing its own output
leaves) and from which it counts as misaligned (twice the error)."""

UNIT_SCALE = 1.15
"""The factor by which a normalised standard deviation may differ from 1."""

OFF_CENTRE = 1.0
"""The mean of a normalised channel from which it is said not to be centred, in standard deviations asked for."""

NOISY_POSTERIOR = 0.1
"""The share of a sampled latent's variance from which posterior noise is said to matter."""

WEAK_PSNR = 20.0
"""PSNR in dB below which one-sided metrics of the latents are not to be trusted: they may describe lost information."""


def with_findings(analysis: Analysis) -> Analysis:
    """The analysis with its verdict, most important first; what its measurements cannot tell is left out."""
    return replace(analysis, findings=_findings(analysis))


def _findings(analysis: Analysis) -> tuple[Finding, ...]:
    view = analysis.view("mean")
    found = [
        _spectrum(view),
        _posterior(analysis, view),
        _decoder(analysis),
        _normalisation(analysis.normalisation),
        _centre(analysis.normalisation),
        *_channels(view),
        _reconstruction(analysis),
    ]
    return tuple(finding for finding in found if finding)


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
        how = "over-noisy, with too much fine detail: their spectrum is flatter than"
        verdict = _off(how, match, excess, "more")
        advice = (
            "Train or fine-tune with ESM (scale-free, delta 1), which takes the excess out of the encoder; with a KL "
            "term, lower its weight first, since posterior noise whitens latents."
        )
        return Finding("over-noisy", "bad" if low > MATCHED[1] else "warning", verdict, evidence, advice)
    if match.best_delta < MATCHED[0]:
        verdict = _off(
            "over-smoothed, with too little fine detail: their spectrum is steeper than", match, excess, "less"
        )
        advice = (
            "Train or fine-tune with ESM (scale-free, delta 1), which asks for more power at high frequencies; "
            "weaken a smoothness or equivariance term if there is one."
        )
        return Finding("over-smoothed", "bad" if high < MATCHED[0] else "warning", verdict, evidence, advice)
    verdict = "The latents’ spectrum is matched: it falls about as fast as the images’ flattened by f¹."
    return Finding("matched", "good", verdict, evidence, "")


def high_band_excess(match: SpectrumMatch) -> float:
    """Latents' share of power above 0.25 cycles per cell over that of the target at delta 1, in dB.

    Shares are of the bands' mean powers, as in the variant's distributions.
    """
    above = [frequency > 0.25 for frequency in match.frequencies]
    latent, target = (
        sum(share for share, high in zip(shares, above, strict=True) if high)
        for shares in (match.latent, match.target(1.0))
    )
    return 10 * math.log10(max(latent, 1e-12) / max(target, 1e-12))


def _off(how: str, match: SpectrumMatch, excess: float, side: str) -> str:
    first, last = match.deltas[0], match.deltas[-1]
    beyond = " or less" if match.best_delta <= first else " or more" if match.best_delta >= last else ""
    verdict = (
        f"The latents are {how} the images’ flattened by f¹ (delta {_signed(match.best_delta)}{beyond} fits, not 1)"
    )
    if (excess > 0) == (side == "more"):
        verdict += f", with {abs(excess):.1f} dB {side} power above half of Nyquist"
    return verdict + "."


def _posterior(analysis: Analysis, view: LatentView) -> Finding | None:
    noise = analysis.measurement("posterior_noise")
    if noise is None or noise.value is None or noise.value < NOISY_POSTERIOR:
        return None
    sample = analysis.view("sample")
    evidence = f"{noise.value:.0%} of a sampled latent’s variance is posterior noise ({NOISY_POSTERIOR:.0%} is named)"
    if sample.matches:
        of_means, of_samples = (_signed(v.match("scale_free").best_delta) for v in (view, sample))
        evidence += f"; best delta of means {of_means}, of samples {of_samples}"
    return Finding(
        "noisy-posterior",
        "warning",
        "Samples are visibly noisier than means: which of the two a diffusion model is trained on matters here.",
        evidence + ".",
        "Train the diffusion model on posterior means, or lower the KL weight of the autoencoder.",
    )


def _decoder(analysis: Analysis) -> Finding | None:
    if analysis.decoding is None or (point := analysis.decoding.mildest) is None:
        return None
    gap, everything = float(point.gap), 2 * analysis.decoding.lowpass_block - 1
    evidence = (
        f"Low-pass keep {point.keep} of {everything}: decoded {point.decoded.value:.1f} dB, aligned "
        f"{point.aligned.value:.1f} dB, gap {gap:.2f} ± {point.gap.standard_error:.2f} dB "
        f"(aligned below {ALIGNED:g}, misaligned from {MISALIGNED:g})"
    )
    transfer, even = analysis.decoding.transfer, 0.0
    if transfer:
        even = sum(transfer.even[: len(transfer.frequencies)]) / len(transfer.frequencies)
        evidence += (
            f"; {transfer.diagonal.value:.0%} of a band’s energy decodes into that band (evenly spread: {even:.0%})"
        )
    advice = (
        "Fine-tune with DSM, the decoder alone or the whole model: decode low-passed latents into low-passed images."
    )
    if gap < ALIGNED and transfer and float(transfer.diagonal) <= even:
        verdict = (
            "The decoder answers neither to low nor to high latent frequencies: that it keeps them apart says nothing."
        )
        return Finding("decoder-idle", "bad", verdict, evidence + ".", "See whether it uses its latents at all.")
    if gap < ALIGNED:
        return Finding("decoder-aligned", "good", "The decoder keeps frequencies apart.", evidence + ".", "")
    if gap < MISALIGNED:
        verdict = (
            "The decoder keeps frequencies apart only in part: low-passed latents decode worse than low-passed output."
        )
        return Finding("decoder-partly-aligned", "warning", verdict, evidence + ".", advice)
    verdict = "The decoder is not aligned: it needs high latent frequencies to draw low image frequencies."
    return Finding("decoder-misaligned", "bad", verdict, evidence + ".", advice)


def _centre(found: Normalisation) -> Finding | None:
    least, most = found.channel_means
    if max(-least, most) <= OFF_CENTRE:
        return None
    return Finding(
        "off-centre",
        "warning",
        "Normalised as declared, some channels are far from centred: a diffusion model starts from noise of mean 0.",
        f"Their means are {least:.3g} … {most:.3g} ({OFF_CENTRE:g} is named).",
        "Normalise with the mean and standard deviation of each channel.",
    )


def _normalisation(found: Normalisation) -> Finding:
    least, most = found.channel_stds
    evidence = (
        f"After the declared normalisation ({found.convention}) the standard deviation is {found.std:.3g}, by channel "
        f"{least:.3g} … {most:.3g}."
    )
    suggestion = f"Scale raw latents by {found.suggested_scaling_factor:.4g}, or normalise channel by channel."
    is_unit = 1 / UNIT_SCALE <= found.std <= UNIT_SCALE
    if found.convention == "none":
        if is_unit:
            verdict = "No normalisation is declared, and the latents are of unit scale as they are."
            return Finding("scale-matches", "good", verdict, evidence, "")
        verdict = f"No normalisation is declared, and the latents’ standard deviation is {found.std:.3g}."
        return Finding("scale-undeclared", "warning", verdict, evidence, suggestion)
    if is_unit:
        return Finding("scale-matches", "good", "The declared scale matches these latents.", evidence, "")
    times = found.std if found.std > 1 else 1 / found.std
    side = "large" if found.std > 1 else "small"
    return Finding(
        "scale-wrong",
        "bad",
        f"The declared scale does not match these latents: normalised by it, they are {times:.2g} times too {side}.",
        evidence,
        suggestion,
    )


def _channels(view: LatentView) -> list[Finding]:
    found = []
    dead = [place for place, channel in enumerate(view.channels) if channel.state == "dead"]
    outliers = [place for place, channel in enumerate(view.channels) if channel.state == "outlier"]
    if dead:
        found.append(
            Finding(
                "dead-channels",
                "bad",
                f"{len(dead)} of {len(view.channels)} channels are dead: they carry nothing.",
                f"Channels {_listed(dead)} have a standard deviation under a millionth of the largest.",
                "Train with fewer channels, or find what switches these off (a KL weight too high does).",
            )
        )
    if outliers:
        quiet_or_loud = [place for place in outliers if abs(view.channels[place].kurtosis or 0) <= HEAVY]
        heavy = [place for place in outliers if place not in quiet_or_loud]
        reasons = [f"standard deviation of channel {k} {view.channels[k].std:.3g}" for k in quiet_or_loud[:6]]
        reasons += [f"excess kurtosis of channel {k} {view.channels[k].kurtosis:.3g}" for k in heavy[:6]]
        typical = sorted(channel.std for channel in view.channels)[len(view.channels) // 2]
        advice = [
            "Normalise channel by channel before diffusion: one scale for all leaves these too loud or too quiet."
            if quiet_or_loud
            else "",
            "Look at the channels of heavy tails: a few cells carry them, often at the border or in flat regions."
            if heavy
            else "",
        ]
        found.append(
            Finding(
                "outlier-channels",
                "warning",
                f"{len(outliers)} of {len(view.channels)} channels stand far out from the others.",
                f"{'; '.join(reasons).capitalize()} (median deviation {typical:.3g}; "
                f"excess kurtosis counts from {HEAVY:g}).",
                " ".join(filter(None, advice)),
            )
        )
    return found


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


def _listed(places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places[:6]))
    return f"{shown} and {len(places) - 6} more" if len(places) > 6 else shown
