"""Descriptions of metrics: direction, range, and the evidence that they relate to generation."""

from dataclasses import dataclass
from typing import Literal

SPECTRUM_MATCHING = "Spectrum Matching (arXiv 2603.14645)"
RIGHT_SPACE = "Diffusing in the Right Space (arXiv 2606.03578)"
IREPA = "iREPA (arXiv 2512.10794)"
PAE = "PAE (arXiv 2605.07915)"
NONE = "none published"
STANDARDISED = "latents standardised channel by channel, dead channels left out"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Description of one metric, for the reader of its value.

    better: direction that is claimed to help generation; "target" for an optimum in between, "neither" where the
    literature disagrees or says nothing. one_sided: a blurred or constant latent would win. evidence: what its relation
    to generation rests on. conventions: how it differs from others of the same name. is_alternative: another reading of
    a metric, measured only with all readings.
    """

    key: str
    title: str
    unit: str = ""
    better: Literal["lower", "higher", "target", "neither"] = "neither"
    range: str
    one_sided: bool = False
    source: str
    evidence: str = NONE
    conventions: str
    is_alternative: bool = False


def unknown_metric(key: str) -> Metric:
    """Return the description of a metric that a saved file has and the catalogue does not."""
    return Metric(key=key, title=key, range="", source="", evidence="", conventions="")
