import multiprocessing

import torch

from spectrum_matching.files.atomic import HOST
from spectrum_matching.training import run_directory


def save(folder, step, keep_last=2, keep_every=0, value="whole"):
    run_directory.save_checkpoint(folder, step, {"value": value})
    run_directory.discard_checkpoints(folder, keep_last, keep_every)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_save_checkpoint_keeps_the_newest_and_every_mth(tmp_path):
    for step in range(1, 11):
        save(tmp_path, step, keep_every=4, value=step)
        assert run_directory.checkpoints(tmp_path)[-1].name == f"{step:07d}"
    assert names(tmp_path) == ["0000004", "0000008", "0000009", "0000010"]
    assert [torch.load(tmp_path / name / "state.pt")["value"] for name in names(tmp_path)] == [4, 8, 9, 10]


def test_checkpoints_are_sorted_by_number_and_complete(tmp_path):
    assert run_directory.checkpoints(tmp_path / "none yet") == []
    assert run_directory.checkpoints(tmp_path) == []
    for name in ("9999999", "10000000", "0000002", ".99999999.written.00000000-1-00000000-1.partial", "99999999 copy"):
        (tmp_path / name).mkdir()
    (tmp_path / "99999999").write_text("no folder")
    assert [path.name for path in run_directory.checkpoints(tmp_path)] == ["0000002", "9999999", "10000000"]


def test_save_checkpoint_deletes_leftovers_of_killed_runs(tmp_path):
    killed = multiprocessing.get_context("fork").Process(target=int)
    killed.start()
    killed.join()
    save(tmp_path, 3)
    for name in ("0000004.written", "0000001.removed", "0000007.written"):
        leftover = tmp_path / f".{name}.{HOST}-{killed.pid}-00000000-1.partial"
        leftover.mkdir()
        (leftover / "state.pt").write_text("half")
    assert run_directory.checkpoints(tmp_path) == [tmp_path / "0000003"]
    save(tmp_path, 4, value="new")
    assert names(tmp_path) == ["0000003", "0000004"]
    assert torch.load(tmp_path / "0000004" / "state.pt")["value"] == "new"
