import json
import multiprocessing
import os
import time

import pytest

from spectrum_matching.files.stages import UnfinishedError, finished, folder_of, stage


def test_a_stage_is_done_once(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder)
        return {"weights": "abc"}

    first = stage(tmp_path, "train", {"steps": 3}, work)
    again = stage(tmp_path, "train", {"steps": 3}, work)
    assert first == again
    assert calls == [first.folder]
    assert first.folder == folder_of(tmp_path, "train", {"steps": 3})
    assert (first.outputs, first.folder.name) == ({"weights": "abc"}, f"train-{first.digest}")
    assert json.loads((first.folder / "stage.json").read_text())["inputs"] == {"steps": 3}


def test_other_inputs_get_another_folder_and_overwrite_nothing(tmp_path):
    one = stage(tmp_path, "train", {"steps": 3}, lambda folder: {"n": 3})
    other = stage(tmp_path, "train", {"steps": 4}, lambda folder: {"n": 4})
    assert one.folder != other.folder
    assert stage(tmp_path, "train", {"steps": 3}, pytest.fail).outputs == {"n": 3}


def test_the_order_of_inputs_decides_nothing(tmp_path):
    assert folder_of(tmp_path, "a", {"x": 1, "y": [2]}) == folder_of(tmp_path, "a", {"y": [2], "x": 1})


def test_a_stage_that_failed_goes_on_in_its_folder_and_counts_all_its_time(tmp_path):
    def fails(folder):
        (folder / "half").write_text("done")
        time.sleep(0.2)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        stage(tmp_path, "train", {}, fails)
    with pytest.raises(UnfinishedError, match="train"):
        finished(tmp_path, "train", {}, fails)
    done = stage(tmp_path, "train", {}, lambda folder: {"found": (folder / "half").read_text()})
    assert done.outputs == {"found": "done"}
    assert done.seconds >= 0.2
    assert finished(tmp_path, "train", {}, pytest.fail) == done


def enter(parent):
    def work(folder):
        (folder / f"began-{os.getpid()}").touch()
        time.sleep(0.5)
        return {"by": os.getpid()}

    stage(parent, "train", {}, work)


def test_processes_that_come_to_one_stage_take_turns(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=enter, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list(folder_of(tmp_path, "train", {}).glob("began-*"))) == 1
