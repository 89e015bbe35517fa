"""Two commands at once on one output: identical, or of another seed, or of another batch size.

What is there in the end has to be, to the byte, what one command writes that succeeded; anything else with exit status
0 is a failure, and so is a pair of which neither succeeds. A command that does not succeed says in one line why not.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from random import Random

from campaign import Outcome, Trial, complaint
from forked import Child
from scenes import Scenes, empty
from trees import differences, read_tree
from undisturbed import Undisturbed, undisturbed_verb

COUNT, COUNTS = 60, "pairs"
PAIRS: tuple[tuple[str, Sequence[str]], ...] = (
    ("train-ae", ()),
    ("train-ae", ("--seed", "1")),
    ("train-diffusion", ()),
    ("train-diffusion", ("--seed", "1")),
    ("cache", ()),
    ("cache", ("--batch-size", "5")),
    ("sample npz", ()),
    ("sample npz", ("--seed", "1")),
    ("sample npz", ("--batch-size", "3")),
    ("sample folder", ()),
    ("sample folder", ("--seed", "1")),
    ("sample folder", ("--batch-size", "3")),
    ("evaluate reference", ()),
    ("evaluate generation", ()),
    ("evaluate reconstruction", ()),
    ("analyze", ()),
    ("report", ()),
    ("compare", ()),
    ("study frequency-bias", ()),
)
"""Verbs, and the options by which the second command differs from the first."""


def trials(scenes: Scenes, seed: int) -> Iterator[Trial]:
    """Yield every pair in turn, starting at once and then one while the other is at work."""
    random = Random(f"pairs {seed}")
    measure = cache(lambda verb, other=(): undisturbed_verb(scenes, verb, scenes.root / "out", other))
    for turn in range(1000):
        for verb, other in PAIRS:
            delay = random.uniform(0.0, 0.9) if turn % 2 else 0.0
            what = f"the second {' '.join(other) or 'identical'}, started at {delay:.2f} of the first's time"
            yield Trial(verb, what, lambda v=verb, o=other, d=delay: pair(measure(v), measure(v, o), d))


def pair(first: Undisturbed, second: Undisturbed, delay: float) -> Outcome:
    """Run two commands, the second a share of the first's time later, and judge what is there when both have ended."""
    out = empty(first.out)
    children = [Child(first.command), Child(second.command, start_after=delay * first.seconds)]
    results = [child.wait() for child in children]
    said = "\n".join(f"exit {result.code}: {result.last}" for result in results)
    for result in results:
        if why := complaint(result):
            return Outcome(why, True, said)
    successful = [target for target, result in zip((first, second), results, strict=True) if result.code == 0]
    if not successful:
        return Outcome("neither succeeded", True, said)
    found = read_tree(out)
    wrong = [differences(target.tree, found) for target in successful]
    if all(wrong):
        return Outcome("other bytes", True, "\n".join([said, *wrong[0]]))
    if len(successful) == 2:
        return Outcome("both succeeded, right bytes")
    after = successful[0].finish()
    return after if after.failed else Outcome("one succeeded, right bytes, the other refused")
