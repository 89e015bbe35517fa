"""Threads for work that waits for disks."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
CHUNK = 256  # items that one thread takes at a time


def in_threads(work: Callable[[int], Result], n: int) -> list[Result]:
    """Return work(0) … work(n - 1) from twice as many threads as there are processors, since they wait for disks."""
    chunks = [range(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        return [
            result for results in pool.map(lambda items: [work(item) for item in items], chunks) for result in results
        ]
