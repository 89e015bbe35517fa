"""What a reader of a comparison must know: how small it is, what luck would give, what differs beside the method."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...records.analysis import Provenance
from ...records.comparison import Comparison, Trial
from ...records.scores import Protocol, Sampling
from ..digits import fixed, number
from ..table import distinct
from .quantities import BETTER, UNDECIDED, WORSE, Quantity, headline, held
from .tables import Pairs, in_words, the_control

# What differs between trials of one protocol; weights have a table of their own.
OF_A_TRIAL = ("denoiser", "denoiser_digest", "autoencoder", "autoencoder_digest", "seed")
TITLES = {"n_images": "images", "n_reference": "reference images", "size": "side in pixels"}


class Field(NamedTuple):
    """One field of the protocol: of generated images and of reconstructions. differs: where it must not."""

    title: str
    generation: str
    reconstruction: str
    differs: bool


def compared(comparison: Comparison) -> str:
    """What was compared, at which size, in one sentence."""
    n = len(comparison.methods)
    counts = sorted({len(comparison.of(method)) for method in comparison.methods})
    seeds = f"{counts[0]} seed{'s' * (counts[0] > 1)}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    protocol = comparison.trials[0].generation.protocol
    sampling = protocol.sampling
    steps = f" for {sampling.step:,} updates" if sampling else ""
    autoencoder, denoiser = comparison.n_parameters
    by = f" by {protocol.extractor}" if protocol.extractor else ""
    return (
        f"{comparison.name}: {n} method{'s' * (n > 1)} from {seeds} each at equal updates. An autoencoder of "
        f"{autoencoder:,} parameters, on its latents a denoiser of {denoiser:,} trained{steps}; "
        f"{protocol.n_images:,} generated images of {protocol.size} × {protocol.size} pixels held against "
        f"{protocol.n_reference:,} of {protocol.reference}{by}."
    )


def reading(comparison: Comparison) -> tuple[str, list[str]]:
    """How the methods stand against the control by the headline score: a sentence, and a line for each outcome."""
    quantity = headline(comparison)
    if quantity is None:
        return "No score of generated images was measured: nothing here orders the methods.", []
    control = quantity.spread(comparison, comparison.control)
    others = [method for method in comparison.methods if method != comparison.control]
    marks = {method: held(quantity.spread(comparison, method), control, quantity.metric) for method in others}
    lines = []
    for mark in (BETTER, WORSE, UNDECIDED):
        names = [method for method, own in marks.items() if own == mark]
        if names:
            lines.append(f"{mark.glyph} {mark.word}: {'; '.join(names)}")
    if not lines:
        return (
            f"By {quantity.title}, nothing can be said of the methods’ order: that takes two seeds or more of the "
            f"control and of another method."
        ), []
    return f"By {quantity.title}, in every seed, against {the_control(comparison)}:", lines


def luck(pairs: Pairs) -> list[str]:
    """How many pairs are decided, beside how many would be if all methods were the same."""
    title = pairs.quantity.title
    if not pairs.n_pairs:
        return [f"No two methods have a {title} from two seeds or more: no order can be told from luck."]
    chances = [
        f"{n} seeds and {m} lie apart in {in_words(chance)} cases, {in_words(chance / 2)} in either direction"
        for (n, m), chance in pairs.chances
    ]
    n_pairs, n_decided = pairs.n_pairs, pairs.n_decided
    said = [
        f"By {title}, {n_decided} of {n_pairs} pair{'s' * (n_pairs > 1)} of methods {_is(n_decided)} decided: "
        f"every seed of the one is better than every seed of the other.",
        f"If two methods do not differ at all, {'; '.join(chances)}. By luck alone that would decide "
        f"{fixed(float(pairs.expected), 1)} of these {n_pairs}.",
    ]
    if n_decided <= pairs.expected:
        said.append("That is no more than luck gives: these marks prove no order.")
    elif n_decided:
        said.append("That is more than luck gives on average; which of the marks are luck, it does not tell.")
    return said


def warnings(comparison: Comparison) -> list[str]:
    """Protocols that differ, and what the evaluations warn of, each once with the trials it is about."""
    said = [
        f"Protocols differ in {field.title}: "
        + "; ".join(distinct(filter(None, (field.generation, field.reconstruction))))
        + ". Scores of different protocols cannot be compared."
        for field in protocol_fields(comparison)
        if field.differs
    ]
    if comparison.control not in comparison.methods:
        said.append(f"There is no trial of the control, {comparison.control}: nothing is held against it.")
    found: dict[str, list[str]] = {}
    for trial in comparison.trials:
        for warning in distinct((*trial.generation.warnings, *trial.reconstruction.warnings)):
            found.setdefault(warning, []).append(_named(trial))
    for warning, names in found.items():
        said.append(warning if len(names) == len(comparison.trials) else f"{', '.join(names)}: {warning}")
    return said


def refusals(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Why scores were refused, and which, of which trials unless it is all."""
    found: dict[str, dict[str, list[str]]] = {}
    for trial in comparison.trials:
        for evaluation in (trial.generation, trial.reconstruction):
            for key, score in evaluation.scores.items():
                if score.refused:
                    own = found.setdefault(score.refused, {})
                    own.setdefault(f"{key} ({evaluation.kind})", []).append(_named(trial))
    return [
        (
            reason,
            [
                title if len(names) == len(comparison.trials) else f"{title}: {', '.join(names)}"
                for title, names in titles.items()
            ],
        )
        for reason, titles in found.items()
    ]


def protocol_fields(comparison: Comparison) -> list[Field]:
    """Every field of the protocols, of what is the same for all trials and of what should be."""
    made: list[Field] = []
    generated = [trial.generation.protocol for trial in comparison.trials]
    decoded = [trial.reconstruction.protocol for trial in comparison.trials]
    for field in dataclasses.fields(Protocol):
        if field.name != "sampling":
            made.append(_field(comparison.trials, field.name, generated, decoded))
    for field in dataclasses.fields(Sampling):
        if field.name not in OF_A_TRIAL:
            made.append(
                _field(comparison.trials, field.name, *([p.sampling for p in ps] for ps in (generated, decoded)))
            )
    return made


def definitions(quantities: Sequence[Quantity]) -> list[tuple[str, list[str]]]:
    """What the catalogues say of each quantity, by its title."""
    said = []
    for quantity in quantities:
        metric = quantity.metric
        told = {"": metric.title, "range": metric.range, "conventions": metric.conventions, "source": metric.source}
        told["evidence"] = metric.evidence if quantity.source == "autoencoder" else ""
        said.append((quantity.title, [f"{what}: {text}" if what else text for what, text in told.items() if text]))
    return said


def provenance(own: Provenance, command: str) -> list[tuple[str, str]]:
    """A title and a value."""
    return [
        ("specmatch", own.version),
        ("commit", own.commit or "installed package"),
        ("torch, diffusers", f"{own.torch}, {own.diffusers}"),
        ("device, precision", f"{own.device}, {own.dtype}"),
        ("seed", str(own.seed)),
        ("command", command),
    ]


def duration(seconds: float) -> str:
    """ "1 h 52 min"."""
    if seconds < 100:
        return f"{fixed(seconds, 0)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _field(trials: Sequence[Trial], name: str, generated: Sequence[Any], decoded: Sequence[Any]) -> Field:
    texts, differs = [], False
    for records in (generated, decoded):
        values = ["" if record is None else _text(getattr(record, name)) for record in records]
        differs = differs or len(set(values)) > 1
        texts.append(_grouped(trials, values))
    return Field(TITLES.get(name, name.replace("_", " ")), texts[0], texts[1], differs)


def _grouped(trials: Sequence[Trial], values: Sequence[str]) -> str:
    """ "250 (A, seed 0); 50 (A, seed 1)", or the one value."""
    if len(set(values)) == 1:
        return values[0]
    said = []
    for value in distinct(values):
        names = [_named(trial) for trial, own in zip(trials, values, strict=True) if own == value]
        said.append(f"{value or '–'} ({', '.join(names)})")
    return "; ".join(said)


def _text(value: object) -> str:
    formats: dict[type, Callable[[Any], str]] = {
        bool: lambda own: "yes" if own else "no",
        int: lambda own: f"{own:,}",
        float: number,
        tuple: lambda own: " … ".join(map(number, own)),
    }
    return formats.get(type(value), str)(value)


def _named(trial: Trial) -> str:
    return f"{trial.method}, seed {trial.seed}"


def _is(n: int) -> str:
    return "is" if n == 1 else "are"
