"""Full disks: a verb on a small tmpfs has to say in one line what is wrong, and to go on when there is room again.

Counts the disks that were too small.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

from campaign import Outcome, Trial, complaint
from forked import run
from scenes import Scenes
from trees import differences, read_tree
from undisturbed import Undisturbed, undisturbed_verb

COUNT, COUNTS = 80, "full disks"
VERBS = (
    *("train-ae", "train-diffusion", "cache", "sample npz", "sample folder", "sample grid", "evaluate reference"),
    *("evaluate generation", "evaluate reconstruction", "analyze", "report", "compare", "study frequency-bias"),
)
PAGE = 4096
ROOM = 256 << 20


def cannot_run() -> str:
    """Return why this campaign cannot run here, an empty text where it can."""
    return "" if os.geteuid() == 0 else "since mounting a tmpfs needs root"


def trials(scenes: Scenes, seed: int) -> Iterator[Trial]:
    """Yield disks of every verb in turn, without end."""
    random, disk = Random(f"disks {seed}"), scenes.root / "disk"
    measure = cache(lambda verb: _measure(scenes, verb, disk))
    while True:
        for verb in VERBS:
            share = random.random()
            what = f"a disk of one page and {share:.4f} of what the verb writes"
            yield Trial(verb, what, lambda v=verb, s=share: _full(*measure(v), disk, s))


def _measure(scenes: Scenes, verb: str, disk: Path) -> tuple[Undisturbed, int]:
    """Return what the verb writes when there is room, and how many pages that takes."""
    with mounted(disk, ROOM):
        target = undisturbed_verb(scenes, verb, disk / "out")
        return target, sum(-(-path.stat().st_size // PAGE) for path in disk.rglob("*") if path.is_file())


def _full(target: Undisturbed, n_pages: int, disk: Path, share: float) -> Outcome:
    size = PAGE * (1 + int(share * n_pages))
    with mounted(disk, size):
        target.out.mkdir()
        result = run(target.command)
        said = f"{size} bytes, exit {result.code}: {result.last}"
        if why := complaint(result):
            return Outcome(why, True, said)
        if result.code == 0:
            wrong = differences(target.tree, read_tree(target.out))
            return Outcome("other bytes with exit 0" if wrong else "it fitted", bool(wrong), said + str(wrong), 0)
        if (again := complaint(run(target.command))) is not None:
            return Outcome(f"the second time: {again}", True, said)
        mount("-o", f"remount,size={ROOM}", str(disk))
        after = target.finish(after=said)
        return after if after.failed else Outcome("one line, then with room the same bytes")


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """Mount an empty tmpfs of so many bytes at the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def mount(*arguments: str) -> None:
    """Call mount."""
    subprocess.run(["mount", *arguments], check=True)
