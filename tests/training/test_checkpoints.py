import pytest

from spectrum_matching.files.atomic import write_aside, write_text_aside
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


def test_one_stays_whatever_is_asked(tmp_path):
    for step in (1, 2):
        run_directory.save_checkpoint(tmp_path, step, writer("x"), keep_last=0, keep_every=0)
    assert names(tmp_path) == ["0000002"]


def test_the_latest_is_found_by_number(tmp_path):
    assert run_directory.latest_checkpoint(tmp_path / "none yet") is None
    assert run_directory.latest_checkpoint(tmp_path) is None
    for name in ("9999999", "10000000", "0000002", ".99999999.writing", "99999999 copy"):
        (tmp_path / name).mkdir()
    (tmp_path / "99999999").write_text("no folder")
    assert run_directory.latest_checkpoint(tmp_path) == tmp_path / "10000000"


def test_what_killed_runs_left_is_no_checkpoint_and_goes_with_the_next_save(tmp_path):
    run_directory.save_checkpoint(tmp_path, 3, writer("whole"), keep_last=2, keep_every=0)
    for name in (".0000004.writing", ".0000001.removing", ".0000007.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state").write_text("half")
    assert run_directory.latest_checkpoint(tmp_path) == tmp_path / "0000003"
    run_directory.save_checkpoint(tmp_path, 4, writer("new"), keep_last=2, keep_every=0)
    assert names(tmp_path) == ["0000003", "0000004"]
    assert (tmp_path / "0000004" / "state").read_text() == "new"


@pytest.mark.parametrize("error", [OSError("full"), RuntimeError("torch's"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, error):
    def fail(folder):
        (folder / "state").write_text("half")
        raise error

    write_aside(tmp_path / "export", writer("whole"))
    with pytest.raises(type(error)):
        write_aside(tmp_path / "export", fail)
    assert names(tmp_path) == ["export"]
    assert (tmp_path / "export" / "state").read_text() == "whole"


def test_writing_aside_replaces_the_whole_folder(tmp_path):
    write_aside(tmp_path / "export", lambda folder: (folder / "old").mkdir())
    write_aside(tmp_path / "export", writer("new"))
    assert names(tmp_path / "export") == ["state"]


def test_text_is_replaced_whole(tmp_path):
    target = tmp_path / "run.yaml"
    for text in ("one", "ü"):
        write_text_aside(target, text)
        assert target.read_text(encoding="utf-8") == text
    assert names(tmp_path) == ["run.yaml"]
