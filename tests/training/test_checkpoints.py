import multiprocessing

from spectrum_matching.files.atomic import HOST
from spectrum_matching.training import run_directory


def writer(text):
    return lambda folder: (folder / "state").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_and_every_mth_stay(tmp_path):
    for step in range(1, 11):
        made = run_directory.save_checkpoint(tmp_path, step, writer(str(step)), keep_last=2, keep_every=4)
        assert made == run_directory.latest_checkpoint(tmp_path)
    assert names(tmp_path) == ["0000004", "0000008", "0000009", "0000010"]
    assert [(tmp_path / name / "state").read_text() for name in names(tmp_path)] == ["4", "8", "9", "10"]


def test_the_latest_is_found_by_number(tmp_path):
    assert run_directory.latest_checkpoint(tmp_path / "none yet") is None
    assert run_directory.latest_checkpoint(tmp_path) is None
    for name in ("9999999", "10000000", "0000002", ".99999999.written.0-1.partial", "99999999 copy"):
        (tmp_path / name).mkdir()
    (tmp_path / "99999999").write_text("no folder")
    assert run_directory.latest_checkpoint(tmp_path) == tmp_path / "10000000"


def test_save_checkpoint_deletes_leftovers_of_killed_runs(tmp_path):
    killed = multiprocessing.get_context("fork").Process(target=int)
    killed.start()
    killed.join()
    run_directory.save_checkpoint(tmp_path, 3, writer("whole"), keep_last=2, keep_every=0)
    for name in ("0000004.written", "0000001.removed", "0000007.written"):
        leftover = tmp_path / f".{name}.{HOST}-{killed.pid}.partial"
        leftover.mkdir()
        (leftover / "state").write_text("half")
    assert run_directory.latest_checkpoint(tmp_path) == tmp_path / "0000003"
    run_directory.save_checkpoint(tmp_path, 4, writer("new"), keep_last=2, keep_every=0)
    assert names(tmp_path) == ["0000003", "0000004"]
    assert (tmp_path / "0000004" / "state").read_text() == "new"
