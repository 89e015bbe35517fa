import json
import os
import signal

import pytest
import torch
from accelerate import Accelerator

from spectrum_matching.data.images import BadFile
from spectrum_matching.files.signals import ENDING
from spectrum_matching.training.autoencoder_config import AutoencoderRun, Intervals
from spectrum_matching.training.optimization import StepRecord
from spectrum_matching.training.run_directory import report_bad_files, run_loop


def record(step, losses, **others):
    values = {"transform": "IdentityMap()", "lr": 0.5, "gradient_norm": 2.0, "skipped": False}
    return StepRecord(step, losses, **values | {"seconds": 0.5, "data_time": 0.125} | others)


def records(steps):
    return (record(step, {"l1": torch.tensor(step / 8), "esm": torch.tensor(1.0)}) for step in steps)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run(tmp_path, caplog):
    """Run a loop over records with 4 images a step; return the signal that stopped it, the log, the messages."""

    def run(stream, steps, log_every=2, actions=(), progress=None):
        log = tmp_path / "log.jsonl"
        caplog.set_level("INFO", "spectrum_matching")
        settings = AutoencoderRun(steps=steps, batch_size=4, intervals=Intervals(log=log_every))
        stopped_by = run_loop(settings, stream, log, actions, Accelerator(), progress)
        return stopped_by, lines(log), caplog.messages

    return run


def test_run_loop_logs_every_so_many_steps_and_the_last(run):
    stopped_by, log, _ = run(records(range(1, 6)), 5)
    assert stopped_by == 0
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


def test_run_loop_reports_progress_step_by_step(run):
    reported = []
    run(records(range(3, 6)), 5, progress=lambda *numbers: reported.append(numbers))
    assert reported == [(3, 5), (4, 5), (5, 5)]


def test_run_loop_logs_and_reports_a_skipped_step(run):
    bad = record(3, {"l1": torch.tensor(float("nan"))}, gradient_norm=float("inf"), skipped=True)
    _, log, messages = run([*records([1, 2]), bad, *records([4])], 4, log_every=4)
    assert [line["step"] for line in log] == [3, 4]
    assert (log[0]["skipped"], log[0]["l1"], log[0]["gradient_norm"]) == (True, None, None)
    assert messages[0] == "step 3 was not finite and changed nothing"


def test_run_loop_calls_actions_at_their_steps_and_at_the_last(run):
    called = []
    actions = tuple((every, lambda step, every=every: called.append((every, step))) for every in (2, 3, 0))
    run(records(range(1, 6)), 5, actions=actions)
    assert called == [(2, 2), (3, 3), (2, 4), (2, 5), (3, 5)]


@pytest.mark.usefixtures("signals_not_ignored")
@pytest.mark.parametrize("number", ENDING)
def test_run_loop_stops_at_a_signal_after_the_step_and_its_actions(run, number):
    def stream():
        for record in records(range(1, 9)):
            if record.step == 3:
                os.kill(os.getpid(), number)
            yield record

    before = signal.getsignal(number)
    called = []
    stopped_by, _, _ = run(stream(), 8, actions=((100, called.append),))
    assert stopped_by == number
    assert called == [3]
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("signals_not_ignored")
def test_run_loop_finishes_despite_a_signal_in_the_last_step(run):
    def stream():
        os.kill(os.getpid(), signal.SIGTERM)
        yield from records([1])

    assert run(stream(), 1)[0] == 0


@pytest.mark.usefixtures("signals_not_ignored")
def test_run_loop_is_interrupted_by_a_second_signal(run):
    def stream():
        for record in records([1, 2]):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            yield record

    with pytest.raises(KeyboardInterrupt):
        run(stream(), 2)


def test_report_bad_files_names_each_once_and_again_none_of_an_earlier_run(tmp_path, caplog):
    stream = [
        record(1, {}, bad_files=(BadFile("a.png", "empty"),)),
        record(2, {}, bad_files=(BadFile("b.png", "cut"),)),
    ]
    assert list(report_bad_files(iter(stream), tmp_path)) == stream
    assert [line["name"] for line in lines(tmp_path / "bad_files.jsonl")] == ["a.png", "b.png"]
    path = tmp_path / "bad_files.jsonl"
    path.write_bytes(b"null\n" + path.read_bytes().splitlines(keepends=True)[1])
    caplog.clear()
    list(report_bad_files(iter(stream), tmp_path))
    assert caplog.messages == [f"{path}: line 1 is damaged and left out", "skipped a.png: empty (2 so far)"]


def test_run_loop_logs_losses_speed_and_time_left(run):
    _, _, messages = run(records(range(1, 5)), 4)
    assert messages[0] == "step 2 of 4: l1 0.25, esm 1, 8.0 images/s, 25% waiting for data, 0:00:01 left"
    assert len(messages) == 2
