"""Mutated inputs: images, latents of every layout, saved analyses, configurations and command lines.

None of them may end in a traceback, hang, or give a wrong number without a word. Counts inputs.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from random import Random

import fuzz_analyses
import fuzz_commands
import fuzz_images
import fuzz_latents
from campaign import Outcome, Trial
from forked import run
from scenes import Scenes, empty

COUNT, COUNTS = 3650, "fuzzed inputs"
KINDS = {
    "images": (fuzz_images.prepare, fuzz_images.judge, 26),
    "latents": (fuzz_latents.prepare, fuzz_latents.judge, 20),
    "analyses": (fuzz_analyses.prepare, fuzz_analyses.judge, 3),
    "configurations": (fuzz_commands.prepare, fuzz_commands.judge_configuration, 13),
    "command lines": (fuzz_commands.prepare, fuzz_commands.judge_line, 11),
}
"""What makes the inputs of a kind, what mutates one, runs it in this process and judges, and how many a child takes."""


def trials(scenes: Scenes, seed: int) -> Iterator[Trial]:
    """Yield a child of each kind in turn, without end."""
    for turn in count():
        for kind in KINDS:
            what = f"{KINDS[kind][2]} inputs of round {turn}"
            yield Trial(kind, what, lambda k=kind, t=turn: _all(scenes, k, f"{k} {seed} {t}"))


def _all(scenes: Scenes, kind: str, name: str) -> list[Outcome]:
    """Judge inputs in one child; what ends it is the fault of the input that it was at."""
    prepare, judge, n = KINDS[kind]
    prepare(scenes)
    journal = scenes.root / "judged.jsonl"

    def judge_all() -> None:
        with journal.open("w", buffering=1) as file:
            for number in range(n):
                outcome = judge(scenes, Random(f"{name} {number}"))
                file.write(json.dumps(asdict(outcome)) + "\n")

    result = run(judge_all, timeout=300, folder=empty(scenes.root / "here"))
    outcomes = [Outcome(**json.loads(line)) for line in journal.read_text().splitlines()]
    if len(outcomes) < n:
        why = "hang" if result.timed_out else f"ended by signal {result.signal}" if result.signal else "traceback"
        outcomes.append(Outcome(why, True, f"input {len(outcomes)}: {result.last}"))
    return outcomes
