"""Every command's --help and examples, and the options that all of them have."""

import json
import re
import shlex
import shutil
from functools import wraps
from importlib import import_module

import docstring_parser
import pytest

from spectrum_matching.cli.main import COMMANDS
from spectrum_matching.files.yaml_files import to_yaml
from spectrum_matching.training import autoencoder_config, diffusion_config

FUNCTIONS = [(name, each) for name, (_, *functions) in COMMANDS.items() for each in functions]
WORDS = [[name] if len(COMMANDS[name]) == 2 else [name, each] for name, each in FUNCTIONS]
OPTION = re.compile(
    r"(?:--?[\w.-]+(?:, )?)*(?: ?(?:[A-Z_]+|\{[^}]*\}))*(?: \.\.\.)? (?P<words>.*?)"
    r" ?(?P<hint>\((?:required|optional|default: .*)\))"
)


def module_of(name):
    return import_module(f"spectrum_matching.cli.{name.replace('-', '_')}")


def function_of(name, function):
    return getattr(module_of(name), function.replace("-", "_"))


def examples(function):
    """The command lines in a docstring, without what the shell does of them."""
    text = docstring_parser.parse(function.__doc__).long_description or ""
    return [shlex.split(line.split(" > ")[0])[1:] for line in re.findall(r"^ +(specmatch .*)$", text, re.MULTILINE)]


def options_of(text):
    """The options and arguments in the boxes of a help, each on one line."""
    found = []
    for line in text.splitlines():
        if line.startswith("│ ") and re.match(r"│ (-|[A-Z]{2})", line) and "help" not in line.split()[1:3]:
            found.append("")
        if line.startswith("│ ") and found:
            found[-1] += f" {line.strip('│ ')}"
        if line.startswith("╭"):
            found.append("")
    return [" ".join(each.split()) for each in found if re.match(r" *(--|[A-Z]{2,}\b)", each)]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_help_has_words_and_a_default_for_every_option_and_an_example(specmatch, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, err = specmatch(*words, "--help")
    assert (status, err) == (0, "")
    assert f"    specmatch {' '.join(words)}" in out.partition("╭")[0]
    options = options_of(out)
    assert len(options) >= 2  # --json and --quiet
    for option in options:
        shown = OPTION.fullmatch(option)
        assert shown, option
        assert re.search(r"[a-z]{2}", shown["words"]), option
        assert "None" not in option, option
        assert shown["hint"] != "(default: none)" or "{none," in option, option
        if re.match(r"[A-Z]+ \.\.\. ", option):  # of names, one is needed
            assert shown["hint"] == "(required)", option


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_examples_are_command_lines_that_parse(specmatch, monkeypatch, tmp_path, name, function):
    monkeypatch.chdir(tmp_path)
    for run in (autoencoder_config.tiny(), diffusion_config.tiny()):
        folder = tmp_path / "runs" / run.name.removeprefix("tiny_").replace("autoencoder", "tiny")
        folder.mkdir(parents=True)
        (folder / "run.yaml").write_text(to_yaml(run))
    original, called = function_of(name, function), []

    @wraps(original)
    def recorded(*arguments, **options):
        called.append(options)

    monkeypatch.setattr(module_of(name), function.replace("-", "_"), recorded)
    lines = examples(original)
    assert lines
    for words in lines:
        assert words[: min(2, len(COMMANDS[name]) - 1)] in ([name], [name, function]), words
        assert specmatch(*words)[0] == 0, words
    assert len(called) == len(lines)


DRY = [
    words
    for name, function in FUNCTIONS
    for words in examples(function_of(name, function))
    if words[:2] in (["train-ae", "tiny_dsm"], ["compare", "embedded"], ["study", "frequency-bias"])
]


@pytest.mark.slow
@pytest.mark.parametrize("words", DRY, ids=" ".join)
def test_examples_on_embedded_images_pass_a_dry_run(specmatch, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    status, _, err = specmatch(*words, *([] if "--dry-run" in words else ["--dry-run"]))
    assert (status, not list(tmp_path.iterdir())) == (0, True), err


def test_help_of_a_preset_shows_its_values(specmatch):
    _, out, _ = specmatch("train-ae", "tiny_dsm", "--help")
    assert "PRESET" in out
    assert "(default: dsm)" in out


def test_json_and_quiet_leave_one_object_on_standard_output(specmatch, small_autoencoder, class_folder, tmp_path):
    words = ("cache", small_autoencoder, "--data", class_folder, "--size", 32, "--out", tmp_path / "latents")
    status, out, err = specmatch(*words, "--json", "--quiet")
    assert (status, json.loads(out), err) == (0, {"path": str(tmp_path / "latents")}, "")
    status, out, err = specmatch("check", tmp_path / "latents", "--json")
    (product,) = json.loads(out)
    assert (status, product["kind"], product["problem"], err) == (0, "cache", "", "")
    shutil.rmtree(tmp_path / "latents")
    assert specmatch("check", tmp_path / "latents", "--json", "--quiet")[:2] == (2, "")


def test_commands_of_several_kinds_list_them_and_suggest_the_nearest(specmatch):
    out = specmatch("evaluate")[1]
    for each in ("reference", "generation", "reconstruction"):
        assert f"  {each:<20} {function_of('evaluate', each).__doc__.splitlines()[0]}\n" in out
    assert "did you mean generation?" in specmatch("evaluate", "generatoin")[2]
