"""The answer in one look, for the first screen of the page and for the terminal: verdict, forecast, place, fidelity."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ...records.analysis import Analysis, Finding
from ..digits import fixed, spread
from .tables import shape

Level = Literal["good", "warning", "bad", "neutral"]
GLYPHS: dict[Level, str] = {"good": "✓", "warning": "▲", "bad": "✕", "neutral": "–"}
FEW = 2
"""Autoencoders up to which each has whole sentences; more have a few words each, so that all fit one screen."""

NO_VERDICT = "These measurements allow no verdict; the numbers are below."
NO_FORECAST = "none: no number measured here orders autoencoders of different families by how well they generate"


class Line(NamedTuple):
    """One sentence, what it rests on, and how it is marked. words: the sentence in a few words."""

    text: str
    evidence: str = ""
    level: Level = "neutral"
    words: str = ""


class Answer(NamedTuple):
    """What the first screen says of one autoencoder.

    subject: its class and the shape of its latents. verdict: the most important finding, then all that is wrong.
    others: how many findings more there are. facts: titles and sentences: forecast, place, reconstruction.
    """

    name: str
    subject: str
    verdict: tuple[Line, ...]
    others: int
    facts: tuple[tuple[str, Line], ...]

    @property
    def words(self) -> list[Line]:
        """The verdict in a few words a finding."""
        return [line for line in self.verdict if line.words]


def answers(analyses: Sequence[Analysis]) -> list[Answer]:
    """Return the answer for each autoencoder."""
    return [_answer(analysis) for analysis in analyses]


def shared_facts(each: Sequence[Answer]) -> tuple[tuple[str, Line], ...]:
    """Return the facts that several autoencoders have in common, which are said once; none for a single one."""
    common = (fact for fact in each[0].facts if len(each) > 1 and all(fact in other.facts for other in each))
    return tuple(fact for fact in common if fact[0] != "PSNR")  # a number of each, also where these are equal


def subject_line(analysis: Analysis) -> str:
    """Return "AutoencoderKL · f8 · latents 4 × 32 × 32"."""
    factor = f"f{analysis.subject.factor} · " if analysis.subject.factor else ""
    return f"{analysis.subject.kind} · {factor}latents {shape(analysis)}"


def _answer(analysis: Analysis) -> Answer:
    first, *rest = analysis.findings or (None,)
    wrong = [finding for finding in rest if finding and finding.level in ("bad", "warning")]
    verdict = (_line(first), *map(_line, wrong)) if first else (Line(NO_VERDICT),)
    facts = [("forecast", Line(NO_FORECAST)), ("PSNR", _reconstruction(analysis))]
    return Answer(
        analysis.subject.name,
        subject_line(analysis),
        verdict,
        len(analysis.findings) - len(wrong) - bool(first),
        tuple(facts),
    )


def _line(finding: Finding) -> Line:
    return Line(finding.verdict, finding.evidence, finding.level, finding.key.replace("-", " "))


def _reconstruction(analysis: Analysis) -> Line:
    psnr = analysis.measurement("psnr")
    if psnr is None:
        return Line("none: there is no decoder")
    if psnr.value is None:
        return Line(f"none: {psnr.refused}")
    return Line(f"{fixed(psnr.value, 2)} {spread(psnr.standard_error, 2)}".rstrip() + " dB")
