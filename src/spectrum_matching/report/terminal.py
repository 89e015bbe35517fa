"""Tables, verdicts and scores for the terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, replace
from typing import Any

from rich.console import RenderableType
from rich.table import Table as TerminalTable
from rich.text import Text

from ..files.names import printable, printable_lines
from ..metrics.images.catalogue import SCORES
from ..records.analysis import Analysis
from ..records.coverage import Coverage
from ..records.latent_maps import LatentComparison
from ..records.measurement import Measurement
from ..records.scores import Evaluation, Protocol, Sampling, protocol_differences
from .analysis.answer import FEW, answers, not_shown, shared_facts
from .analysis.beside import beside_atlas
from .analysis.context import comparability, measured_on
from .latent_maps.page import lead
from .latent_maps.tables import direction_table, is_pair, matrix_table
from .table import Cell, Column, Table, attributed, distinct

STYLES = {"good": "green", "warning": "yellow", "bad": "red", "neutral": "dim"}
MOST = 3
"""Findings that the terminal shows of one autoencoder."""


def terminal_table(
    table: Table, names: Sequence[str | Text], *, transposed: bool = False, brief: bool = False
) -> TerminalTable:
    """Render a table for the terminal; a name that several rows share stands in the first.

    transposed: rows become columns, which suits few rows of many numbers. brief: without units and uncertainties.
    """
    heads = [_text(column.title, "" if brief else column.unit) for column in table.columns]
    rows = [
        [_text(f"{c.value} {c.mark.glyph}" if c.mark else c.value, "" if brief else c.spread) for c in cells]
        for _, cells in table.rows
    ]
    result = TerminalTable(box=None, header_style="bold", padding=(0, 2, 0, 0))
    result.add_column("", no_wrap=transposed)
    if transposed:
        for index, _ in table.rows:
            result.add_column(_text(names[index]), justify="right", overflow="fold")
        for head, *cells in zip(heads, *rows, strict=True):
            result.add_row(head, *cells)
    else:
        for column, head in zip(table.columns, heads, strict=True):
            result.add_column(head, justify="left" if column.is_text else "right", overflow="fold")
        last = -1
        for (index, _), row in zip(table.rows, rows, strict=True):
            result.add_row(_text("" if index == last else names[index]), *row)
            last = index
    return result


def answer_lines(analyses: Sequence[Analysis]) -> list[Text]:
    """Return the first screen of the page in lines: ten at most for one autoencoder, a few for each of several."""
    each = answers(analyses)
    shared = shared_facts(each)
    said = [_text("", sentence) for sentence in [not_shown(analyses)] if sentence]
    lines, more = [], 0
    for answer in each:
        facts = dict(fact for fact in answer.facts if fact not in shared)
        psnr = f"PSNR {facts.pop('PSNR').text}"
        if len(each) > FEW:
            words = [Text(printable(line.words), STYLES[line.level]) for line in answer.words]
            lines.append(_text(Text("   ").join([Text(printable(answer.name), "bold"), *words, Text(psnr)])))
            continue
        lines.append(_text(Text(printable(answer.name), "bold"), f"{answer.subject} · {psnr}"))
        shown = answer.verdict[:MOST]
        for line in shown:
            level = () if line.level == "neutral" else ((line.level, STYLES[line.level]), " ")
            lines.append(Text.assemble(*level, _text(line.text)))
            if line is shown[0] and len(each) == 1:
                lines += said
        lines += [_text("Try:", line.command) for line in shown if line.command][:1]
        lines += [_text(Text(title, "dim"), line.text) for title, line in facts.items()]
        more += answer.others + len(answer.verdict) - len(shown)
    lines += [_text(answer.pair.text) for answer in each if answer.pair and len(each) <= FEW]
    lines += said if len(each) > 1 else []
    lines += [Text.assemble(("not directly comparable ", "yellow"), _text(line)) for line in comparability(analyses)]
    lines += [_text(Text(title, "dim"), line.text) for title, line in shared]
    measured = measured_on(analyses)
    if more:
        measured[-1] += f" {more} more finding{'s' * (more > 1)} in the report."
    return [*lines, *(_text("", sentence) for sentence in measured)]


def latent_comparison_lines(comparison: LatentComparison) -> list[RenderableType]:
    """Render how latent spaces map to one another: the answer in sentences, and R² and PSNR of every direction."""
    sentences = [_text(sentence) for sentence in lead(comparison)] + [_text("", note) for note in comparison.notes]
    if is_pair(comparison):
        return [*sentences, terminal_table(direction_table(comparison), comparison.names, brief=True)]
    title = _text("", "R² by the widest map, from row to column")
    matrix = matrix_table(comparison, lambda route: route.r2, 2)
    return [*sentences, title, terminal_table(matrix, comparison.names, brief=True)]


def beside_table(analyses: Sequence[Analysis]) -> TerminalTable:
    """Render the numbers of the subjects beside those of the atlas's latent spaces: a column for each.

    Raises:
        ValueError: when the atlas has none to stand beside these.
    """
    table, names = beside_atlas(analyses)
    return terminal_table(table, names, transposed=True, brief=True)


def scores(evaluations: Sequence[Evaluation]) -> list[RenderableType]:
    """Render scores side by side: the table, refusals, differences of protocol, warnings, and the protocols."""
    names = [evaluation.name for evaluation in evaluations]
    refusals = (
        f"{SCORES[key].title}, {evaluation.name}: {score.refused}"
        for evaluation in evaluations
        for key, score in evaluation.scores.items()
        if score.value is None
    )
    warnings = attributed([evaluation.warnings for evaluation in evaluations], names)
    lines = [Text.assemble(("— ", "dim"), _text(line)) for line in distinct(refusals)]
    lines += [Text.assemble(("not comparable ", "yellow"), _text(line)) for line in protocol_differences(evaluations)]
    lines += [Text.assemble(("warning ", "yellow"), _text(line)) for line in warnings]
    lines += [_text("", line) for line in distinct(protocol_line(e.protocol) for e in evaluations)]
    return [terminal_table(score_table(evaluations), names, transposed=True), *lines]


def score_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return the scores as a table: a row for each evaluation; beside a value, half its interval of 95 %."""
    keys = [key for key in SCORES if any(key in evaluation.scores for evaluation in evaluations)]
    columns = tuple(Column(SCORES[key].title, SCORES[key].unit) for key in keys)
    rows = [tuple(_score(evaluation.scores.get(key)) for key in keys) for evaluation in evaluations]
    return Table(columns, tuple(enumerate(rows)))


def protocol_line(protocol: Protocol) -> str:
    """Return everything that a score depends on, in one line: but for what is none, or as by default."""
    facts = _facts(replace(protocol, sampling=None), _OF_PROTOCOL)
    return "; ".join(facts + (_facts(protocol.sampling, _OF_SAMPLING) if protocol.sampling else []))


Phrases = Mapping[tuple[str, ...], Callable[[Any], str]]
"""What says several fields of a record, or one in other words than its name and value; "" for nothing."""

_OF_PROTOCOL: Phrases = {
    ("n_images", "images", "kept_images", "size"): lambda p: (
        f"{_counts(p.images, p.n_images, p.kept_images)}, {p.size} pixels a side"
    ),
    ("n_reference", "reference", "reference_digest", "reference_images", "kept_reference"): lambda p: (
        f"reference {p.reference} {p.reference_digest}: {_counts(p.reference_images, p.n_reference, p.kept_reference)}"
    ),
    ("reconstructions", "reconstructions_digest", "n_reconstructions", "reconstructions_size"): lambda p: (
        p.reconstructions
        and f"reconstructions {p.reconstructions} {p.reconstructions_digest}: {p.n_reconstructions:,} images"
        + (f", {p.reconstructions_size} pixels a side" if p.reconstructions_size else "")
    ),
    ("extractor", "extractor_digest"): lambda p: (
        f"extractor {p.extractor} {p.extractor_digest}" if p.extractor else "no extractor"
    ),
    ("tile",): lambda p: p.tile and f"reconstructed in tiles of {p.tile}",
}
_OF_SAMPLING: Phrases = {
    ("denoiser", "denoiser_digest", "step", "averaged"): lambda s: (
        f"{s.denoiser} {s.denoiser_digest} at step {s.step}{', averaged' * s.averaged}"
    ),
    ("autoencoder", "autoencoder_digest"): lambda s: (
        s.autoencoder and f"autoencoder {s.autoencoder} {s.autoencoder_digest}"
    ),
    ("path", "prediction"): lambda s: f"{s.path} path, {s.prediction} predicted",
    ("sampler", "steps", "evaluations"): lambda s: f"{s.sampler}, {s.steps} steps, {s.evaluations} evaluations",
    ("end",): lambda s: s.end and f"to t = {s.end:g}",
    ("guidance", "guidance_interval", "guidance_channels", "guidance_by"): lambda s: (
        f"guidance {s.guidance:g} in {s.guidance_interval[0]:g} to {s.guidance_interval[1]:g}"
        + (f" of {s.guidance_channels} channels" if s.guidance_channels else "")
        + (" by step" if s.guidance_by == "step" else "")
    ),
    ("labels", "n_images", "seed", "dtype"): lambda s: (
        f"labels {s.labels}, {s.n_images:,} sampled, seed {s.seed}, {s.dtype}"
    ),
    ("tile",): lambda s: s.tile and f"decoded in tiles of {s.tile}",
}


def _facts(record: Protocol | Sampling, phrases: Phrases) -> list[str]:
    """Return every field of a record in words, those of a phrase where the first of them stands."""
    facts = {}
    for field in fields(record):
        names = next((names for names in phrases if field.name in names), (field.name,))
        facts[names] = phrases[names](record) if names in phrases else _plain(field, getattr(record, field.name))
    return [fact for fact in facts.values() if fact]


def _plain(field: Field[Any], value: Any) -> str:
    if value in (None, "", field.default):
        return ""
    return f"{field.name.replace('_', ' ')} {f'{value:g}' if isinstance(value, float) else value}"


def _counts(images: Coverage | None, n_images: int, kept: Coverage | None) -> str:
    counts = str(images or (f"{n_images:,} images" if n_images else "unknown many images"))
    return counts if kept is None or kept.n_images == kept.n_total else f"{counts}; features and patches of {kept}"


def _score(score: Measurement | None) -> Cell:
    if score is None:
        return Cell("")
    if score.value is None:
        return Cell("—")
    spread = "" if score.half_width is None else f"± {score.half_width:.2g}"
    return Cell(f"{score.value:.4g}", spread, score.value)


def _text(main: str | Text, small: str = "") -> Text:
    main = printable(main) if isinstance(main, str) else main
    gap = " " if main and small else ""
    return Text.assemble(main, (gap + printable_lines(small), "dim"))
