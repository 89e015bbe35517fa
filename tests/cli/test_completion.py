import shutil
import subprocess
from contextlib import redirect_stdout

import pytest

from spectrum_matching.cli.main import COMMANDS, main

TRY = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tyro_specmatch; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "specmatch"
    with path.open("w") as stream, redirect_stdout(stream):
        main(["completion", "bash"])
    return path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="completes in bash")
def test_completion_in_bash_of_paths_and_of_choices_without_none(script, tmp_path):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "phone.png").touch()
    for words, completed in (
        ("analyze ph", {"photographs", "phone.png"}),
        ("analyze x --split ''", {"train", "held_out", "all"}),
    ):
        code = TRY.format(script=script, words=f"specmatch {words}")
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert set(done.stdout.split()) == completed
    assert "complete -o filenames -F" in script.read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="completes in bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("''", set(COMMANDS)),
        ("an", {"analyze"}),
        ("evaluate gen", {"generation"}),
        ("evaluate generation --rec", {"--reconstructions"}),
        ("cache x --dtype fl", {"float16", "float32"}),
        ("train-ae tiny_dsm --method.ke", {"--method.keep"}),
    ],
)
def test_completion_in_bash(script, words, completed):
    code = TRY.format(script=script, words=f"specmatch {words}")
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert completed <= set(done.stdout.split()) <= completed | {"-h", "--help"}
