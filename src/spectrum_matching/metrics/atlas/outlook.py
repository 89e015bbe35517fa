"""What the atlas says of subjects that were analysed: a forecast, a place, and which of two of one shape is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...records.analysis import KINDS, Analysis
from ...records.generative import Generative
from .forecast import INTERPOLATION, PREDICTORS, TITLES, Forecast, forecast
from .known_pairs import Numbers, Word
from .paired import decide, evidence, record
from .place import PLACED, Place, Subject, place

EXTRACTOR, SIZE, N_IMAGES, N_REFERENCE = "inception", 256, 50_000, (1_280_000, 1_281_167)
"""The protocol of the board: ImageNet's validation images against its training images, least and most."""


class Statement(NamedTuple):
    """One sentence under a title, and what it rests on."""

    title: str
    text: str
    evidence: str


class Outlook(NamedTuple):
    """The forecasts of a latent space, or why there are none."""

    forecasts: tuple[Forecast, ...]
    refused: str


@dataclass(frozen=True)
class PairVerdict:
    """Whether the second of two subjects will diffuse better than the first; evidence: one sentence on the rule."""

    first: str
    second: str
    word: Word
    reason: str
    evidence: str

    def __str__(self) -> str:
        """Return "A rule from published pairs ranks new above old …", and the rule's record."""
        if self.word == "cannot say":
            return f"We cannot say whether {self.second} will diffuse better than {self.first}: {self.reason}."
        side = "above" if self.word == "better" else "below"
        said = f"A rule from published pairs ranks {self.second} {side} {self.first} for generation without guidance"
        return f"{said}: {self.reason}. {record()}"


def statements(analysis: Analysis) -> tuple[Statement, ...]:
    """Return what the atlas says of one subject: the forecast of its FID, and its place among its kind."""
    found = outlook(analysis)
    if found.forecasts:
        text, evidence = "; ".join(map(str, found.forecasts)), " ".join(each.evidence for each in found.forecasts)
    else:
        text, evidence = f"none: {found.refused}", ""
    return Statement("forecast", text, evidence), _placed(analysis)


def outlook(analysis: Analysis) -> Outlook:
    """Return the forecasts for what was analysed, or why there are none: another protocol, or numbers out of support.

    That the images are ImageNet's is taken from their numbers, which is all that can be known of them.
    """
    generative = analysis.generative
    if generative is None or INTERPOLATION not in generative.measurements:
        return Outlook((), "interpolation FID was not measured, which needs --reference and --features")
    if differences := _differences(analysis, generative):
        expected, found = (", ".join(words) for words in zip(*differences, strict=True))
        return Outlook((), f"it is calibrated only for {expected}; these were measured with {found}")
    numbers = {}
    for key in PREDICTORS:
        number = analysis.measurement(key)
        if number is None or number.value is None:
            return Outlook((), f"{TITLES[key]}: {number.refused if number else 'it was not measured'}")
        numbers[key] = number.value
    try:
        return Outlook(forecast(numbers), "")
    except ValueError as error:
        return Outlook((), str(error))


def _differences(analysis: Analysis, generative: Generative) -> list[tuple[str, str]]:
    """Return what the board's protocol has and what was done here, where they differ."""
    size, n_images, n_reference = analysis.sample.size, generative.n_evaluated, generative.coverage.n_images
    least, most = N_REFERENCE
    pairs = [
        (
            "Inception’s features",
            f"features of {generative.extractor or 'an unnamed function'}",
            generative.extractor == EXTRACTOR,
        ),
        (f"images of {SIZE} pixels", f"{size} pixels", size == SIZE),
        (f"the {N_IMAGES:,} images of ImageNet’s validation part", f"{n_images:,} images", n_images == N_IMAGES),
        (f"{most:,} reference images", f"{n_reference:,} reference images", least <= n_reference <= most),
        (KINDS["sample"], KINDS["mean"], generative.holds == "sample"),
    ]
    return [(expected, found) for expected, found, is_same in pairs if not is_same]


def pair_verdict(first: Analysis, second: Analysis) -> PairVerdict | None:
    """Return the verdict on two subjects; None unless latents have one shape and images are the same."""
    if first.latent_shape != second.latent_shape or not first.sample.digest:
        return None
    if (first.sample.digest, first.sample.size) != (second.sample.digest, second.sample.size):
        return None
    word, reason = decide(_numbers(first, second), _numbers(second, first))
    return PairVerdict(first.subject.name, second.subject.name, word, reason, evidence())


def pair_verdicts(analyses: Sequence[Analysis]) -> list[PairVerdict]:
    """Return the verdict on each subject and the first one of the same shape and images."""
    firsts: list[Analysis] = []
    found = []
    for analysis in analyses:
        verdict = next((v for first in firsts if (v := pair_verdict(first, analysis))), None)
        if verdict is None:
            firsts.append(analysis)
        else:
            found.append(verdict)
    return found


def places(analysis: Analysis) -> tuple[list[Place], str]:
    """Return the places of PSNR and SEC among latent spaces of the subject's kind; why there is none where that is so.

    SEC is placed by one threshold: that of the published table, or else the default.
    """
    subject = Subject(
        analysis.latent_shape[0],
        analysis.subject.factor,
        analysis.sample.size,
        analysis.sample.digest,
        analysis.subject.digest,
    )
    if not subject.factor or not subject.size:
        return [], "it takes the images, and the factor between their side and that of the latents"
    found, reasons = list[Place](), list[str]()
    for keys in PLACED:
        for key in keys:
            number = analysis.measurement(key)
            try:
                if number is not None:
                    found.append(place(key, number, subject))
                    break
            except ValueError as error:
                reasons.append(str(error))
    return found, "" if found else next(iter(reasons), "neither PSNR nor SEC was measured")


def _placed(analysis: Analysis) -> Statement:
    found, refused = places(analysis)
    if not found:
        return Statement("place", f"none: {refused}", "")
    return Statement("place", "; ".join(map(str, found)), " ".join(f"{p.title}: {p.evidence}" for p in found))


def _numbers(analysis: Analysis, other: Analysis) -> Numbers:
    """Return the numbers of one that may be compared with those of the other."""
    decoding = analysis.decoding.measurements if analysis.decoding else {}
    numbers = {**analysis.view("mean").measurements, **decoding}
    one, two = analysis.generative, other.generative
    if one and two and _protocol(one) == _protocol(two) and INTERPOLATION in one.measurements:
        numbers[INTERPOLATION] = one.measurements[INTERPOLATION]
    return numbers


def _protocol(generative: Generative) -> tuple:
    """Return what interpolation FID depends on beside the latent space and the images measured."""
    features = generative.extractor, generative.extractor_digest, generative.resizer
    return (*features, generative.reference_digest, generative.holds, generative.coverage, generative.n_evaluated)
