"""Descriptions of metrics: direction, range, and the evidence that they relate to generation."""

from dataclasses import dataclass
from typing import Literal

SPECTRUM_MATCHING = "Spectrum Matching (arXiv 2603.14645)"
RIGHT_SPACE = "Diffusing in the Right Space (arXiv 2606.03578)"
IREPA = "iREPA (arXiv 2512.10794)"
PAE = "PAE (arXiv 2605.07915)"
NONE = "none published"
Direction = Literal["lower", "higher", "target", "neither"]
STANDARDISED = "latents standardised channel by channel, dead channels left out"


@dataclass(frozen=True)
class Published:
    """Spearman correlation of a metric with generation over public tokenizers of different families.

    Generation: the Fréchet distance of SiT-B without guidance, of the iFID board (arXiv 2603.05630, July 2026); a
    positive rho says that a larger number generates worse. interval: 95 %, bootstrap over the n tokenizers, which are
    no independent draws. reading: the board's, where it is not ours.
    """

    rho: float
    interval: tuple[float, float]
    n: int
    reading: str = ""

    def __str__(self) -> str:
        """Return "Spearman 0.23 [−0.24, 0.65] with gFID over 17 public tokenizers"."""
        rho, low, high = (f"{value:.2f}".replace("-", "−") for value in (self.rho, *self.interval))
        reading = f"; the board’s reading: {self.reading}" if self.reading else ""
        return f"Spearman {rho} [{low}, {high}] with gFID over {self.n} public tokenizers{reading}"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Description of one metric, for the reader of its value.

    better: direction that is claimed to help generation; "target" for an optimum in between, "neither" where the
    literature disagrees or says nothing. one_sided: a blurred or constant latent would win. evidence: what its relation
    to generation rests on within one shape or family; across: across families, None where nobody published it. bounds:
    least and greatest value that its definition allows, None where there is none. is_searched: whether these are the
    ends of a searched range, beyond which the best value may lie.
    conventions: how it differs from others of the same name. is_alternative: another reading of a metric, measured only
    with all readings.
    """

    key: str
    title: str
    unit: str = ""
    better: Direction = "neither"
    range: str
    bounds: tuple[float | None, float | None] = (None, None)
    is_searched: bool = False
    one_sided: bool = False
    source: str
    evidence: str = NONE
    across: Published | None = None
    conventions: str
    is_alternative: bool = False

    def allows(self, value: float) -> bool:
        """Return whether a value lies within the bounds, up to six digits, to which results are kept."""
        low, high = self.bounds
        slack = 1e-5 * max(1.0, abs(value))
        return (low is None or value >= low - slack) and (high is None or value <= high + slack)

    def beyond(self, value: float) -> Literal["≤ ", "≥ ", ""]:
        """Return the sign of a value at an end of the searched range; "" within it, and where none was searched."""
        low, high = self.bounds
        if not self.is_searched or low is None or high is None:
            return ""
        return "≤ " if value <= low + 1e-5 else "≥ " if value >= high - 1e-5 else ""

    @property
    def doubt(self) -> str:
        """What published numbers across families say against the claimed direction, or ""."""
        if self.across is None or self.better not in ("lower", "higher"):
            return ""
        low, high = self.across.interval
        if low <= 0 <= high:
            return "across families its interval holds zero"
        return "" if (low > 0) == (self.better == "lower") else "across families its sign is the opposite"


def unknown_metric(key: str) -> Metric:
    """Return the description of a metric that an analysis has and the catalogue does not."""
    return Metric(key=key, title=key, range="", source="", evidence="", conventions="")
