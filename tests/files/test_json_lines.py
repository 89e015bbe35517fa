import json
import logging

import pytest

from spectrum_matching.files.json_lines import append_json_line, keep_json_lines, read_json_lines

LINES = [{"step": step, "loss": step / 3} for step in range(1, 7)]


@pytest.fixture
def path(tmp_path):
    for line in LINES:
        append_json_line(tmp_path / "log.jsonl", line)
    return tmp_path / "log.jsonl"


def test_read_json_lines_reads_what_was_appended(path, caplog):
    assert read_json_lines(path) == LINES
    assert read_json_lines(path.with_name("none.jsonl")) == []
    assert not caplog.records


@pytest.mark.parametrize(
    "damaged", [b"null", b'"x"', b"3", b"[]", b"{", b"\xff\xfe", b"", b"[" * 100_000, b'{"loss": 1}', b'{"step": "3"}']
)
def test_read_json_lines_keeps_all_lines_but_the_damaged_and_names_it_once(path, caplog, damaged):
    lines = path.read_bytes().splitlines()
    lines[2] = damaged
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert read_json_lines(path, step=int) == LINES[:2] + LINES[3:]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"{path}: line 3 is damaged and left out"


def test_keep_json_lines_keeps_a_last_line_that_lacks_its_end_alone(path, caplog):
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert keep_json_lines(path) == LINES
    assert path.read_bytes() == content
    assert not caplog.records


@pytest.mark.parametrize("cut", [2, 10])
def test_keep_json_lines_deletes_a_cut_last_line_so_that_the_next_is_whole(path, caplog, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    assert keep_json_lines(path) == LINES[:-1]
    append_json_line(path, LINES[-1])
    assert read_json_lines(path) == LINES
    assert len(caplog.records) == 1


def test_keep_json_lines_keeps_the_bytes_of_what_it_keeps(path):
    content = path.read_bytes()
    assert keep_json_lines(path, lambda line: line["step"] <= 4) == LINES[:4]
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:4])
    before = path.stat().st_ino
    assert keep_json_lines(path, step=int) == LINES[:4]
    assert path.stat().st_ino == before  # nothing to delete, nothing written


def test_append_json_line_names_a_folder_that_was_deleted(tmp_path):
    with pytest.raises(ValueError, match=r"gone/log\.jsonl: No such file or directory; its folder has been deleted"):
        append_json_line(tmp_path / "gone" / "log.jsonl", {})


def test_read_json_lines_names_more_than_a_few_by_their_number(path, caplog):
    path.write_bytes(b"null\n" * 7 + json.dumps(LINES[0]).encode() + b"\n")
    assert read_json_lines(path) == LINES[:1]
    assert "7 lines (1, 2, 3, 4, 5, …) are damaged and left out" in caplog.text
