"""SIGKILL at an operation on files, or at any time; the same command again has to end with the bytes of one run.

Counts kills: of each trial one to three, one after the other, before the command may end.
"""

from collections.abc import Iterator
from functools import cache
from random import Random

from campaign import Outcome, Trial
from forked import run
from scenes import Scenes, empty
from undisturbed import Undisturbed, undisturbed_verb

COUNT, COUNTS = 600, "kills"
VERBS = {
    "train-ae": 5,
    "train-diffusion": 5,
    "cache": 5,
    "sample npz": 5,
    "sample folder": 5,
    "sample grid": 1,
    "evaluate reference": 2,
    "evaluate reconstruction": 2,
    "evaluate generation": 2,
    "analyze": 2,
    "report": 1,
    "compare": 3,
    "study frequency-bias": 3,
}
"""How often each verb is chosen, relative to the others."""


def trials(scenes: Scenes, seed: int) -> Iterator[Trial]:
    """Yield trials without end."""
    random = Random(f"kills {seed}")
    measure = cache(lambda verb: undisturbed_verb(scenes, verb, scenes.root / "out"))
    while True:
        verb = random.choices(list(VERBS), list(VERBS.values()))[0]
        moments = [(random.random() < 0.6, random.random()) for _ in range(random.choice((1, 1, 2, 3)))]
        words = [f"at {share:.4f} of its {'operations' if by_operation else 'time'}" for by_operation, share in moments]
        yield Trial(verb, "killed " + ", then ".join(words), lambda v=verb, m=moments: killed(measure(v), m))


def killed(target: Undisturbed, moments: list[tuple[bool, float]]) -> Outcome:
    """Run a command, kill it at shares of its operations (true) or of its time, and let it end."""
    empty(target.out)
    n_kills, story = 0, []
    for by_operation, share in moments:
        number = 1 + int(share * target.operations)
        when = {"kill_operation": number} if by_operation else {"kill_after": share * target.seconds}
        result = run(target.command, watched=target.out, **when)
        n_kills += result.signal is not None
        story.append(f"killed at {when}" if result.signal else f"ended before {when} with {result.code}: {result.last}")
        if result.timed_out or "Traceback" in result.output or result.code not in (0, None):
            return Outcome("an interrupted run is not resumed", True, "\n".join(story), n_kills)
    return target.finish(n_kills, "\n".join(story))
