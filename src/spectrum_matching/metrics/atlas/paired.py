"""Of two latent spaces of one shape, measured on the same images, which will diffuse better: a rule, and its record.

It rests on pairs before and after one change to one autoencoder, and speaks of generation without guidance. Published
pairs have SEC at ρ = 0.5, our own at ρ = 0.25; a decision names its ρ, and the record those of its pairs.
"""

import math
from functools import cache
from typing import NamedTuple

from ..images.fidelity import PSNR_METRIC
from ..images.frechet import FID_METRIC, RECONSTRUCTIONS_METRIC
from ..latents.concentration import RHO, SEC_25, SEC_50
from .forecast import INTERPOLATION
from .known_pairs import Numbers, Share, Word, own_pairs, published_pairs, share

RULE = (
    "The one of lower spectral energy concentration (SEC) diffuses better, unless it has lost more PSNR than any "
    "published pair, or interpolation FID does not confirm it"
)


class Decision(NamedTuple):
    """What the rule says of the second of two, and by which numbers."""

    word: Word
    reason: str


def decide(first: Numbers, second: Numbers) -> Decision:
    """Apply the rule to the numbers of two latent spaces of one shape, measured on the same images.

    A difference counts if its interval of 95 % leaves out zero; errors count as independent, which is wide for the same
    images. A published pair gave up at most `most_given_up` of PSNR.
    """
    key = SEC_50.key if _known(SEC_50.key, first, second) else SEC_25.key
    if not _known(key, first, second) or not _known(PSNR_METRIC.key, first, second):
        return Decision("cannot say", "SEC or PSNR was not measured of both")
    word = _by(key, first, second)
    reason = f"SEC at ρ = {RHO[key]} is {float(second[key]):.3f} against {float(first[key]):.3f}"
    if word == "cannot say":
        return Decision(word, f"{reason}, a difference within its uncertainty")
    psnrs = float(first[PSNR_METRIC.key]), float(second[PSNR_METRIC.key])
    lost = psnrs[0] - psnrs[1] if word == "better" else psnrs[1] - psnrs[0]
    if lost > most_given_up():
        return Decision(
            "cannot say",
            f"{reason}, but the smoother one has {lost:.1f} dB less PSNR, and no published pair gave up more than "
            f"{most_given_up():.1f} dB",
        )
    if _known(INTERPOLATION, first, second) and _by(INTERPOLATION, first, second) != word:
        found = f"{float(second[INTERPOLATION]):.3g} against {float(first[INTERPOLATION]):.3g}"
        return Decision("cannot say", f"{reason}, but interpolation FID does not confirm it ({found})")
    return Decision(word, reason)


def says(first: Numbers, second: Numbers) -> Word:
    """Return the word of `decide` alone."""
    return decide(first, second).word


@cache
def most_given_up() -> float:
    """Return the largest loss of PSNR, in dB, with which the better of a published pair was bought."""
    key = PSNR_METRIC.key
    return max(float(pair.worse[0][key]) - float(pair.better[0][key]) for pair in published_pairs())


@cache
def record() -> str:
    """Return how many pairs the rule decides and how many of these rightly, in one sentence."""
    published = share(published_pairs(), says)
    images, reconstructions = (share(own_pairs(m.key), says) for m in (FID_METRIC, RECONSTRUCTIONS_METRIC))
    return (
        f"At ρ = {RHO[SEC_50.key]} it decides {_fared(published)} of {published.n} published pairs; at "
        f"ρ = {RHO[SEC_25.key]}, of ours, {_fared(images)} of {images.n} by distance to images and "
        f"{_fared(reconstructions)} of {reconstructions.n} by distance to reconstructions."
    )


@cache
def evidence() -> str:
    """Return the rule, what its record is of, and what it leaves open."""
    return (
        f"{RULE}. {record()} It leaves most of ours undecided, which are of small autoencoders on CIFAR-10. With "
        f"guidance the question is open."
    )


def _fared(found: Share) -> str:
    if not found.decided:
        return "none"
    return f"{found.decided} ({found.right or 'none'} rightly)"


def _known(key: str, *each: Numbers) -> bool:
    return all(key in numbers and numbers[key].value is not None for numbers in each)


def _by(key: str, first: Numbers, second: Numbers) -> Word:
    """Return what one number says, lower being better."""
    change = float(second[key]) - float(first[key])
    half = math.hypot(first[key].half_width or 0.0, second[key].half_width or 0.0)
    if abs(change) <= half:
        return "cannot say"
    return "better" if change < 0 else "worse"
