import os

import pytest
import torch
from safetensors.torch import save_file

from spectrum_matching.files.atomic import HOST
from spectrum_matching.files.outputs import (
    first_content,
    is_product,
    require_own_folder,
    require_replaceable,
    require_result_folder,
)
from spectrum_matching.files.stages import require_stage_folder, run_stage

OURS = {
    "scores.json": '{\n "format": "specmatch-scores-2",\n "evaluations": []}',
    "report.html": '<!doctype html>\n<meta charset="utf-8">\n<meta name="generator" content="specmatch">',
    "run.yaml": "steps: 1",
}
FOREIGN = {
    "scores.json": '{"format": "theirs"}',
    "report.html": "<!doctype html><p>specmatch",
    "notes.txt": '"format": "specmatch-scores-2"',
    "empty.json": "",
}


@pytest.mark.parametrize("name", OURS)
def test_is_product_knows_our_files(tmp_path, name):
    (tmp_path / name).write_text(OURS[name])
    assert is_product(tmp_path / name)


@pytest.mark.parametrize("name", FOREIGN)
def test_is_product_knows_no_others(tmp_path, name):
    (tmp_path / name).write_text(FOREIGN[name])
    assert not is_product(tmp_path / name)


@pytest.mark.parametrize("name", ["report.html", "scores.json", "run.yaml"])
def test_is_product_opens_files_alone(tmp_path, name):
    assert not is_product(tmp_path / name)
    (tmp_path / name).mkdir()
    assert not is_product(tmp_path / name)
    os.mkfifo(tmp_path / f"pipe-{name}")
    assert not is_product(tmp_path / f"pipe-{name}")


def test_is_product_tells_references_from_weights(tmp_path):
    tensors = {"a": torch.zeros(2)}
    save_file(tensors, tmp_path / "r.safetensors", {"specmatch": "{}"})
    save_file(tensors, tmp_path / "w.safetensors", {"format": "pt"})
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 64)
    assert [is_product(tmp_path / f"{name}.safetensors") for name in "rwx"] == [True, False, False]


def test_require_replaceable_keeps_what_is_not_ours(tmp_path):
    path = tmp_path / "scores.json"
    require_replaceable(path)
    path.write_text(OURS["scores.json"])
    require_replaceable(path)
    path.write_text(FOREIGN["scores.json"])
    for overwrite, remedy in ((None, "choose another --out$"), (False, "choose another --out, or --overwrite$")):
        with pytest.raises(ValueError, match=f"scores.json exists and was not written by specmatch: {remedy}"):
            require_replaceable(path, overwrite)
    require_replaceable(path, overwrite=True)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is a folder, expected the name of a file"):
            require_replaceable(tmp_path, overwrite)


def test_first_content_passes_over_what_keeps_or_uses_an_empty_folder(tmp_path):
    assert first_content(tmp_path / "absent") is None
    for name in (".gitkeep", ".out.lock", ".lock", f".run.yaml.written.{HOST}-1-00000000-0.partial"):
        (tmp_path / name).touch()
    (tmp_path / "samples" / "deep").mkdir(parents=True)
    assert first_content(tmp_path) is None
    (tmp_path / "samples" / "deep" / "thesis.txt").touch()
    assert first_content(tmp_path) == tmp_path / "samples" / "deep" / "thesis.txt"


def test_require_own_folder_names_what_is_there(tmp_path):
    require_own_folder(tmp_path, lambda: False)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"holds project/thesis.txt and nothing that specmatch wrote: choose another"):
        require_own_folder(tmp_path, lambda: False)
    require_own_folder(tmp_path, lambda: True)


def test_require_result_folder_takes_a_folder_with_results_in_it(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"holds notes.txt and nothing that specmatch wrote"):
        require_result_folder(tmp_path, ("analysis.json", "report.html"))
    require_result_folder(tmp_path, ("analysis.json", "report.html"), overwrite=True)
    (tmp_path / "scores.json").write_text(OURS["scores.json"])
    require_result_folder(tmp_path, ("analysis.json", "report.html"))
    (tmp_path / "report.html").write_text(FOREIGN["report.html"])
    with pytest.raises(ValueError, match=r"report.html exists and was not written by specmatch"):
        require_result_folder(tmp_path, ("analysis.json", "report.html"))


def test_require_stage_folder_takes_a_folder_of_stages(tmp_path):
    plan, results = tmp_path / "plan", ("comparison.json", "report.html")
    require_stage_folder(plan, results)
    with pytest.raises(KeyboardInterrupt):
        run_stage(plan / "entry" / "seed0", "train", {}, interrupted)
    require_stage_folder(plan, results)
    (tmp_path / "project" / "train").mkdir(parents=True)
    (tmp_path / "project" / "train" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"project holds train/thesis.txt and nothing that specmatch wrote"):
        require_stage_folder(tmp_path / "project", results)


def interrupted(folder):
    (folder / "half").touch()
    raise KeyboardInterrupt
