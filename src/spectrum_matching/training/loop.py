"""Drain a trainer: progress bar, JSONL log, trackers, and whatever is due every so many steps."""

import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from ..files.atomic import write_text_atomically


class Record(Protocol):
    """What a trainer yields for each step."""

    @property
    def step(self) -> int: ...
    @property
    def losses(self) -> dict[str, Tensor]: ...
    @property
    def lr(self) -> float: ...
    @property
    def transform(self) -> str: ...
    @property
    def gradient_norm(self) -> float: ...
    @property
    def skipped(self) -> bool: ...
    @property
    def seconds(self) -> float: ...
    @property
    def data_time(self) -> float: ...


Due = tuple[int, Callable[[int], None]]
"""An action and every how many steps it is due; 0: never."""


class Log:
    """`log.jsonl` of a run directory: appended line by line, cut back to the resumed step at opening."""

    def __init__(self, path: Path, start: int) -> None:
        kept = [line for line in _lines(path) if line.get("step", 0) <= start]
        if path.exists():
            write_text_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", buffering=1)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            return  # the line that a kill cut short


def drain(
    records: Iterator[Record],
    *,
    title: str,
    start: int,
    steps: int,
    batch_size: int,
    log: Log | None,
    log_every: int,
    actions: tuple[Due, ...],
    accelerator: Accelerator,
    console: Console,
) -> bool:
    """Run a trainer from `start` to `steps`; False if a signal stopped it early, at the end of a step.

    log: of the main process, None in the others. actions: called with the step in every process, in order.
    console: where the bar is drawn; a quiet one has none.
    """
    window: deque[Record] = deque(maxlen=max(log_every, 1))
    skipped = 0
    with _bar(console) as progress, _stop_requested() as stop:
        task = progress.add_task(title, total=steps, completed=start, speed="")
        for record in records:
            window.append(record)
            skipped += record.skipped
            last = record.step == steps
            seconds = sum(r.seconds for r in window)
            rate = len(window) * batch_size / seconds
            waiting = sum(r.data_time for r in window) / seconds
            trouble = f" · {skipped} steps skipped" if skipped else ""
            progress.update(
                task, completed=record.step, speed=f"{rate:.1f} images/s · {waiting:.0%} waiting for data{trouble}"
            )
            if record.skipped and log is not None:
                progress.print(f"[yellow]step {record.step} was not finite and changed nothing[/]")
            if log_every and (record.step % log_every == 0 or last or record.skipped):
                losses = _mean_over_processes(record.losses, accelerator)
                line = {
                    "step": record.step,
                    "images": record.step * batch_size,
                    **losses,
                    "transform": record.transform,
                    "lr": record.lr,
                    "gradient_norm": _finite(record.gradient_norm),
                    "skipped": record.skipped,
                    "images_per_second": round(rate, 2),
                    "waiting": round(waiting, 4),
                    "time": round(time.time(), 1),
                }
                if log is not None:
                    log.write(line)
                accelerator.log({k: v for k, v in line.items() if isinstance(v, float)}, step=record.step)
                if not console.is_terminal:  # a bar shows only its end there
                    left = timedelta(seconds=round((steps - record.step) * batch_size / rate))
                    shown = [f"{name} {value:.4g}" for name, value in losses.items() if value is not None]
                    shown += [f"{rate:.1f} images/s", f"{waiting:.0%} waiting for data", f"{left} left"]
                    sentence = f"step {record.step} of {steps}: {', '.join(shown)}"
                    console.print(sentence, highlight=False, soft_wrap=True)
            asked_to_stop = _anywhere(stop.is_set, accelerator)
            for every, action in actions:
                if every and (record.step % every == 0 or last or asked_to_stop):
                    action(record.step)
            if asked_to_stop:
                return last
    return True


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if abs(value) < float("inf") else None


def _mean_over_processes(losses: dict[str, Tensor], accelerator: Accelerator) -> dict[str, float | None]:
    stacked = torch.stack([value.float() for value in losses.values()])
    return dict(zip(losses, map(_finite, accelerator.reduce(stacked, "mean").tolist()), strict=True))


class _Stop:
    def __init__(self) -> None:
        self.is_set = False


@contextmanager
def _stop_requested() -> Iterator[_Stop]:
    """Turn the first interrupt or termination signal into a flag, so that a step is never left half done."""
    stop = _Stop()

    def request(number: int, frame: object) -> None:
        stop.is_set = True
        signal.signal(number, before[number])  # a second signal acts at once

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # What whoever started us has us ignore, as nohup does, stays ignored.
    before: dict[int, Any] = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, request)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _anywhere(flag: bool, accelerator: Accelerator) -> bool:
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum"))


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet,
    )
