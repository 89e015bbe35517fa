"""The answer in one look, for the first screen of the page and for the terminal: verdict, forecast, place, fidelity."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from ...metrics.atlas.outlook import PairVerdict, pair_verdicts, statements
from ...metrics.catalogue import GENERATIVE_METRICS
from ...records.analysis import Analysis, Finding, SpectrumFinding
from ..digits import decimals, fixed, spread
from .tables import shape
from .terms import model_name

Level = Literal["good", "warning", "bad", "neutral"]
GLYPHS: dict[Level, str] = {"good": "✓", "warning": "▲", "bad": "✕", "neutral": "–"}
FEW = 2
"""Autoencoders up to which each has whole sentences; more have a few words each, so that all fit one screen."""

MAIN_MODELS = ("interpolation ", "Gaussian ")
"""Models of the latents whose distances the first screen shows; the others stand in the evidence."""

NO_VERDICT = "These measurements allow no verdict; the numbers are below."
NOT_SHOWN = (
    "It is not known whether latents nearer to the target generate better: on CIFAR-10, no metric of the latents’ "
    "spectrum has been shown to predict both of our Fréchet distances."
)
"""What a verdict on the spectrum says of generation; tests/test_which_numbers.py holds it against the results."""


class Line(NamedTuple):
    """One sentence, what it rests on, and how it is marked. words: the sentence in a few words; command: to try."""

    text: str
    evidence: str = ""
    level: Level = "neutral"
    words: str = ""
    command: str = ""


class Answer(NamedTuple):
    """What the first screen says of one autoencoder.

    subject: its class and the shape of its latents. verdict: the most important finding, then all that is wrong.
    others: how many findings more there are. facts: titles and sentences: forecast, place, generation, PSNR. pair:
    whether it will diffuse better than the first one of the same shape and images.
    """

    name: str
    subject: str
    verdict: tuple[Line, ...]
    others: int
    facts: tuple[tuple[str, Line], ...]
    pair: Line | None

    @property
    def words(self) -> list[Line]:
        """The verdict in a few words a sentence."""
        return [line for line in (*self.verdict, self.pair) if line and line.words]


def answers(analyses: Sequence[Analysis]) -> list[Answer]:
    """Return the answer for each autoencoder."""
    pairs = {verdict.second: _pair(verdict) for verdict in pair_verdicts(analyses)}
    return [_answer(analysis, pairs.get(analysis.subject.name)) for analysis in analyses]


def shared_facts(each: Sequence[Answer]) -> tuple[tuple[str, Line], ...]:
    """Return the facts that several autoencoders have in common, which are said once; none for a single one."""
    common = (fact for fact in each[0].facts if len(each) > 1 and all(fact in other.facts for other in each))
    return tuple(fact for fact in common if fact[0] != "PSNR")  # a number of each, also where these are equal


def not_shown(analyses: Sequence[Analysis]) -> str:
    """Return what verdicts on the spectrum say of generation, "" where the first finding of none is one."""
    first = [analysis.findings[0].key for analysis in analyses if analysis.findings]
    return NOT_SHOWN if set(first) & set(get_args(SpectrumFinding)) else ""


def subject_line(analysis: Analysis) -> str:
    """Return "AutoencoderKL · f8 · latents 4 × 32 × 32"."""
    factor = f"f{analysis.subject.factor} · " if analysis.subject.factor else ""
    return f"{analysis.subject.kind} · {factor}latents {shape(analysis)}"


def _answer(analysis: Analysis, pair: Line | None) -> Answer:
    first, *rest = analysis.findings or (None,)
    wrong = [finding for finding in rest if finding and finding.level in ("bad", "warning")]
    verdict = (_line(first), *map(_line, wrong)) if first else (Line(NO_VERDICT),)
    facts = [(said.title, Line(said.text, said.evidence)) for said in statements(analysis)]
    return Answer(
        analysis.subject.name,
        subject_line(analysis),
        verdict,
        len(analysis.findings) - len(wrong) - bool(first),
        (*facts, *_generation(analysis), ("PSNR", _reconstruction(analysis))),
        pair,
    )


def _line(finding: Finding) -> Line:
    return Line(finding.verdict, finding.evidence, finding.level, finding.key.replace("-", " "), finding.command)


def _pair(verdict: PairVerdict) -> Line:
    sides = {"better": "above", "worse": "below"}
    words = "" if verdict.word == "cannot say" else f"ranked {sides[verdict.word]} {verdict.first} by a rule"
    return Line(str(verdict), verdict.evidence, words=words)


def _generation(analysis: Analysis) -> list[tuple[str, Line]]:
    """Return the distances of images that models of the latents draw without training, where any were measured."""
    if (generative := analysis.generative) is None:
        return []
    found = []
    for metric in (entry.metrics[0] for entry in GENERATIVE_METRICS):
        measurement = generative.measurements.get(metric.key)
        if measurement and measurement.value is not None:
            n = decimals(measurement.value, measurement.standard_error)
            error = spread(measurement.standard_error, n)
            found.append(f"{model_name(metric)} {fixed(measurement.value, n)} {error}".rstrip())
    if not found:
        reasons = dict.fromkeys(m.refused for m in generative.measurements.values() if m.value is None)
        return [("generation", Line(f"none: {'; '.join(reasons)}"))]
    evidence = (
        f"Fréchet distances, without training: {'; '.join(found)}. {generative.n_generated:,} images of each model of "
        f"the latents, compared with {generative.n_evaluated:,}; fitted to {generative.reference} "
        f"({generative.coverage}); features of {generative.extractor or 'an unnamed function'}. Numbers of other "
        f"protocols do not compare."
    )
    main = [each for each in found if each.startswith(MAIN_MODELS)] or found[:1]
    return [("generation", Line("; ".join(main), evidence))]


def _reconstruction(analysis: Analysis) -> Line:
    psnr = analysis.measurement("psnr")
    if psnr is None:
        return Line("none: there is no decoder")
    if psnr.value is None:
        return Line(f"none: {psnr.refused}")
    return Line(f"{fixed(psnr.value, 2)} {spread(psnr.standard_error, 2)}".rstrip() + " dB")
