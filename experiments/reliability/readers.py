"""Commands that read what a command wrote: the files that may be damaged, and what comes of reading them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from campaign import Outcome, complaint
from forked import Command, run, run_verb, verb
from scenes import Scenes, empty
from trees import Tree, differences, read_tree
from undisturbed import learn_imports

JSON = "analysis/analysis.json"


@dataclass
class Reader:
    """A command that reads files, with a copy of these files as they were written.

    prepare: lets verbs write into the folder `out`. command: reads what is there. only: paths below `out` of which the
    files may be damaged; all by default. again: whether the command has finished before, and has to keep its output
    whole.
    """

    name: str
    out: Path
    prepare: Callable[[Path], None]
    command: Command
    only: str = ""
    again: bool = False

    @cached_property
    def copy(self) -> Path:
        """The folder with the copy."""
        copy = self.out.with_name(f"read by {self.name}")
        if not copy.exists():
            self.prepare(empty(self.out))
            self.out.rename(copy)
        return copy

    @cached_property
    def files(self) -> list[str]:
        """The files that may be damaged, by path within the folder; an empty one, such as a lock, holds nothing."""
        paths = (path for path in sorted(self.copy.rglob("*")) if path.is_file() and path.stat().st_size)
        names = (str(path.relative_to(self.copy)) for path in paths)
        return [name for name in names if name.startswith(self.only)]

    @cached_property
    def expected(self) -> Tree:
        """What is below `out` after the command read undamaged files."""
        self.restore()
        learn_imports(self.command, self.out)
        self.restore()
        result = run(self.command)
        if result.code != 0:
            raise RuntimeError(f"{self.name} fails undamaged:\n{result.output}")
        return read_tree(self.out)

    def restore(self) -> None:
        """Put the undamaged files into `out`."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.copy, self.out, symlinks=True)

    def damage(self, file: str, content: bytes) -> None:
        """Restore everything, then overwrite a file."""
        self.restore()
        (self.out / file).write_bytes(content)

    def read(self, file: str, damaged: bytes) -> Outcome:
        """Damage a file, run the command, and judge what it says and writes."""
        expected = self.expected
        self.damage(file, damaged)
        result = run(self.command)
        if why := complaint(result):
            return Outcome(why, True, result.last)
        is_named = _names(result.output, file)
        if result.code != 0:
            return Outcome("refused by name" if is_named else "refused without a name", not is_named, result.last)
        wrong = differences(expected, read_tree(self.out))
        if not wrong:
            return Outcome("same result")
        if is_named or "warning: " in result.output or "skipped " in result.output:
            return Outcome("other result, saying so")
        if self.again or any(not line.endswith(f" {file}") for line in wrong):
            return Outcome("other result without a word", True, "\n".join([result.last, *wrong]))
        return Outcome("same result, the file was not read")

    def check(self, file: str, damaged: bytes) -> Outcome:
        """Damage a file and judge whether `specmatch check` names it."""
        self.damage(file, damaged)
        result = run_verb(["check", str(self.out)])
        if why := complaint(result):
            return Outcome(why, True, result.last)
        is_noticed = result.code != 0 and _names(result.output, file)
        return Outcome("noticed by check" if is_noticed else "not noticed", not is_noticed, result.last)


def _names(output: str, file: str) -> bool:
    """Return whether a line of the output names a file, or a folder below the first that holds it."""
    parent = Path(file).parent
    return Path(file).name in output or (len(parent.parts) > 1 and str(parent) in output)


def readers(scenes: Scenes) -> list[Reader]:
    """Return the readers of every file that a verb of specmatch writes."""
    out = scenes.root / "out"
    latents, run, samples = out / "latents", out / "run", out / "s"

    def written(verb: str, folder: Path, *options: str, until: float = 1.0) -> Callable[[Path], None]:
        """Return a function that runs a verb, and kills it when it has done a share of its operations."""

        def prepare(_: Path) -> None:
            command = [*scenes.command(verb, folder), *options]
            whole = run_verb(command, watched=folder)
            if until < 1:
                empty(folder)
                whole = run_verb(command, watched=folder, kill_operation=int(until * whole.operations))
            if (whole.code, whole.signal) not in ((0, None), (None, 9)):
                raise RuntimeError(f"{verb} failed:\n{whole.output}")

        return prepare

    def copied(source: str, name: str) -> Callable[[Path], None]:
        return lambda out: shutil.copytree(getattr(scenes, source), out / name, dirs_exist_ok=True) and None

    def scored(out: Path) -> None:
        samples.mkdir()
        for path in (*scenes.samples.parent.glob("s.*"), scenes.reference):
            shutil.copy(path, samples)

    def command(verb: str, folder: Path, **replaced: Path) -> list[str]:
        """Return the command of a verb, with products of the scenes replaced by others."""
        places = {str(getattr(scenes, name)): str(path) for name, path in replaced.items()}
        words = scenes.command(verb, folder)
        for place, path in places.items():
            words = [word.replace(place, path) if word.startswith(place) else word for word in words]
        return words

    def reader(name: str, prepare: Callable[[Path], None], words: list[str], *rest: Any) -> Reader:
        return Reader(name, out, prepare, verb(words), *rest)

    analyzed = ["--num-images", "8", "--num-tests", "2", "--out", str(out / "analysis")]
    cached, source = written("cache", latents), f"latents:{latents}"
    score = command(
        "evaluate generation", out / "scores", samples=samples / "s.npz", reference=samples / "r.safetensors"
    )
    reconstruct = command("evaluate reconstruction", out / "scores", model=out / "model")
    sampled = {kind: command(f"sample {kind}", samples) for kind in ("npz", "grid", "folder")}
    study = command("study frequency-bias", run)
    return [
        reader("train-ae, resumed", written("train-ae", run, "--steps", "4"), command("train-ae", run)),
        reader("train-ae, again", written("train-ae", run), command("train-ae", run), "run/export", True),
        reader(
            "train-diffusion, resumed", written("train-diffusion", run, "--steps", "4"), command("train-diffusion", run)
        ),
        reader("cache, resumed", written("cache", latents, until=0.7), command("cache", latents)),
        reader("cache, again", cached, command("cache", latents), "", True),
        reader("train-diffusion", cached, command("train-diffusion", run, latents=latents), "latents"),
        reader("analyze latents", cached, ["analyze", source, *analyzed], "latents"),
        reader("cache, imported", cached, ["cache", source, "--out", str(out / "other")], "latents"),
        reader(
            "cache, exported", cached, ["cache", source, "--export", "repa", "--out", str(out / "other")], "latents"
        ),
        reader("sample, resumed", written("sample npz", samples, until=0.6), sampled["npz"]),
        *(
            reader(f"sample {kind}, again", written(f"sample {kind}", samples), sampled[kind], "", True)
            for kind in sampled
        ),
        reader("evaluate generation", scored, score, "s"),
        reader(
            "sample", copied("diffusion", "model"), command("sample npz", samples, diffusion=out / "model"), "model/e"
        ),
        reader("cache", copied("model", "model"), command("cache", latents, model=out / "model"), "model/export"),
        reader("evaluate reconstruction", copied("model", "model"), reconstruct, "model/export"),
        reader(
            "report", copied("analysis", "analysis"), command("report", out / "page", analysis=out / "analysis"), JSON
        ),
        reader("compare, resumed", written("compare", run, until=0.8), command("compare", run)),
        reader("compare, again", written("compare", run), command("compare", run)),
        reader("study frequency-bias, resumed", written("study frequency-bias", run, until=0.8), study),
    ]
