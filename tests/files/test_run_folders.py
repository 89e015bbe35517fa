from pathlib import Path

import pytest

from spectrum_matching.files.run_folders import exported


def test_exported_is_the_export_of_a_run_and_any_other_path_itself(tmp_path):
    (tmp_path / "run" / "export").mkdir(parents=True)
    assert exported(tmp_path / "run") == tmp_path / "run"  # nothing says that it is a run
    (tmp_path / "run" / "run.yaml").write_text("steps: 7\n")
    assert exported(tmp_path / "run") == exported(tmp_path / "run" / "export") == tmp_path / "run" / "export"
    assert exported("owner/name") == Path("owner/name")


def test_exported_refuses_a_run_that_has_not_finished(tmp_path):
    (tmp_path / "run.yaml").touch()
    with pytest.raises(ValueError, match="holds an unfinished training: rerun the same command to finish it"):
        exported(tmp_path)


@pytest.mark.parametrize("record", ['{"step": 7}', '{"format": "", "training": {"step": 7}}'])
def test_exported_refuses_the_export_of_a_run_that_is_continued(tmp_path, record):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "specmatch.json").write_text(record)
    (tmp_path / "run.yaml").write_text("steps: 7\n")
    assert exported(tmp_path) == tmp_path / "export"
    (tmp_path / "run.yaml").write_text("steps: 100000\n")
    said = "run.yaml says 100000 steps, the export is of step 7; rerun the same command to finish it, or give .*export "
    with pytest.raises(ValueError, match=said):
        exported(tmp_path)
    assert exported(tmp_path / "export") == tmp_path / "export"
