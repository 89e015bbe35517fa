"""Tables, verdicts and scores for the terminal."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table as TerminalTable
from rich.text import Text

from ..files.names import printable, printable_lines
from ..metrics.images.catalogue import SCORES
from ..records.analysis import Analysis
from ..records.coverage import Coverage
from ..records.latent_maps import LatentComparison
from ..records.measurement import Measurement
from ..records.scores import Evaluation, Protocol, protocol_differences
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
    """Return everything that a score depends on, in one line."""
    images = _counts(protocol.images, protocol.n_images, protocol.kept_images)
    reference = _counts(protocol.reference_images, protocol.n_reference, protocol.kept_reference)
    parts = [
        f"{images}, {protocol.size} pixels a side",
        f"reference {protocol.reference} {protocol.reference_digest}: {reference}",
        *(
            [
                f"reconstructions {protocol.reconstructions} {protocol.reconstructions_digest}: "
                f"{protocol.n_reconstructions:,} images, {protocol.reconstructions_size} pixels a side"
            ]
            * bool(protocol.reconstructions)
        ),
        f"extractor {protocol.extractor} {protocol.extractor_digest}" if protocol.extractor else "no extractor",
        *([f"resizer {protocol.resizer}"] if protocol.resizer else []),
        f"rounding {protocol.rounding}",
    ]
    if (sampling := protocol.sampling) is not None:
        low, high = sampling.guidance_interval
        guided = f" of {sampling.guidance_channels} channels" if sampling.guidance_channels else ""
        guided += " by step" if sampling.guidance_by == "step" else ""
        parts += [
            f"{sampling.denoiser} {sampling.denoiser_digest} at step {sampling.step}{', averaged' * sampling.averaged}",
            f"autoencoder {sampling.autoencoder} {sampling.autoencoder_digest}",
            f"{sampling.sampler}, {sampling.steps} steps, {sampling.evaluations} evaluations",
            *([f"last step {sampling.last_step:g}"] if sampling.last_step else []),
            *([f"to t = {sampling.end:g}"] if sampling.end else []),
            *([f"shift {sampling.shift:g}"] if sampling.shift != 1 else []),
            f"guidance {sampling.guidance:g} in {low:g} to {high:g}{guided}",
            f"labels {sampling.labels}, seed {sampling.seed}, {sampling.dtype}",
        ]
    return "; ".join(parts)


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
