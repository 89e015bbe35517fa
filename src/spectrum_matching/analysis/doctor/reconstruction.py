"""The check of what comes back: encode, then decode."""

from ...metrics.images.pixels import psnr
from ...records.diagnosis import Outcome
from .examination import Examination, fine, look, times, wrong

SATURATED = 0.5
"""Share of an output at or beyond the ends of the range from which it is reported: photographs have a few percent."""


def reconstruction(case: Examination) -> Outcome:
    """Compare reconstructions with two that need no network: a grey, and the mean of each latent position's pixels.

    A position of one pixel has no such mean: at factor 1 the grey alone is left.
    """
    variance = case.images.var((1, 2, 3), correction=0)
    explained = float(1 - case.wired.sum() / variance.sum())
    factor = case.model.factor
    share = times(case.wired, case.averaged) if factor > 1 else None
    ends, theirs = (float((x.abs() >= 1 - 1 / 255).float().mean()) for x in (case.output, case.images))
    averages = "" if share is None else f"; {share:.2g} times the error of averaging {factor} × {factor} pixels"
    decibels = float(psnr(case.output, case.images).mean())
    evidence = f"PSNR {decibels:.1f} dB; {explained:.1%} of the images’ variance{averages}."
    if float(case.output.std(0).max()) < 1e-6 * float(case.images.std()):
        return wrong(
            "The decoder ignores its latents: all pictures are alike.",
            evidence,
            "check that the decoder’s first layers loaded, and that decode passes latents on",
        )
    if ends > SATURATED > theirs:
        return wrong(
            "Pictures are saturated.",
            f"{evidence} {ends:.0%} of the values lie at or beyond the ends of the range, {theirs:.0%} of the images’.",
            "check the scale of latents and pictures in decode, and that its last layer loaded",
        )
    if explained <= 0:
        return wrong(
            "What is decoded is not what was encoded: a grey picture would be nearer.",
            evidence,
            "take encoder and decoder from the same checkpoint, and load both",
        )
    if share is not None and share >= 1:
        return look(
            "It reconstructs worse than averages of pixels.",
            evidence,
            "train it longer; if it was trained, take encoder and decoder from the same checkpoint",
        )
    return fine("Images come back.", evidence)
