"""What a command writes when nothing happens to it: the measure of what it writes after something did."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from campaign import Outcome, complaint
from forked import Command, run, verb
from scenes import Scenes, empty
from trees import Tree, differences, read_tree


@dataclass(frozen=True)
class Undisturbed:
    """A command, what it wrote into `out`, and how it went there.

    operations: on files below `out`. seconds: of the whole command.
    """

    out: Path
    command: Command
    tree: Tree
    operations: int
    seconds: float

    def finish(self, weight: int = 1, after: str = "") -> Outcome:
        """Run the command once more and compare; the outcome says whether it ended with the same bytes."""
        result = run(self.command)
        if result.code != 0:
            why = complaint(result) or "refused"
            return Outcome(f"the same command fails: {why}", True, f"{after}\n{result.last}", weight)
        wrong = differences(self.tree, read_tree(self.out))
        if wrong:
            return Outcome("other bytes", True, "\n".join([after, *wrong]), weight)
        return Outcome("same bytes", weight=weight)


def undisturbed_verb(scenes: Scenes, name: str, out: Path, others: Sequence[str] = ()) -> Undisturbed:
    """Run a verb into the folder `out`; others: options after those of the scene, which they override."""
    return undisturbed(verb([*scenes.command(name, out), *others]), out)


def undisturbed(command: Command, out: Path) -> Undisturbed:
    """Run a command into the folder `out`, twice: the measure must not differ from itself."""
    learn_imports(command, out)
    empty(out)
    result = run(command, watched=out)
    if result.code != 0:
        raise RuntimeError(f"the command fails undisturbed:\n{result.output}")
    tree = read_tree(out)
    empty(out)
    again = run(command)
    wrong = differences(tree, read_tree(out))
    if again.code != 0 or wrong:
        raise RuntimeError(f"the command differs from itself: {wrong or again.output}")
    return Undisturbed(out, command, tree, result.operations, again.seconds)


def learn_imports(command: Command, out: Path) -> None:
    """Import in this process what the command imports only when it runs, so that its children need not."""
    known = set(sys.modules)

    def imported() -> list[str]:
        with suppress(SystemExit):
            command()
        return sorted(set(sys.modules) - known)

    empty(out)
    for name in run(imported).value or ():
        with suppress(Exception):
            import_module(name)
