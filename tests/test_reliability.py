"""The campaigns of experiments/reliability find what they look for, shown on commands that are wrong on purpose."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from random import Random

import pytest

CAMPAIGNS = Path(__file__).parents[1] / "experiments" / "reliability"


@pytest.fixture(scope="module", autouse=True)
def campaigns():
    """Let the campaigns import each other, as they do when they run."""
    sys.path.insert(0, str(CAMPAIGNS))
    yield
    sys.path.remove(str(CAMPAIGNS))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def write(path, text):
    """Write a file in one step that no kill divides."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def careful(out):
    """A command of three files that resumes."""
    for number in range(3):
        write(out / f"{number}.txt", "whole")


def careless(out):
    """A command that takes a file which a killed one has begun for finished."""
    for number in range(3):
        if not (out / f"{number}.txt").exists():
            (out / f"{number}.txt").touch()
            (out / f"{number}.txt").write_text("whole")


def test_run_reports_how_a_child_ended(out):
    from forked import run

    out.mkdir()
    assert run(lambda: [1]).value == [1]
    assert run(lambda: sys.exit(3)).code == 3
    assert "ZeroDivisionError" in run(lambda: 1 / 0).output
    assert run(lambda: time.sleep(30), timeout=0.2).timed_out
    assert run(lambda: time.sleep(30), kill_after=0.1).signal == signal.SIGKILL
    assert run(lambda: careful(out), watched=out).operations == 6
    assert run(lambda: (out / "3.txt").write_text("cut"), watched=out, kill_operation=1).signal == signal.SIGKILL
    assert sorted(path.name for path in out.iterdir()) == ["0.txt", "1.txt", "2.txt"]


def test_complaint_is_of_everything_but_success_and_one_line():
    from campaign import complaint
    from forked import Result

    line = "specmatch cache: no such folder\n"
    assert complaint(Result(0, None, "", 1.0)) is None
    assert complaint(Result(2, None, f"a message\n{line}", 1.0)) is None
    assert complaint(Result(2, None, "an error", 1.0)) == "unclear message"
    assert complaint(Result(2, None, line + line, 1.0)) == "unclear message"
    assert complaint(Result(1, None, line, 1.0)) == "unclear message"
    assert complaint(Result(0, None, "Traceback (most recent call last):", 1.0)) == "traceback"
    assert complaint(Result(None, 9, "", 1.0, timed_out=True)) == "hang"
    assert complaint(Result(None, 11, "", 1.0)) == "died of signal 11"


def test_kills_reports_commands_that_lose_bytes(out):
    from kills import killed
    from undisturbed import undisturbed

    halfway = [(True, 0.6)]
    assert killed(undisturbed(lambda: careful(out), out), halfway).name == "same bytes"
    outcome = killed(undisturbed(lambda: careless(out), out), halfway)
    assert outcome.failed
    assert outcome.detail.endswith("different 1.txt")
    assert outcome.weight == 1


def test_undisturbed_refuses_commands_that_differ_from_themselves(out):
    from undisturbed import undisturbed

    with pytest.raises(RuntimeError, match=r"differs from itself: \['different 0\.txt"):
        undisturbed(lambda: write(out / "0.txt", str(os.getpid())), out)


@pytest.mark.slow
def test_pairs_report_mixed_output(out):
    from pairs import pair
    from undisturbed import undisturbed

    def wait_until(condition):
        """Wait for the other command of a pair, and not for ever where there is none."""
        deadline = time.monotonic() + 1.5
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)

    def slow():
        write(out / "0.txt", "slow")
        wait_until(lambda: (out / "0.txt").read_text() == "quick")
        write(out / "1.txt", "slow")

    def quick():
        wait_until((out / "0.txt").exists)
        for number in range(2):
            write(out / f"{number}.txt", "quick")

    def refusing():
        wait_until(lambda: any(out.iterdir()))
        if any(out.iterdir()):
            print(f"specmatch sample: {out} is in use", file=sys.stderr)
            sys.exit(2)
        slow()

    one, other, locked = (undisturbed(command, out) for command in (slow, quick, refusing))
    mixed = pair(one, other, delay=0.4)
    assert (mixed.name, mixed.failed) == ("other bytes", True)
    assert mixed.detail.endswith("different 0.txt")
    assert pair(one, one, delay=0.4).name == "both succeeded, right bytes"
    refused = pair(one, locked, delay=0.4)
    assert (refused.name, refused.failed) == ("one succeeded, right bytes, the other refused", False)


def test_reader_tells_silence_from_a_word(out):
    from damage import damages
    from readers import Reader

    def prepare(folder):
        (folder / "numbers.json").write_text('{"a": 1}')

    def silent():
        (out / "result").write_bytes((out / "numbers.json").read_bytes())

    def loud():
        try:
            json.loads((out / "numbers.json").read_bytes())
        except ValueError:
            print(f"specmatch report: {out}/numbers.json is damaged", file=sys.stderr)
            sys.exit(2)

    readers = [Reader(command.__name__, out, prepare, command) for command in (silent, loud)]
    assert [reader.read("numbers.json", b"{").name for reader in readers] == [
        "other result without a word",
        "refused by name",
    ]
    assert not readers[0].read("numbers.json", b'{"a": 1}').failed
    assert readers[1].read("numbers.json", b'{"a": 2}').name == "same result, the file was not read"
    content = b'{"a": 1, "b": [2, "x"]}'
    assert all(damaged != content for _, damaged in damages(content, ".json", Random(0)))


def test_fuzz_blames_the_input_that_ended_a_child(tmp_path, monkeypatch):
    import fuzz
    from campaign import Outcome
    from scenes import Scenes

    def judge(scenes, random):
        if random.random() < 0.2:
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome("an image")

    monkeypatch.setitem(fuzz.KINDS, "images", (lambda scenes: None, judge, 50))
    *before, last = fuzz._all(Scenes(tmp_path), "images", "seed")
    assert 0 < len(before) < 49
    assert last.failed
    assert last.name == "ended by signal 9"


def test_run_trials_goes_on_and_names_no_folder(tmp_path):
    from campaign import Outcome, Trial, run_trials

    done = []

    def trials():
        for number in range(9):
            outcome = Outcome("other bytes" if number == 1 else "same bytes", number == 1, f"{tmp_path}/x", weight=2)
            yield Trial("cache", f"kill {number}", lambda n=number, o=outcome: done.append(n) or o)

    place = tmp_path / "journal.jsonl", {str(tmp_path): "WORK"}
    run_trials(trials(), 4, *place)
    result = run_trials(trials(), 8, *place)
    assert done == [0, 1, 2, 3]
    assert result["count"] == 8
    assert result["verbs"] == {"cache": {"other bytes": 2, "same bytes": 6}}
    assert result["failures"] == [{"verb": "cache", "what": "kill 1", "outcome": "other bytes", "detail": "WORK/x"}]
