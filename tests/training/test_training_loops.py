"""The programs of docs/training_loops.md, run as they are printed there."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "training_loops.md").read_text()
PROGRAMS = re.findall(r"## ([^\n]+)\n+```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_training_loops_page_has_two_programs():
    assert [title for title, _ in PROGRAMS] == ["A loop with diffusers and Accelerate", "A callback for Lightning"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("title", "program"), PROGRAMS)
def test_training_loops_page_programs_log_the_numbers(title, program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "program"}
    exec(compile(program, title, "exec"), scope)
    assert scope["history"]
    for logged in scope["history"]:
        assert {"best_delta", "sec_25", "psnr", "lowpass_gap"} <= logged.keys()
