"""By which numbers the trials of a comparison are told apart, where they stand, and how methods order by them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from ...metrics.catalogue import METRICS
from ...metrics.images.catalogue import SCORES, SET_SCORES
from ...metrics.metric import Metric
from ...records.comparison import Comparison, Spread, Trial, order, spread
from ...records.measurement import Measurement
from ..table import Mark

Source = Literal["generation", "reconstruction", "autoencoder"]

SHORT = {
    "psnr": "PSNR",
    "best_delta": "best delta",
    "exponent": "exponent",
    "gap_scale_free_1": "gap at delta 1",
    "lowpass_gap": "low-pass gap",
    "sec_25": "SEC",
    "noise_psnr": "noise PSNR",
    "fid": "Fréchet distance",
    "spectrum_error": "spectrum error",
    "swd": "sliced Wasserstein",
    "kid": "kernel distance",
    "rfid": "rFréchet distance",
}
# Only Inception's features make a Fréchet distance the FID.
BY_EXTRACTOR = {
    "inception": {"fid": "FID", "kid": "KID", "rfid": "rFID"},
    "dinov2": {"fid": "FD-DINOv2", "rfid": "rFD-DINOv2"},
}
OF_GENERATION = {metric.key for score in SET_SCORES if "generation" in score.of for metric in score.metrics}
OF_AUTOENCODER = ("psnr", "best_delta", "exponent", "gap_scale_free_1", "lowpass_gap", "sec_25", "noise_psnr")
HEADLINES = ("fid", "swd")


class Quantity(NamedTuple):
    """One number of a trial: what the catalogues say of it, under a title short enough for a heading."""

    source: Source
    metric: Metric
    title: str

    def of(self, trial: Trial) -> float | None:
        """None where it was refused or not asked for."""
        if self.source == "autoencoder":
            return trial.numbers.get(self.metric.key)
        score = self.score(trial)
        return score.value if score else None

    def score(self, trial: Trial) -> Measurement | None:
        """Return the score with its standard error, or why it was refused; None for numbers of the autoencoder."""
        evaluations = {"generation": trial.generation, "reconstruction": trial.reconstruction}
        return evaluations[self.source].scores.get(self.metric.key) if self.source in evaluations else None

    def values(self, comparison: Comparison, method: str) -> list[float]:
        """Of one method, by seed, as far as there are any."""
        return [value for trial in comparison.of(method) if (value := self.of(trial)) is not None]

    def spread(self, comparison: Comparison, method: str) -> Spread | None:
        """Of one method over seeds."""
        values = self.values(comparison, method)
        return spread(values) if values else None


BETTER, WORSE = Mark("▲", "better"), Mark("▼", "worse")
HIGHER, LOWER = Mark("△", "higher"), Mark("▽", "lower")
UNDECIDED = Mark("=", "undecided")


def held(one: Spread | None, other: Spread | None, metric: Metric) -> Mark | None:
    """One against the other; None where fewer than two seeds of either have the number."""
    if one is None or other is None or min(one.n, other.n) < 2:
        return None
    found = order(one, other)
    if found == "undecided":
        return UNDECIDED
    if metric.better in ("lower", "higher"):
        return BETTER if (found == "below") == (metric.better == "lower") else WORSE
    return LOWER if found == "below" else HIGHER


def main_quantities(comparison: Comparison) -> list[Quantity]:
    """Scores of generated images, rFID, and the first numbers of the autoencoder; what no trial has is left out."""
    return [each for each in _quantities(comparison) if _is_main(each)]


def other_quantities(comparison: Comparison) -> list[Quantity]:
    """Every further number."""
    return [each for each in _quantities(comparison) if not _is_main(each)]


def headline(comparison: Comparison) -> Quantity | None:
    """The score that methods are ordered by: FID, else sliced Wasserstein, else the first that has a direction."""
    scores = [each for each in main_quantities(comparison) if each.source == "generation"]
    named = [each for key in HEADLINES for each in scores if each.metric.key == key]
    return next((each for each in [*named, *scores] if each.metric.better in ("lower", "higher")), None)


def _is_main(quantity: Quantity) -> bool:
    key = quantity.metric.key
    if quantity.source == "generation":
        return key in OF_GENERATION or key not in SCORES
    return key in OF_AUTOENCODER if quantity.source == "autoencoder" else key == "rfid"


def _quantities(comparison: Comparison) -> list[Quantity]:
    sources: tuple[tuple[Source, Mapping[str, Metric], Callable[[Trial], Iterable[str]]], ...] = (
        ("generation", SCORES, lambda trial: trial.generation.scores),
        ("reconstruction", SCORES, lambda trial: trial.reconstruction.scores),
        ("autoencoder", METRICS, lambda trial: trial.numbers),
    )
    found = []
    for source, catalogue, keys_of in sources:
        keys = dict.fromkeys(key for trial in comparison.trials for key in keys_of(trial))
        for key in [*(key for key in catalogue if key in keys), *(key for key in keys if key not in catalogue)]:
            # A saved comparison may know metrics that this version's catalogues have dropped.
            metric = catalogue.get(key) or Metric(key, key, "", "neither", "", False, "", "", "")
            found.append(Quantity(source, metric, _title(metric, comparison.trials[0])))
    return [each for each in found if any(each.of(trial) is not None for trial in comparison.trials)]


def _title(metric: Metric, trial: Trial) -> str:
    own = BY_EXTRACTOR.get(trial.generation.protocol.extractor, {})
    return own.get(metric.key) or SHORT.get(metric.key, metric.title)
