"""The record of `specmatch doctor`: what each check of an autoencoder saw."""

from dataclasses import dataclass
from typing import Literal

from ..files.documents import Document
from .analysis import Provenance, Sample, Subject

Level = Literal["fine", "look", "wrong", "skipped"]
"""wrong: cannot be intended. look: may be intended. skipped: was not checked, for a reason."""


@dataclass(frozen=True)
class Outcome:
    """What one check saw.

    check: its name. verdict: a sentence; of a check that was skipped, the reason. evidence: the numbers. fix: a line of
    code or configuration, or what to do; "" where nothing is found.
    """

    check: str
    level: Level
    verdict: str
    evidence: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What all checks saw of one autoencoder on a few images, in the order in which they ran."""

    subject: Subject
    sample: Sample
    provenance: Provenance
    outcomes: tuple[Outcome, ...]

    def of(self, level: Level) -> tuple[Outcome, ...]:
        """Return the outcomes of one level."""
        return tuple(outcome for outcome in self.outcomes if outcome.level == level)


DIAGNOSIS = Document(Diagnosis, "specmatch-doctor-1", "diagnosis", "run `specmatch doctor --json` again")
"""What `specmatch doctor --json` prints."""
