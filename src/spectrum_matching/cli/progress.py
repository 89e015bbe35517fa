"""Progress bars and log messages on the terminal."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)
"""Standard error: progress and messages go there, results to standard output."""


@contextmanager
def progress_bar(title: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Draw a progress bar on standard error; yields a callback that takes the number done and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet) as bar:
        task = bar.add_task(escape(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Handler(RichHandler):
    """Log records as plain lines, warnings behind the word."""

    def emit(self, record: logging.LogRecord) -> None:
        word = f"[yellow]{record.levelname.lower()}[/] " if record.levelno >= logging.WARNING else ""
        console.print(word + escape(record.getMessage()), highlight=False, soft_wrap=True)


def show_messages(quiet: bool = False) -> None:
    """Show the package's log messages on standard error; `quiet` shows errors alone."""
    logger = logging.getLogger("spectrum_matching")
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    if not any(isinstance(handler, _Handler) for handler in logger.handlers):
        logger.addHandler(_Handler())
