"""The words of a comparison's page: its scale, its outcome, expected false positives, confounders, the protocol."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from ...files.names import quoted
from ...metrics.pooled import FAMILY_WISE, POWER
from ...records.comparison import Comparison, Trial
from ...records.scores import Evaluation
from ..digits import fixed, number
from ..table import Mark, distinct
from .quantities import BETTER, UNDECIDED, WORSE, Quantity, against_control, headline, scores_of
from .tables import Pairs, tests, the_control

Text = TypeVar("Text")

# What differs between trials of one protocol.
OF_A_TRIAL = (
    *("denoiser", "denoiser_digest", "autoencoder", "autoencoder_digest", "normalisation", "gain"),
    *("reconstructions", "reconstructions_digest", "seed"),
)
SAMPLING = {"n_images": "sampled images"}
TITLES = {
    "n_images": "images",
    "n_reference": "reference images",
    "size": "side in pixels",
    "images": "images of their set",
    "kept_images": "images with features and patches",
    "reference_images": "reference images of their set",
    "kept_reference": "reference images with features and patches",
}
FORMATS: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "yes" if value else "no",
    int: lambda value: f"{value:,}",
    float: number,
    tuple: lambda value: " … ".join(map(number, value)),
}


class Field(NamedTuple):
    """One field of the protocol, of generated images and of reconstructions; differs: whether trials disagree."""

    title: str
    generation: str
    reconstruction: str
    differs: bool


def compared(comparison: Comparison) -> str:
    """Return what was compared with what, in one sentence."""
    protocol = comparison.trials[0].generation.protocol
    by = f" by {protocol.extractor}" if protocol.extractor else ""
    return (
        f"{comparison.name}: {protocol.n_images:,} generated images of {protocol.size} × {protocol.size} pixels for "
        f"each trial, compared with {protocol.n_reference:,} of {protocol.reference}{by}."
    )


def reading(comparison: Comparison) -> tuple[str, list[str]]:
    """Return how the methods compare with the control by the headline score: a sentence and a line per outcome."""
    quantity = headline(comparison)
    if quantity is None:
        return "No score of generated images was measured: nothing here orders the methods.", []
    names: dict[Mark, list[str]] = {}
    found = against_control(comparison, quantity)
    for method, difference in found.items():
        names.setdefault(quantity.mark(difference), []).append(method)
    if not names:
        why = "that takes two seeds or more of the control and of another method"
        return f"The methods cannot be ordered by {quantity.title}: {why}.", []
    order = [mark for mark in (BETTER, WORSE, UNDECIDED) if mark in names]
    lines = [f"{mark.glyph} {mark.word}: {'; '.join(names[mark])}" for mark in order]
    sizes = [found[name].detectable for name in names.get(UNDECIDED, [])]
    if sizes := [size for size in sizes if not math.isnan(size)]:
        least = number(max(sizes), 2)
        lines[-1] += f". Detectable with {POWER:.0%} power, if seeds vary as here: differences of {least} and more"
    return f"By {quantity.title}, compared with {the_control(comparison)}:", lines


def chance(comparison: Comparison, pairs: Pairs) -> list[str]:
    """Return how many pairs are decided, and how likely it is that any of these is due to chance."""
    title = pairs.quantity.title
    if not pairs.n_pairs:
        return [f"No two methods have a {title} from two seeds or more: no order can be told from chance."]
    n = pairs.n_pairs
    test, assumed = tests(comparison)
    return [
        f"By {title}, {pairs.n_decided} of {n} pair{'s' * (n > 1)} of methods "
        f"{'is' if pairs.n_decided == 1 else 'are'} decided, by {test}, Holm-corrected over these pairs: if no two "
        f"methods differ, and {assumed}, the probability that any is decided is at most {FAMILY_WISE:.0%}."
    ]


def warnings(comparison: Comparison) -> list[str]:
    """Return differences of protocol, and each warning of the evaluations once, with the trials it concerns."""
    lines = []
    for field in (field for field in protocol_fields(comparison) if field.differs):
        values = "; ".join(distinct(filter(None, (field.generation, field.reconstruction))))
        lines.append(f"Protocols differ in {field.title}: {values}. Scores of different protocols cannot be compared.")
    if comparison.control not in comparison.methods:
        lines.append(f"There is no trial of the control, {comparison.control}: nothing is compared with it.")
    concerned = _by_text(comparison, lambda trial: (*trial.generation.warnings, *trial.reconstruction.warnings))
    return lines + [f"{names}: {warning}" if names else warning for warning, names in _counts_joined(concerned).items()]


def _counts_joined(concerned: dict[str, str]) -> dict[str, str]:
    """Join warnings that differ in how many images they begin with: "4,096 and 2,048 images: …"."""
    counts: dict[tuple[str, str], list[str]] = {}
    for warning, names in concerned.items():
        count, images, rest = warning.partition(" images")
        is_count = bool(images) and count.replace(",", "").isdigit()
        counts.setdefault((images + rest if is_count else warning, names), []).append(count if is_count else "")
    return {" and ".join(filter(None, each)) + warning: names for (warning, names), each in counts.items()}


def refusals(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Return why scores were refused, and which: with their trials, unless it is all of them."""

    def refused(trial: Trial) -> Iterable[tuple[str, str]]:
        for source, scores in scores_of(trial).items():
            yield from ((each.refused, f"{key} ({source})") for key, each in scores.items() if each.refused)

    reasons: dict[str, list[str]] = {}
    for (reason, title), names in _by_text(comparison, refused).items():
        reasons.setdefault(reason, []).append(f"{title}: {names}" if names else title)
    return list(reasons.items())


def protocol_fields(comparison: Comparison) -> list[Field]:
    """Return the fields of the protocols that trials should share, "250 (A, seed 0); 50 (A, seed 1)" if they do not."""
    cells: dict[str, dict[str, list[str]]] = {}
    differing = set()
    both = _by_text(comparison, lambda trial: (*_settings(trial.generation), *_settings(trial.reconstruction)))
    for (title, kind, text), names in both.items():
        texts = cells.setdefault(title, {"generation": [], "reconstruction": []})[kind]
        texts.append(f"{text or '–'} ({names})" if names else text)
        differing |= {title} if names else set()
    return [
        Field(title, "; ".join(each["generation"]), "; ".join(each["reconstruction"]), title in differing)
        for title, each in cells.items()
    ]


def definitions(quantities: Sequence[Quantity]) -> list[tuple[str, list[str]]]:
    """Return what the catalogues say about each quantity, by its title."""
    result = []
    for quantity in quantities:
        metric = quantity.metric
        facts = {"range": metric.range, "conventions": metric.conventions, "source": metric.source}
        facts["evidence"] = metric.evidence if quantity.source in ("generative", "autoencoder") else ""
        result.append((quantity.title, [metric.title, *(f"{key}: {text}" for key, text in facts.items() if text)]))
    return result


def duration(seconds: float) -> str:
    """Format a duration, such as "1 h 52 min"."""
    if seconds < 100:
        return f"{fixed(seconds, 0)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _by_text(comparison: Comparison, of: Callable[[Trial], Iterable[Text]]) -> dict[Text, str]:
    """Return what the trials say, each once, with their names, "" for all of them."""
    names: dict[Text, list[str]] = {}
    for trial in comparison.trials:
        for text in dict.fromkeys(of(trial)):
            names.setdefault(text, []).append(f"{quoted(trial.method)}, seed {trial.seed}")
    n = len(comparison.trials)
    return {text: "" if len(concerned) == n else ", ".join(concerned) for text, concerned in names.items()}


def _settings(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    protocol, sampling = (
        {name: value for name, value in vars(each).items() if value is not None} if each else {}
        for each in (evaluation.protocol, evaluation.protocol.sampling)
    )
    settings = {TITLES.get(name, name): value for name, value in protocol.items() if name not in OF_A_TRIAL}
    settings.pop("sampling", None)
    settings |= {SAMPLING.get(name, name): value for name, value in sampling.items() if name not in OF_A_TRIAL}
    texts = {title: FORMATS.get(type(value), str)(value) for title, value in settings.items()}
    return [(title.replace("_", " "), evaluation.kind, text) for title, text in texts.items()]
