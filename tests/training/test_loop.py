import io
import json
import os
import signal
from typing import NamedTuple

import pytest
import torch
from accelerate import Accelerator
from rich.console import Console

from spectrum_matching.training.loop import Log, drain


class Record(NamedTuple):
    step: int
    losses: dict[str, torch.Tensor]
    transform: str = "IdentityMap()"
    lr: float = 0.5
    gradient_norm: float = 2.0
    skipped: bool = False
    seconds: float = 0.5
    data_time: float = 0.125


def records(steps, **others):
    return (Record(step, {"l1": torch.tensor(step / 8), "esm": torch.tensor(1.0)}, **others) for step in steps)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def drained(tmp_path):
    """Drain records with 4 images a step; whether it finished, the log's lines, the screen."""

    def run(stream, steps, start=0, log_every=2, actions=(), terminal=True):
        screen = io.StringIO()
        log = Log(tmp_path / "log.jsonl", start)
        finished = drain(
            stream,
            title="training",
            start=start,
            steps=steps,
            batch_size=4,
            log=log,
            log_every=log_every,
            actions=actions,
            accelerator=Accelerator(),
            console=Console(file=screen, force_terminal=terminal, width=140, color_system=None),
        )
        log.close()
        return finished, lines(tmp_path / "log.jsonl"), screen.getvalue()

    return run


def test_every_so_many_steps_and_the_last_are_logged(drained):
    finished, log, _ = drained(records(range(1, 6)), 5)
    assert finished
    assert [line["step"] for line in log] == [2, 4, 5]
    del log[0]["time"]
    assert log[0] == {
        "step": 2,
        "images": 8,
        "l1": 0.25,
        "esm": 1.0,
        "lr": 0.5,
        "transform": "IdentityMap()",
        "gradient_norm": 2.0,
        "skipped": False,
        "images_per_second": 8.0,
        "waiting": 0.25,
    }


def test_the_bar_shows_speed_waiting_and_time_left(drained):
    _, _, screen = drained(records(range(1, 6)), 5)
    for shown in ("training", "5/5", "8.0 images/s", "25% waiting for data", "0:00:00"):
        assert shown in screen


def test_a_quiet_console_shows_nothing(capfd):
    assert drain(
        records(range(1, 3)),
        title="",
        start=0,
        steps=2,
        batch_size=1,
        log=None,
        log_every=1,
        actions=(),
        accelerator=Accelerator(),
        console=Console(quiet=True),
    )
    assert capfd.readouterr() == ("", "")


def test_a_skipped_step_is_logged_and_said(drained):
    bad = Record(3, {"l1": torch.tensor(float("nan"))}, gradient_norm=float("inf"), skipped=True)
    _, log, screen = drained([*records([1, 2]), bad, *records([4])], 4, log_every=4)
    assert [line["step"] for line in log] == [3, 4]
    assert (log[0]["skipped"], log[0]["l1"], log[0]["gradient_norm"]) == (True, None, None)
    assert "step 3 was not finite and changed nothing" in screen
    assert "1 steps skipped" in screen


def test_actions_are_due_at_their_steps_and_at_the_last(drained):
    called = []
    actions = tuple((every, lambda step, every=every: called.append((every, step))) for every in (2, 3, 0))
    drained(records(range(1, 6)), 5, actions=actions)
    assert called == [(2, 2), (3, 3), (2, 4), (2, 5), (3, 5)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_the_end_of_its_step_with_every_action_done(drained, number):
    def stream():
        for record in records(range(1, 9)):
            if record.step == 3:
                os.kill(os.getpid(), number)
            yield record

    before = signal.getsignal(number)
    called = []
    finished, _, _ = drained(stream(), 8, actions=((100, called.append),))
    assert not finished
    assert called == [3]
    assert signal.getsignal(number) == before


def test_a_signal_in_the_last_step_is_no_reason_to_stop(drained):
    def stream():
        os.kill(os.getpid(), signal.SIGTERM)
        yield from records([1])

    assert drained(stream(), 1)[0]


def test_a_second_signal_acts_at_once(drained):
    def stream():
        for record in records([1, 2]):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            yield record

    with pytest.raises(KeyboardInterrupt):
        drained(stream(), 2)


def test_a_log_is_cut_back_to_the_step_that_goes_on(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path, 0)
    for step in range(1, 6):
        log.write({"step": step})
    log.close()
    log = Log(path, 3)
    log.write({"step": 4, "again": True})
    log.close()
    assert lines(path) == [{"step": 1}, {"step": 2}, {"step": 3}, {"step": 4, "again": True}]


@pytest.mark.parametrize("cut", ['{"step": 2, "l1', "\0\0\0\0", "{"])
def test_a_line_cut_short_is_mended(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n' + cut)
    log = Log(path, 7)
    log.write({"step": 8})
    log.close()
    assert lines(path) == [{"step": 1}, {"step": 8}]
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_where_there_is_no_terminal_each_logged_step_is_a_line(drained):
    _, _, screen = drained(records(range(1, 5)), 4, terminal=False)
    said = [line for line in screen.splitlines() if line.startswith("step")]
    assert said[0] == "step 2 of 4: l1 0.25, esm 1, 8.0 images/s, 25% waiting for data, 0:00:01 left"
    assert len(said) == 2
