"""Scores side by side for the terminal, with their protocol below."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..metrics.images.catalogue import SCORES
from ..records.analysis import Analysis
from ..records.scores import Evaluation, Protocol, Score, protocol_differences
from .analysis.tables import summary_table
from .table import Table as PageTable


def print_scores(evaluations: Sequence[Evaluation], console: Console) -> None:
    """The table, what was refused, warnings, and the protocol; a warning where protocols differ."""
    console.print(score_table(evaluations))
    for line in dict.fromkeys(_refusals(evaluations)):
        console.print(f"[dim]—[/] {escape(line)}", highlight=False)
    for line in protocol_differences(evaluations):
        console.print(f"[yellow]not comparable[/] {escape(line)}", highlight=False)
    for line in dict.fromkeys(line for evaluation in evaluations for line in evaluation.warnings):
        whose = [evaluation.name for evaluation in evaluations if line in evaluation.warnings]
        names = "" if len(whose) == len(evaluations) else f"{', '.join(whose)}: "
        console.print(f"[yellow]warning[/] {escape(names + line)}", highlight=False)
    for text in dict.fromkeys(protocol_line(evaluation.protocol) for evaluation in evaluations):
        console.print(f"[dim]{escape(text)}[/]", highlight=False)


def score_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each score, a column for each evaluation; beside a value, half its interval of 95 %."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for evaluation in evaluations:
        table.add_column(escape(evaluation.name), justify="right", overflow="fold")
    cells = [{score.key: score for score in evaluation.scores} for evaluation in evaluations]
    keys = [key for key in SCORES if any(key in column for column in cells)]
    for key in keys:
        metric = SCORES[key]
        unit = f" [dim]{escape(metric.unit)}[/]" if metric.unit else ""
        table.add_row(f"{metric.title}{unit}", *(_cell(column.get(key)) for column in cells))
    return table


def protocol_line(protocol: Protocol) -> str:
    """All that a score depends on, in one paragraph."""
    parts = [
        f"{protocol.n_images} images of {protocol.size} pixels",
        f"reference {protocol.reference} {protocol.reference_digest} of {protocol.n_reference or 'unknown many'}",
        f"extractor {protocol.extractor} {protocol.extractor_digest}" if protocol.extractor else "no extractor",
        *([f"resizer {protocol.resizer}"] if protocol.resizer else []),
        f"rounding {protocol.rounding}",
    ]
    if (sampling := protocol.sampling) is not None:
        low, high = sampling.guidance_interval
        parts += [
            f"{sampling.denoiser} {sampling.denoiser_digest} at step {sampling.step}{', averaged' * sampling.averaged}",
            f"autoencoder {sampling.autoencoder} {sampling.autoencoder_digest}",
            f"{sampling.sampler}, {sampling.steps} steps, {sampling.evaluations} evaluations",
            f"guidance {sampling.guidance:g} in {low:g} to {high:g}",
            f"labels {sampling.labels}, seed {sampling.seed}, {sampling.dtype}",
        ]
    return "; ".join(parts)


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    if score.value is None:
        return "—"
    # The upper half: the lower one may be cut at zero.
    spread = "" if score.interval is None else f" [dim]±{score.interval[1] - score.value:.2g}[/]"
    return f"{score.value:.4g}{spread}"


def _refusals(evaluations: Sequence[Evaluation]) -> list[str]:
    return [
        f"{SCORES[score.key].title}, {evaluation.name}: {score.refused}"
        for evaluation in evaluations
        for score in evaluation.scores
        if score.value is None
    ]


STYLES = {"good": "green", "warning": "yellow", "bad": "red", "neutral": "dim"}


def summary(analyses: list[Analysis]) -> Table:
    """The first table of the report, for the terminal: a row for each number, a column for each autoencoder."""
    columns, rows = summary_table(analyses)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for place, _ in rows:
        table.add_column(escape(analyses[place].subject.name), justify="right", overflow="fold")
    for i, column in enumerate(columns):
        title = f"{column.title} [dim]{escape(column.unit)}[/]"
        table.add_row(title, *(f"{cells[i].value} [dim]{cells[i].spread}[/]" for _, cells in rows))
    return table


def verdict(analysis: Analysis) -> Table:
    """What is said of one autoencoder, for the terminal."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), title_justify="left", title_style="bold")
    table.title = escape(analysis.subject.name)
    for finding in analysis.findings:
        advice = f" [dim]Try: {escape(finding.advice)}[/]" if finding.advice else ""
        table.add_row(f"[{STYLES[finding.level]}]{finding.level}[/]", escape(finding.verdict) + advice)
    return table


def _rows(table: PageTable, names: Sequence[str]) -> Table:
    """A table of a page for the terminal, without standard errors; a name stands in the first of its rows."""
    text = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    text.add_column("")
    for column in table.columns:
        text.add_column(escape(column.title), justify="left" if column.is_text else "right", no_wrap=True)
    last = -1
    for place, cells in table.rows:
        text.add_row(escape(names[place]) if place != last else "", *(escape(cell.value) for cell in cells))
        last = place
    return text
