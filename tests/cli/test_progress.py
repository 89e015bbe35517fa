import logging
import os
import sys

import datasets
import huggingface_hub
import pytest
from rich.console import Console

from spectrum_matching.cli import output as progress
from spectrum_matching.cli.output import (
    BARS,
    Shown,
    draw_page,
    print_results,
    progress_bar,
    progress_bars,
    show_messages,
    write_page,
    write_results,
)
from spectrum_matching.data import open_images
from spectrum_matching.processes import RANKS, is_main_process

log = logging.getLogger("spectrum_matching.somewhere")
HOSTILE = "[red]name[/] [/broken"


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    yield
    show_messages()


def test_progress_bar_prints_plain_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    with progress_bar(HOSTILE) as report:
        for done in (0, 1, 2):
            report(done, 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" in ")[0] for line in lines] == [f"{HOSTILE}: {done} of 2" for done in (0, 1, 2)]


def test_progress_bar_prints_its_end_alone_within_the_interval(capsys):
    with progress_bar("caching") as report:
        for done in (0, 1, 2):
            report(done, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("caching: 2 of 2 in ")


def test_progress_bars_draw_every_title_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "console", Console(file=sys.stderr, force_terminal=True, width=80))
    with progress_bars([HOSTILE, "second"]) as bars:
        bars[HOSTILE](1, 4)
        bars["second"](3, 3)
    drawn = capsys.readouterr().err
    assert HOSTILE in drawn
    assert "1/4" in drawn
    assert "3/3" in drawn


def test_show_messages_prints_plain_text_and_warnings_by_level(capsys):
    show_messages()
    show_messages()  # no message twice
    log.debug("detail")
    log.info("read %s", HOSTILE)
    log.warning("skipped %s", "x" * 200)
    assert capsys.readouterr().err == f"read {HOSTILE}\nwarning: skipped {'x' * 200}\n"


def test_show_messages_shows_information_once_for_each_command(capsys):
    for _ in range(2):
        show_messages()
        for number in (1, 1, 2):
            log.info("photos: %d images", number)
            log.warning("skipped %d", number)
        shown = "photos: 1 images\nwarning: skipped 1\nwarning: skipped 1\nphotos: 2 images\nwarning: skipped 2\n"
        assert capsys.readouterr().err == shown


@pytest.mark.parametrize("variable", RANKS)
def test_other_processes_show_errors_alone(variable, capsys, monkeypatch):
    monkeypatch.setenv(variable, "1")
    assert not is_main_process()
    show_messages()
    log.warning("skipped")
    log.error("broken")
    print_results("result")
    with progress_bar("caching") as report:
        report(2, 2)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: broken\n")


def test_quiet_hides_the_bars_of_libraries(image_folder, tmp_path, capfd, monkeypatch):
    for name in BARS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"image": {"bytes": path.read_bytes(), "path": None}} for path in sorted(image_folder.glob("*.png"))]
    table = datasets.Dataset.from_list(rows, datasets.Features({"image": datasets.Image()}))
    datasets.enable_progress_bars()
    try:
        for quiet in (False, True):
            table.to_parquet(tmp_path / f"{quiet}.parquet")
            capfd.readouterr()
            show_messages(Shown(quiet=quiet))
            open_images(str(tmp_path / f"{quiet}.parquet"), 32)
            assert ("Generating train split" in capfd.readouterr().err) == (not quiet)
    finally:
        datasets.enable_progress_bars()
        huggingface_hub.utils.enable_progress_bars()
    assert [os.environ[name] for name in BARS] == ["1", "1"]  # for what is imported later


def test_print_results_wraps_nothing(capsys):
    print_results("y" * 300, f"{HOSTILE}.html")
    assert capsys.readouterr().out == f"{'y' * 300}\n{HOSTILE}.html\n"


def test_write_results_keeps_what_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ValueError, match=r"cannot write into .*; the results are in ") as caught:
        write_results(tmp_path / "out", lambda folder: (folder / "x.json").write_text("numbers"))
    (saved,) = tmp_path.glob("specmatch-*/x.json")
    assert saved.read_text() == "numbers"
    assert str(saved.parent) in str(caught.value)


def test_messages_and_results_escape_names(capsys):
    log.warning("skipped %s", "caf\udce9\x1b[31m")
    with progress_bar("caf\udce9") as report:
        report(1, 1)
    print_results("a\x1b[31m\nb")
    shown = capsys.readouterr()
    warning, done = shown.err.splitlines()
    assert warning == r"warning: skipped caf\xe9\x1b[31m"
    assert done.startswith(r"caf\xe9: 1 of 1")
    assert shown.out == "a\\x1b[31m\nb\n"


def test_draw_page_says_where_the_numbers_are_whatever_is_raised(tmp_path):
    assert draw_page(tmp_path / "report.html", lambda: "page", "x.json") == "page"
    message = r"report.html cannot be drawn \(ZeroDivisionError: .*\); the numbers are in x.json$"
    with pytest.raises(ValueError, match=message):
        write_page(tmp_path / "report.html", lambda: str(1 / 0), "x.json")
    assert not list(tmp_path.iterdir())
