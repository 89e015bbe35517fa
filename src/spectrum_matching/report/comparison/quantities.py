"""The numbers by which a comparison compares its methods, and how one method compares with another."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from ...metrics.catalogue import METRICS
from ...metrics.images.catalogue import SCORES, SET_SCORES
from ...metrics.metric import Direction, Metric, unknown_metric
from ...metrics.pooled import Difference, differences, paired_differences
from ...records.comparison import Comparison, Spread, Trial, spread
from ...records.measurement import Measurement
from ..analysis.metric_rows import MAIN_METRICS
from ..digits import at_end, number
from ..table import Mark

Source = Literal["generation", "generative", "reconstruction", "autoencoder"]

SHORT = MAIN_METRICS | {
    "fid": "Fréchet distance",
    "fid_reconstructions": "Fréchet distance to reconstructions",
    "fid_reconstructions_normalised": "normalised distance",
    "gaussian_fid_reconstructions": "Gaussian to reconstructions",
    "spectrum_error": "spectrum error",
    "swd": "sliced Wasserstein",
    "kid": "kernel distance",
    "rfid": "rFD",
}
# Only Inception's features make a Fréchet distance the FID.
BY_EXTRACTOR = {
    "inception": {"fid": "FID", "fid_reconstructions": "FID to reconstructions", "kid": "KID", "rfid": "rFID"},
    "dinov2": {"fid": "FD-DINOv2", "rfid": "rFD-DINOv2"},
}
OF_GENERATION = {metric.key for score in SET_SCORES if "generation" in score.of for metric in score.metrics}
OF_AUTOENCODER = MAIN_METRICS.keys() - {"equivariance_scale_50"}
HEADLINES = ("fid", "swd")

BETTER, WORSE = Mark("▲", "better"), Mark("▼", "worse")
HIGHER, LOWER = Mark("△", "higher"), Mark("▽", "lower")
UNDECIDED = Mark("=", "undecided")


class Quantity(NamedTuple):
    """One number of a trial: its source, its metric, and a title short enough for a heading."""

    source: Source
    metric: Metric
    title: str

    def of(self, trial: Trial) -> float | None:
        """Return the number, None if it was refused or not measured."""
        if self.source == "autoencoder":
            return trial.numbers.get(self.metric.key)
        score = self.score(trial)
        return score.value if score else None

    def score(self, trial: Trial) -> Measurement | None:
        """Return the score with its standard error, or why it was refused; None for numbers of the autoencoder."""
        return scores_of(trial).get(self.source, {}).get(self.metric.key)

    def spread(self, comparison: Comparison, method: str) -> Spread | None:
        """Return the spread over seeds of one method, None without any number."""
        values = self.values(comparison, method)
        return spread(values) if values else None

    def values(self, comparison: Comparison, method: str) -> list[float]:
        """Return the number of each seed of one method that has it."""
        return [value for trial in comparison.of(method) if (value := self.of(trial)) is not None]

    def words(self, value: float, digits: int = 3) -> str:
        """Return a value with significant digits, or the end of a searched range."""
        return at_end(value, self.metric) or number(value, digits)

    @property
    def scores_images(self) -> bool:
        """Whether it scores images, generated or decoded; others describe latents and decoder."""
        return self.source != "autoencoder" or self.metric.key in SCORES

    @property
    def better(self) -> Direction:
        """The better direction; "neither" for latents and decoder, where only claims name one."""
        return self.metric.better if self.scores_images else "neither"

    def mark(self, difference: Difference) -> Mark:
        """Return whether a difference is for the better."""
        if difference.word == "undecided":
            return UNDECIDED
        if self.better in ("lower", "higher"):
            return BETTER if difference.word == self.better else WORSE
        return LOWER if difference.word == "lower" else HIGHER


def scores_of(trial: Trial) -> dict[Source, Mapping[str, Measurement]]:
    """Return the numbers of a trial that have standard errors, by their source."""
    generative = trial.generative.measurements if trial.generative else {}
    scores = trial.generation.scores
    # The floor is that of the generated images' score.
    untrained = {key: number for key, number in generative.items() if key not in scores}
    return {"generation": scores, "generative": untrained, "reconstruction": trial.reconstruction.scores}


def pairwise(
    comparison: Comparison, quantity: Quantity, pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Difference]:
    """Return how methods compare with one another by a number, for those pairs that have two seeds or more each."""
    groups = [
        {trial.seed: value for trial in comparison.of(method) if (value := quantity.of(trial)) is not None}
        for method in comparison.methods
    ]
    if comparison.is_paired:
        return paired_differences(groups, pairs)
    return differences([list(group.values()) for group in groups], pairs)


def against_control(comparison: Comparison, quantity: Quantity) -> dict[str, Difference]:
    """Return how each method compares with the control by a number; empty where there is no control."""
    methods = comparison.methods
    if comparison.control not in methods:
        return {}
    control = methods.index(comparison.control)
    pairs = [(index, control) for index in range(len(methods)) if index != control]
    return {methods[i]: difference for (i, _), difference in pairwise(comparison, quantity, pairs).items()}


def main_quantities(comparison: Comparison, *, others: bool = False) -> list[Quantity]:
    """Return scores of generated images, rFID and the first numbers of the autoencoder; others: all further numbers."""
    return [quantity for quantity in _quantities(comparison) if _is_main(quantity) != others]


def headline(comparison: Comparison) -> Quantity | None:
    """Return the score that orders the methods: FID, else sliced Wasserstein, else the first with a direction."""
    scores = [quantity for quantity in main_quantities(comparison) if quantity.source == "generation"]
    named = [quantity for key in HEADLINES for quantity in scores if quantity.metric.key == key]
    return next((each for each in [*named, *scores] if each.better in ("lower", "higher")), None)


def _is_main(quantity: Quantity) -> bool:
    key = quantity.metric.key
    if quantity.source == "generation":
        return key in OF_GENERATION or key not in SCORES
    if quantity.source == "autoencoder":
        return key in OF_AUTOENCODER
    return key in ("rfid", "gaussian_fid_reconstructions")


def _quantities(comparison: Comparison) -> list[Quantity]:
    titles = SHORT | BY_EXTRACTOR.get(comparison.trials[0].generation.protocol.extractor, {})
    sources: tuple[tuple[Source, Mapping[str, Metric], Iterable[Iterable[str]]], ...] = (
        ("generation", SCORES, (scores_of(trial)["generation"] for trial in comparison.trials)),
        ("generative", METRICS, (scores_of(trial)["generative"] for trial in comparison.trials)),
        ("reconstruction", SCORES, (scores_of(trial)["reconstruction"] for trial in comparison.trials)),
        ("autoencoder", METRICS, (trial.numbers for trial in comparison.trials)),
    )
    quantities = []
    for source, catalogue, numbers in sources:
        keys = dict.fromkeys(key for each in numbers for key in each)
        for key in [*(key for key in catalogue if key in keys), *(key for key in keys if key not in catalogue)]:
            # A saved comparison may hold metrics that this version's catalogues no longer have.
            metric = catalogue.get(key) or unknown_metric(key)
            quantities.append(Quantity(source, metric, titles.get(key, metric.title)))
    return [each for each in quantities if any(each.of(trial) is not None for trial in comparison.trials)]
