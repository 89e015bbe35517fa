"""Seconds of a call and quartiles of many, for benches that measure in turns."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Seconds(NamedTuple):
    """By the clock, and of processors at work, which other programs beside this one do not change."""

    clock: float
    work: float


def seconds(work: Callable[[], object]) -> Seconds:
    """Time a call."""
    clock, process = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - clock, time.process_time() - process)


def quartiles(values: list[float]) -> dict[str, float]:
    """The median and the quartiles beside it."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"q1": low, "median": middle, "q3": high}
