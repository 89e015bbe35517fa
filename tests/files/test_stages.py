import json
import multiprocessing
import os
import time

import pytest

from spectrum_matching.files.stages import UnfinishedError, read_finished_stage, run_stage, stage_folder


def test_run_stage_runs_once(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder)
        return {"weights": "abc"}

    first = run_stage(tmp_path, "train", {"steps": 3}, work)
    again = run_stage(tmp_path, "train", {"steps": 3}, work)
    assert first == again
    assert calls == [first.folder]
    assert first.folder == stage_folder(tmp_path, "train", {"steps": 3})
    assert (first.outputs, first.folder.name) == ({"weights": "abc"}, f"train-{first.digest}")
    assert json.loads((first.folder / "stage.json").read_text())["stage"]["inputs"] == {"steps": 3}


def test_run_stage_overwrites_nothing_for_other_inputs(tmp_path):
    one = run_stage(tmp_path, "train", {"steps": 3}, lambda folder: {"n": 3})
    other = run_stage(tmp_path, "train", {"steps": 4}, lambda folder: {"n": 4})
    assert one.folder != other.folder
    assert run_stage(tmp_path, "train", {"steps": 3}, pytest.fail).outputs == {"n": 3}


def test_stage_folder_ignores_the_order_of_inputs(tmp_path):
    assert stage_folder(tmp_path, "a", {"x": 1, "y": [2]}) == stage_folder(tmp_path, "a", {"y": [2], "x": 1})


def test_run_stage_resumes_after_an_error_and_adds_up_its_time(tmp_path):
    def fails(folder):
        (folder / "half").write_text("done")
        time.sleep(0.2)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run_stage(tmp_path, "train", {}, fails)
    with pytest.raises(UnfinishedError, match="train"):
        read_finished_stage(tmp_path, "train", {}, fails)
    done = run_stage(tmp_path, "train", {}, lambda folder: {"found": (folder / "half").read_text()})
    assert done.outputs == {"found": "done"}
    assert done.seconds >= 0.2
    assert read_finished_stage(tmp_path, "train", {}, pytest.fail) == done


def enter(parent):
    def work(folder):
        (folder / f"began-{os.getpid()}").touch()
        time.sleep(0.5)
        return {"by": os.getpid()}

    run_stage(parent, "train", {}, work)


def test_run_stage_excludes_other_processes(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=enter, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list(stage_folder(tmp_path, "train", {}).glob("began-*"))) == 1


def write_scores(folder):
    (folder / "run").mkdir()
    (folder / "run" / "log.jsonl").write_text('{"step": 1}\n')
    (folder / "scores.json").write_text('{"fid": 12.5}')
    (folder / "weights.bin").write_bytes(b"carries a checksum of its own")
    return {"weights": "abc"}


@pytest.mark.parametrize("name", ["stage.json", "scores.json", "run/log.jsonl"])
def test_stage_notices_a_changed_digit_in_its_record_and_documents(tmp_path, name):
    done = run_stage(tmp_path, "score", {"n": 3}, write_scores)
    path = done.folder / name
    text = path.read_text()
    path.write_text(text.replace("3", "4", 1) if "3" in text else text.replace("1", "2"))
    for read in (run_stage, read_finished_stage):
        with pytest.raises(ValueError, match=rf"{name} is damaged: .*; delete the folder of the stage, then the same"):
            read(tmp_path, "score", {"n": 3}, pytest.fail)
    path.write_text(text)
    assert run_stage(tmp_path, "score", {"n": 3}, pytest.fail) == done


@pytest.mark.parametrize("content", ["", "null", "{}", "[" * 100_000, "x"])
def test_stage_names_a_record_that_is_damaged(tmp_path, content):
    done = run_stage(tmp_path, "score", {}, write_scores)
    (done.folder / "stage.json").write_text(content)
    with pytest.raises(ValueError, match=r"stage\.json is .*; delete the folder of the stage") as caught:
        run_stage(tmp_path, "score", {}, pytest.fail)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"null", b"\xff"])
def test_run_stage_goes_on_where_the_time_of_earlier_attempts_is_lost(tmp_path, caplog, content):
    folder = stage_folder(tmp_path, "train", {})
    folder.mkdir()
    (folder / "seconds").write_bytes(content)
    assert run_stage(tmp_path, "train", {}, write_scores).outputs == {"weights": "abc"}
    assert "seconds cannot be read" in caplog.text
    assert not (folder / "seconds").exists()
