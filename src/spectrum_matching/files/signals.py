"""Signals that ask a command to end: raised at once, or noted until a piece of work is complete."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; what `kill` and batch systems send; what batch systems send before the end of a job's time."""


class Stopped(KeyboardInterrupt):
    """A signal ended the work; number: of the signal."""

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number = number


@dataclass
class Noted:
    """The first signal that came, 0 before."""

    number: int = 0


@contextmanager
def raised() -> Iterator[None]:
    """Raise `Stopped` where a signal comes, so that locks and unfinished files are cleaned up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handled(stop):
        yield


@contextmanager
def noted(echo: float = 0.0) -> Iterator[Noted]:
    """Note the first signal, for whoever completes a piece of work; a second one acts as before.

    echo: seconds after the first in which further ones are the same, passed on by a launcher to processes that a
    terminal or a batch system has sent it as well.
    """
    note, first = Noted(), [0.0]

    def take(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not note.number:
            note.number, first[0] = number, now
        elif now - first[0] >= echo:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    with _handled(take) as before:
        yield note


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[dict[int, Any]]:
    """Handle the signals until the block ends; yield the handlers that there were.

    A signal that the parent process, such as nohup, has us ignore stays ignored. Only the main thread may handle any.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in ENDING}
        before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield before
    finally:
        for number, old in before.items():
            signal.signal(number, old)
