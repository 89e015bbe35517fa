"""Every command and program of README and of the pages runs as it is printed there, on small data."""

import os
import re
import shlex
import subprocess
import tomllib

import pytest

from pages_of_tests import (
    PAGES,
    PARSED_ONLY,
    ROOT,
    SMALLER,
    TESTED_ELSEWHERE,
    blocks,
    commands,
    give,
    make_things,
    parse,
    small_words,
)
from processes import launched
from spectrum_matching.cli.main import main

WITH_BLOCKS = sorted(
    page
    for page in {path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)}
    if any(language in ("bash", "console", "python") for language, _ in blocks(page))
)
AFTER = {"docs/checksums.md": "docs/latent_diffusion.md"}
"""Pages whose commands take what those of another leave, which runs before them, and not once more by itself."""


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    folder = tmp_path_factory.mktemp("things")
    make_things(folder)
    return folder


@pytest.fixture
def hub(things, monkeypatch):
    """The names of the hub that pages have lead to small models."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(things / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(things / "hub"))


def test_pages_name_the_language_of_every_block():
    for page in {path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)}:
        languages = {language for language, _ in blocks(page)}
        assert languages <= {"bash", "console", "python", "text", "yaml", "json", "bibtex"}, page


def test_every_exception_is_needed():
    shown = [command for page in WITH_BLOCKS for command in shell(page)]
    for pattern in PARSED_ONLY:
        assert [command for command in shown if re.search(pattern, command)], pattern
    for page, test in TESTED_ELSEWHERE.items():
        assert page.rpartition("/")[2] in (ROOT / test).read_text()


def shell(page):
    """The commands of a page, without the outputs of consoles. Scripts have tests of their own."""
    found = []
    for language, text in blocks(page):
        if language == "console":
            text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
        if language in ("bash", "console") and not text.startswith("#!"):
            found += commands(text)
    return found


def outputs(page):
    """What consoles of a page print, by command; "…" stands for lines that are left out."""
    found = {}
    for text in (text for language, text in blocks(page) if language == "console"):
        for each in text.removeprefix("$ ").split("\n$ "):
            command, *lines = each.strip().splitlines()
            found[command] = [line for line in lines if line != "…"]
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [page for page in WITH_BLOCKS if page not in AFTER.values()])
@pytest.mark.usefixtures("hub")
def test_page_runs_as_printed(page, things, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for each in filter(None, (AFTER.get(page), page)):
        shown = outputs(each)
        for command in shell(each):
            capfd.readouterr()
            ran = run(command, things, monkeypatch)
            printed = {line.split()[0] for line in "\n".join(capfd.readouterr()).splitlines() if line.strip()}
            if ran and shown.get(command):  # small settings print other numbers, and perhaps another verdict
                first = [line.split()[0] for line in shown[command]]
                assert 2 * len([word for word in first if word in printed]) > len(first), (command, printed)
        if each not in TESTED_ELSEWHERE:
            for text in (text for language, text in blocks(each) if language == "python"):
                give(re.findall(r'"([^"\n]*)"', text), things)
                exec(compile(text, each, "exec"), {"__name__": "program"})


def run(command, things, monkeypatch):
    """Run a command, small, in this process where it starts none; parse those of PARSED_ONLY. Return whether it ran."""
    words = shlex.split(command, comments=True)
    if any(re.search(pattern, command) for pattern in PARSED_ONLY):
        with monkeypatch.context() as patch:
            parse(words, patch)
        return False
    for old, new in SMALLER.items():
        words = shlex.split(shlex.join(words).replace(old, new))
    give(words, things)
    if words[0] == "specmatch":
        status = 0
        try:
            main(small_words(words[1:]))
        except SystemExit as end:
            status = end.code
        says = "--fail-on" in words or words[1] == "doctor"  # by its status what it found
        assert status in ((None, 0, 1) if says else (None, 0)), command
    elif words[0] == "torchrun":
        start = words.index("spectrum_matching") + 1
        done = launched("torch.distributed.run", *words[1:start], *small_words(words[start:]))
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    elif words[0] == "pip":
        extras = re.search(r"\[(.*?)\]", words[-1])
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extras[1].split(",") if extras else ()) <= set(known), command
    elif words[0] == "make":
        assert subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True).returncode == 0, command
    else:
        assert words[0] in ("cd", "mkdir", "cp"), f"say how this is tested: {command}"
        assert subprocess.run(command, shell=True, env=os.environ).returncode == 0, command
    return True
