"""The trainers of examples/, run for two steps, and the page that shows how to write one."""

import inspect
import math
import re
from pathlib import Path

import pytest

from files_of_tests import loaded

ROOT = Path(__file__).parents[1]
TRAINERS = sorted((ROOT / "examples").glob("train_*.py"))
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def test_trainers_are_short_and_name_the_lines_that_they_add():
    assert [path.stem for path in TRAINERS] == ["train_accelerate", "train_diffusers", "train_lightning", "train_plain"]
    assert all(len(path.read_text().splitlines()) < 60 for path in TRAINERS)
    assert len(re.findall(r"# added$", TRAINERS[1].read_text(), flags=re.MULTILINE)) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", TRAINERS, ids=lambda path: path.stem)
def test_trainers_train_and_log(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = loaded(path)
    options = {"every": 2} if "every" in inspect.signature(module.main).parameters else {}
    history = module.main(steps=2, **options, **(QUIET if path.stem == "train_lightning" else {}))
    expected = {"val/psnr", "val/best_delta", "val/lowpass_gap"} if options else {"rec_loss", "esm_loss"}
    assert expected <= history[-1].keys()
    assert all(math.isfinite(history[-1][name]) for name in expected)


def test_page_on_training_loops_runs_as_printed():
    page = (ROOT / "docs" / "training_loops.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    scope = {"__name__": "page"}
    for number, program in enumerate(programs):
        exec(compile(program, f"block {number}", "exec"), scope)
    assert len(programs) == 4
    assert scope["model"].encoder.weight.grad.isfinite().all()
    assert scope["loss"].isfinite()
    assert all(name.startswith("val/") for name in scope["logged"])
