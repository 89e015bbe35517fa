"""Run a training loop: JSONL log, trackers, messages, and actions that are due every so many steps."""

import json
import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, TextIO

import torch
from accelerate import Accelerator

from ..files.atomic import write_text_atomically
from .optimization import Run, StepRecord

logger = logging.getLogger(__name__)

Action = tuple[int, Callable[[int], None]]
"""Every how many steps a function of the step is called; 0: never."""


def open_log(path: Path, start: int) -> TextIO:
    """Open a JSONL log for appending lines, cut back to those of steps up to `start`."""
    if path.exists():
        write_text_atomically(path, "".join(_lines_until(path, start)))
    return path.open("a", buffering=1)


def _lines_until(path: Path, step: int) -> Iterator[str]:
    for line in path.read_text().splitlines(keepends=True):
        try:
            if json.loads(line).get("step", 0) <= step:
                yield line
        except json.JSONDecodeError:
            return  # the line that a kill cut short


def run_loop(
    run: Run,
    records: Iterator[StepRecord],
    log: TextIO | None,
    actions: Sequence[Action],
    accelerator: Accelerator,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Run a trainer to its last step; return False if a signal stopped it early, at the end of a step.

    log: of the main process, None in the others. actions: called in every process, in order; all of them are due at the
    last step. progress: takes the step and the number of steps.
    """
    log_every = run.intervals.log
    window: deque[StepRecord] = deque(maxlen=max(log_every, 1))
    with _stop_requested() as stop:
        for record in records:
            window.append(record)
            is_last = record.step == run.steps
            if record.skipped:
                logger.warning("step %d was not finite and changed nothing", record.step)
            if log_every and (record.step % log_every == 0 or is_last or record.skipped):
                _log_step(run, window, log, accelerator)
            if progress is not None:
                progress(record.step, run.steps)
            must_stop = stop.is_set()
            if accelerator.num_processes > 1:
                flag = torch.tensor(float(must_stop), device=accelerator.device)
                must_stop = bool(accelerator.reduce(flag, "sum"))
            for every, action in actions:
                if every and (record.step % every == 0 or is_last or must_stop):
                    action(record.step)
            if must_stop:
                return is_last
    return True


def _log_step(run: Run, window: Sequence[StepRecord], log: TextIO | None, accelerator: Accelerator) -> None:
    """Write the last step to the log, the trackers and the messages; window: the steps since the last written."""
    record = window[-1]
    stacked = torch.stack([value.float() for value in record.losses.values()])
    means = accelerator.reduce(stacked, "mean").tolist()
    # JSON has neither infinities nor NaN.
    losses = {name: mean if math.isfinite(mean) else None for name, mean in zip(record.losses, means, strict=True)}
    seconds = sum(r.seconds for r in window)
    rate, waiting = len(window) * run.batch_size / seconds, sum(r.data_time for r in window) / seconds
    line = {
        "step": record.step,
        "images": record.step * run.batch_size,
        **losses,
        "transform": record.transform,
        "lr": record.lr,
        "gradient_norm": record.gradient_norm if math.isfinite(record.gradient_norm) else None,
        "skipped": record.skipped,
        "images_per_second": round(rate, 2),
        "waiting": round(waiting, 4),
        "time": round(time.time(), 1),
    }
    if log is not None:
        log.write(json.dumps(line) + "\n")
    accelerator.log({k: v for k, v in line.items() if isinstance(v, float)}, step=record.step)
    left = timedelta(seconds=round((run.steps - record.step) * run.batch_size / rate))
    shown = [f"{name} {value:.4g}" for name, value in losses.items() if value is not None]
    shown += [f"{rate:.1f} images/s", f"{waiting:.0%} waiting for data", f"{left} left"]
    logger.info("step %d of %d: %s", record.step, run.steps, ", ".join(shown))


@contextmanager
def _stop_requested() -> Iterator[Event]:
    """Turn the first interrupt or termination signal into a flag, so that every step is completed."""
    stop = Event()

    def request(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])  # a second signal acts at once

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A signal that the parent process, such as nohup, has us ignore stays ignored.
    before: dict[int, Any] = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, request)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
