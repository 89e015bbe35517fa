"""Command lines and configurations with nonsense for values: refused in one line that names it, or carried out."""

import re
from dataclasses import fields, is_dataclass
from functools import cache
from random import Random
from typing import Any

import yaml
from campaign import USAGE, Outcome, complaint
from damage import YAML
from forked import call_verb, run_verb
from scenes import Scenes, empty

VALUES = (
    *(
        "0",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e99",
        "",
        "1.5",
        "x",
        "-0",
        "1e-320",
        "0x10",
        "None",
        " 5",
        "1_0",
        "٣",
        "True",
    ),
    *(
        "True",
        "99999999999999999999",
        "2147483648",
        "-9223372036854775809",
        "\u202e",
        "../x",
        "/dev",
        "/dev/null",
        "a" * 5000,
    ),
)
MUCH_WORK = re.compile(r"steps|num-|samples")  # a large number of these is work, and no mistake
JUNK = (
    *(None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**40, "", "x", [], [1], [[1]], {}, {"a": 1}, "2020-13-45"),
    *(-0.0, 1e308, "é\u202e\n", ["a"] * 50, {"name": "x"}),
)
VERBS = (
    *("train-ae", "train-diffusion", "cache", "sample npz", "evaluate reference", "evaluate generation"),
    *("evaluate reconstruction", "analyze", "report", "compare", "study frequency-bias"),
)
SOURCES = (
    *("", "--nope", "--", "-1", "python:", "python:x", "python::", "hub:", "hub:../../x", "hub:a/b/c", "latents:"),
    *(
        "latents:/proc",
        "vision:",
        "NAME=",
        "=x",
        "--config",
        "--out",
        "/dev/null",
        "/dev/zero",
        "/",
        "../../etc/passwd",
    ),
)
PLANS = ("seeds", "entries", "entries.x.y", "control", "cache", "measuring.samples", "sampling.steps", "name", "out")
STUDIES = ("steps", "size", "times", "cases", "autoencoders", "denoiser", "seeds", "learning_rate", "nope")


def prepare(scenes: Scenes) -> None:
    """Make what the verbs read, and list their options."""
    for verb in VERBS:
        options(scenes, verb)


def judge_line(scenes: Scenes, random: Random) -> Outcome:
    """Run a verb with one option that makes no sense, or with a source that is none."""
    verb, out = random.choice(VERBS), scenes.root / "fuzzed"
    words = scenes.command(verb, out / "o")
    if random.random() < 0.8:
        name = random.choice(options(scenes, verb))
        value = random.choice([value for value in VALUES if not (MUCH_WORK.search(name) and len(value) > 6)])
        extra, named = [name, value], [part for part in re.split(r"[-._]", name) if part]
    else:
        value = random.choice(SOURCES)
        place = len(verb.split()) - verb.startswith("sample")
        words[place : place + 1], extra, named = [value], [], []
    empty(out)
    result = call_verb([*words, *extra], seconds=30)
    said = f"{' '.join([*words, *extra])[:500]}\n{result.last}"
    if why := complaint(result):
        return Outcome(why, True, said)
    if result.code == 0:
        return Outcome("carried out")
    is_usage = any(sign in result.output for sign in USAGE)
    told = [value, value.encode("unicode_escape").decode(), *(word.removesuffix("s") for word in named)]
    is_named = not named or is_usage or any(word in result.output for word in told if word)
    return Outcome("refused" if is_named else "refused without its name", not is_named, said)


def judge_configuration(scenes: Scenes, random: Random) -> Outcome:
    """Check a run or a plan with a YAML file in which one key has a value that makes no sense."""
    verb = random.choice(("train-ae", "train-diffusion", "compare", "study frequency-bias"))
    preset = {"train-ae": "tiny_dsm", "train-diffusion": "tiny_sit"}.get(verb, "embedded")
    file, key = scenes.root / "fuzzed.yaml", random.choice(keys(verb))
    document: Any = random.choice(JUNK)
    text = random.choice(YAML).decode()
    if random.random() < 0.93:
        for part in reversed(key.split(".")):
            document = {part: document}
        text = yaml.safe_dump(document)
    file.write_text(text)
    words = [*verb.split(), preset, "--config", str(file), "--dry-run"]
    if verb == "train-diffusion":
        words += ["--source.latents", str(scenes.latents)]
    result = call_verb(words)
    said = f"{verb}, {text[:200]}\n{result.last}"
    if why := complaint(result):
        return Outcome(why, True, said)
    if result.code == 0:
        return Outcome("carried out")
    last = key.rpartition(".")[2]
    named = (file.name, last, last.replace("_", "-"), text.strip().rpartition(": ")[2].strip("'"), "is empty")
    is_named = any(word in result.output for word in named if word)
    return Outcome("refused" if is_named else "refused without its name", not is_named, said)


@cache
def options(scenes: Scenes, verb: str) -> list[str]:
    """Return the options that a verb's help lists."""
    words = [*scenes.command(verb, scenes.root / "o")[: 1 + (verb.split()[0] in ("evaluate", "study"))], "--help"]
    found = set(re.findall(r"--[a-z][\w.-]*\w", run_verb(words).output)) - {"--help", "--out"}
    return sorted(found | {"--nope"})


@cache
def keys(verb: str) -> list[str]:
    """Return the keys of a configuration, some of which are none."""
    from spectrum_matching.training.autoencoder_config import AutoencoderRun
    from spectrum_matching.training.diffusion_config import DiffusionRun

    def flat(record: Any, prefix: str = "") -> list[str]:
        names = []
        for field in fields(record):
            value = getattr(record, field.name)
            names += [prefix + field.name, *(flat(value, f"{prefix}{field.name}.") if is_dataclass(value) else ())]
        return names

    if verb.startswith("train"):
        return [*flat(AutoencoderRun() if verb == "train-ae" else DiffusionRun()), "nope", "data.nope"]
    return list(PLANS if verb == "compare" else STUDIES)
