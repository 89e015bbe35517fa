"""The words of a comparison's page: its scale, its outcome, expected false positives, confounders, the protocol."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from ...records.analysis import Provenance
from ...records.comparison import Comparison, Trial
from ...records.scores import Evaluation, Protocol, Sampling
from ..digits import fixed, number
from ..table import distinct
from .quantities import BETTER, UNDECIDED, WORSE, Quantity, headline, outcome
from .tables import Pairs, in_words, the_control

Text = TypeVar("Text")

# What differs between trials of one protocol.
OF_A_TRIAL = ("denoiser", "denoiser_digest", "autoencoder", "autoencoder_digest", "seed")
TITLES = {"n_images": "images", "n_reference": "reference images", "size": "side in pixels"}
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
    control = quantity.spread(comparison, comparison.control)
    others = [method for method in comparison.methods if method != comparison.control]
    marks = {method: outcome(quantity.spread(comparison, method), control, quantity.metric) for method in others}
    lines = []
    for mark in (BETTER, WORSE, UNDECIDED):
        names = [method for method in others if marks[method] == mark]
        if names:
            lines.append(f"{mark.glyph} {mark.word}: {'; '.join(names)}")
    if not lines:
        return (
            f"The methods cannot be ordered by {quantity.title}: that takes two seeds or more of the control and of "
            f"another method."
        ), []
    return f"By {quantity.title}, in every seed, compared with {the_control(comparison)}:", lines


def chance(pairs: Pairs) -> list[str]:
    """Return how many pairs are decided, and how many would be by chance if all methods were equal."""
    title = pairs.quantity.title
    if not pairs.n_pairs:
        return [f"No two methods have a {title} from two seeds or more: no order can be told from chance."]
    chances = [
        f"{n} seeds and {m} are separated in {in_words(share)} cases, {in_words(share / 2)} in either direction"
        for (n, m), share in pairs.chances
    ]
    n_pairs, n_decided = pairs.n_pairs, pairs.n_decided
    sentences = [
        f"By {title}, {n_decided} of {n_pairs} pair{'s' * (n_pairs > 1)} of methods "
        f"{'is' if n_decided == 1 else 'are'} decided: every seed of one is better than every seed of the other.",
        f"If two methods do not differ at all, {'; '.join(chances)}. Chance alone would decide "
        f"{fixed(float(pairs.expected), 1)} of these {n_pairs}.",
    ]
    if n_decided <= pairs.expected:
        sentences.append("That is no more than chance gives: these marks prove no order.")
    elif n_decided:
        sentences.append("That is more than chance gives on average; it does not say which of the marks are chance.")
    return sentences


def warnings(comparison: Comparison) -> list[str]:
    """Return differences of protocol, and each warning of the evaluations once, with the trials it concerns."""
    lines = [
        f"Protocols differ in {field.title}: "
        + "; ".join(distinct(filter(None, (field.generation, field.reconstruction))))
        + ". Scores of different protocols cannot be compared."
        for field in protocol_fields(comparison)
        if field.differs
    ]
    if comparison.control not in comparison.methods:
        lines.append(f"There is no trial of the control, {comparison.control}: nothing is compared with it.")
    return lines + [
        f"{names}: {warning}" if names else warning
        for warning, names in _by_text(comparison, lambda e: e.warnings).items()
    ]


def refusals(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Return why scores were refused, and which: with their trials, unless it is all of them."""

    def refused(evaluation: Evaluation) -> Iterable[tuple[str, str]]:
        return [(m.refused, f"{key} ({evaluation.kind})") for key, m in evaluation.scores.items() if m.refused]

    reasons: dict[str, list[str]] = {}
    for (reason, title), names in _by_text(comparison, refused).items():
        reasons.setdefault(reason, []).append(f"{title}: {names}" if names else title)
    return list(reasons.items())


def protocol_fields(comparison: Comparison) -> list[Field]:
    """Return every field of the protocols that all trials should share."""
    trials = comparison.trials
    protocols = [[t.generation.protocol for t in trials], [t.reconstruction.protocol for t in trials]]
    samplings = [[protocol.sampling for protocol in each] for each in protocols]
    names = [field.name for field in dataclasses.fields(Protocol) if field.name != "sampling"]
    of_sampling = [field.name for field in dataclasses.fields(Sampling) if field.name not in OF_A_TRIAL]
    return [_field(trials, name, *protocols) for name in names] + [
        _field(trials, name, *samplings) for name in of_sampling
    ]


def definitions(quantities: Sequence[Quantity]) -> list[tuple[str, list[str]]]:
    """Return what the catalogues say about each quantity, by its title."""
    result = []
    for quantity in quantities:
        metric = quantity.metric
        facts = {"range": metric.range, "conventions": metric.conventions, "source": metric.source}
        facts["evidence"] = metric.evidence if quantity.source == "autoencoder" else ""
        result.append((quantity.title, [metric.title, *(f"{key}: {text}" for key, text in facts.items() if text)]))
    return result


def provenance(provenance: Provenance, command: str) -> list[tuple[str, str]]:
    """Return titles and values of the provenance, for a table."""
    return [
        ("specmatch", provenance.version),
        ("commit", provenance.commit or "installed package"),
        ("torch, diffusers", f"{provenance.torch}, {provenance.diffusers}"),
        ("device, precision", f"{provenance.device}, {provenance.dtype}"),
        ("seed", str(provenance.seed)),
        ("command", command),
    ]


def duration(seconds: float) -> str:
    """Format a duration, such as "1 h 52 min"."""
    if seconds < 100:
        return f"{fixed(seconds, 0)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _by_text(comparison: Comparison, of: Callable[[Evaluation], Iterable[Text]]) -> dict[Text, str]:
    """Return what the evaluations say, each once, with the names of its trials, "" for all of them."""
    names: dict[Text, list[str]] = {}
    for trial in comparison.trials:
        for text in dict.fromkeys((*of(trial.generation), *of(trial.reconstruction))):
            names.setdefault(text, []).append(_name(trial))
    n = len(comparison.trials)
    return {text: "" if len(concerned) == n else ", ".join(concerned) for text, concerned in names.items()}


def _field(trials: Sequence[Trial], name: str, generated: Sequence[Any], decoded: Sequence[Any]) -> Field:
    """Return one field of the protocols, such as "250 (A, seed 0); 50 (A, seed 1)" where trials differ."""
    texts, differs = [], False
    for records in (generated, decoded):
        values = ["" if record is None else _text(getattr(record, name)) for record in records]
        concerned: dict[str, list[str]] = {}
        for trial, value in zip(trials, values, strict=True):
            concerned.setdefault(value, []).append(_name(trial))
        differs = differs or len(concerned) > 1
        parts = [f"{value or '–'} ({', '.join(names)})" for value, names in concerned.items()]
        texts.append("; ".join(parts) if len(concerned) > 1 else values[0])
    return Field(TITLES.get(name, name.replace("_", " ")), texts[0], texts[1], differs)


def _text(value: object) -> str:
    return FORMATS.get(type(value), str)(value)


def _name(trial: Trial) -> str:
    return f"{trial.method}, seed {trial.seed}"
