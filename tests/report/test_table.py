import io

import pytest
from rich.console import Console

from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.report.table import (
    MISSING,
    Cell,
    Column,
    Mark,
    Table,
    attributed,
    extremes,
    grouped,
    markdown,
    measured,
    plain,
)
from spectrum_matching.report.terminal import terminal_table

NAMES = ["[red]one[/]", "two | <b>"]
TABLE = Table(
    (Column("kind", is_text=True), Column("PSNR", "dB", better="↑ higher"), Column("rate", better="– unsettled")),
    (
        (0, (Cell("mean"), Cell("27.41", "± 0.21", 27.41, Mark("▲", "better")), MISSING)),
        (0, (Cell("sample"), Cell("24.80", "± 0.30", 24.8), Cell("0.5", key=0.5))),
        (1, (Cell("mean"), Cell("refused"), Cell("0.25", key=0.25))),
    ),
)


def written(table, **options):
    output = io.StringIO()
    Console(file=output, width=200).print(terminal_table(table, NAMES, **options))
    return [line.split() for line in output.getvalue().splitlines()]


def test_table_sorts_when_every_row_has_its_own_name():
    assert not TABLE.sorts
    assert Table(TABLE.columns, TABLE.rows[1:]).sorts
    assert not Table(TABLE.columns, TABLE.rows[1:2]).sorts


def test_markdown_escapes_and_shows_marks_and_directions():
    assert markdown(TABLE, NAMES, "method").splitlines() == [
        "| method | kind | PSNR ↑ (dB) | rate |",
        "|---|---|---:|---:|",
        "| [red]one[/] | mean | 27.41 ± 0.21 ▲ | – |",
        "| [red]one[/] | sample | 24.80 ± 0.30 | 0.5 |",
        "| two \\| \\<b> | mean | refused | 0.25 |",
    ]


def test_terminal_table_writes_a_name_once_and_no_markup():
    assert written(TABLE) == [
        ["kind", "PSNR", "dB", "rate"],
        ["[red]one[/]", "mean", "27.41", "▲", "±", "0.21", "–"],
        ["sample", "24.80", "±", "0.30", "0.5"],
        ["two", "|", "<b>", "mean", "refused", "0.25"],
    ]


def test_terminal_table_brief_leaves_out_units_and_spreads():
    assert written(TABLE, brief=True)[:2] == [["kind", "PSNR", "rate"], ["[red]one[/]", "mean", "27.41", "▲", "–"]]


def test_terminal_table_transposed_has_a_row_for_each_column():
    table = Table(TABLE.columns, TABLE.rows[1:])
    assert written(table, transposed=True) == [
        ["[red]one[/]", "two", "|", "<b>"],
        ["kind", "sample", "mean"],
        ["PSNR", "dB", "24.80", "±", "0.30", "refused"],
        ["rate", "0.5", "0.25"],
    ]


def test_measured_plain_and_extremes_write_cells():
    assert measured(Measurement(0.12345, 0.004), 3) == Cell("0.123", "± 0.004", 0.12345)
    assert measured(Measurement(None, refused="why"), 3) == Cell("refused")
    assert measured(None, 3) == plain(None) == MISSING
    assert plain(1234.5) == Cell("1,234", "", 1234.5)
    assert extremes([3.0, -1.0, 2.0]) == Cell("−1.00 … 3.00", "", 3.0)


@pytest.mark.parametrize(
    ("lines", "expected"), [((["a"], ["a"]), ["a"]), ((["a", "b"], ["b"]), ["x: a", "b"]), (([], []), [])]
)
def test_attributed_names_the_owners_unless_that_is_all(lines, expected):
    assert attributed(lines, ["x", "y"]) == expected


def test_grouped_lists_the_owners_of_each_value():
    assert grouped(["250", "50", "250"], ["A", "B", "C"]) == "250 (A, C); 50 (B)"


def test_measured_marks_the_ends_of_a_searched_range():
    cells = [measured(Measurement(value, 0.004), 3, METRICS["best_delta"]) for value in (-0.5, -0.49, 2.5)]
    assert [(c.value, c.spread) for c in cells] == [("≤ −0.50", ""), ("−0.490", "± 0.004"), ("≥ 2.50", "")]
    # Zero is the least gap that there is, not the end of a search.
    assert measured(Measurement(0.0, 0.004), 3, METRICS["gap_scale_free_1"]).value == "0.000"
