"""What a number means: its direction, its range, and the evidence that it says anything of generation."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric, described for whoever reads its value.

    better: which way generation is held to improve; "target" for a best value in between, "neither" where the
    literature disagrees or says nothing. one_sided: a blurred or constant latent would win. evidence: what its relation
    to generation rests on. conventions: what else could have been computed under this name.
    """

    key: str
    title: str
    unit: str
    better: Literal["lower", "higher", "target", "neither"]
    range: str
    one_sided: bool
    source: str
    evidence: str
    conventions: str
