"""Progress and messages on standard error; results on standard output, as text or as JSON, and in files.

The library knows nothing of terminals: it logs by `logging.getLogger(__name__)` and calls `progress(done, total)`. Of
several processes that run one command, only the first shows progress, information, warnings and results.
"""

import inspect
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ParamSpec, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ..files.atomic import require_writable, write_text_atomically
from ..files.documents import Document
from ..files.locks import exclusive
from ..files.names import listed, printable, printable_lines
from ..files.os_errors import explain_write_error
from ..files.outputs import require_replaceable, require_result_folder
from ..files.yaml_text import parse_yaml
from ..processes import exclusive_output, in_main, is_main_process, open_accelerator

P = ParamSpec("P")
T = TypeVar("T")

Callback = Callable[[int, int], None]
"""Takes the number done and the total."""

BARS = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")
"""Variables by which libraries that are imported later are told to show no progress of their own."""

SWITCHES = {
    "datasets.utils.tqdm": "disable_progress_bars",
    "huggingface_hub.utils.tqdm": "disable_progress_bars",
    "transformers.utils.logging": "disable_progress_bar",
    "diffusers.utils.logging": "disable_progress_bar",
}
"""Functions by which libraries that are imported already are told so, by their modules."""

PLAIN_INTERVAL = 30.0
"""Seconds between two lines of progress where standard error is no terminal."""

log = logging.getLogger(__name__)

console = Console(stderr=True)


@dataclass(frozen=True)
class Shown:
    """What a command shows: its result as JSON, or as text; progress and messages, or warnings and errors alone."""

    json: bool = False
    quiet: bool = False


_shown = Shown()


@contextmanager
def progress_bar(title: str) -> Iterator[Callback]:
    """Show one progress bar; yield its callback."""
    with progress_bars([title]) as bars:
        yield bars[title]


@contextmanager
def progress_bars(titles: Iterable[str]) -> Iterator[dict[str, Callback]]:
    """Show a progress bar for each title, plain lines where there is no terminal; yield the callbacks by title."""
    if _shown.quiet or not is_main_process():
        yield {title: lambda done, total: None for title in titles}
    elif not console.is_terminal:
        yield {title: _plain_lines(title) for title in titles}
    else:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
            yield {title: _bar(progress, title) for title in titles}


def _bar(progress: Progress, title: str) -> Callback:
    task = progress.add_task(printable(title), start=False, total=None)

    def update(done: int, total: int) -> None:
        progress.start_task(task)
        progress.update(task, completed=done, total=total)

    return update


def _plain_lines(title: str) -> Callback:
    """Return a callback that prints a line at the end, and one every so often before."""
    start = last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if 0 < total <= done or now - last >= PLAIN_INTERVAL:
            last = now
            _print(Text(f"{printable(title)}: {done} of {total} in {now - start:.0f} s"))

    return update


class _TerminalHandler(logging.Handler):
    """Print log records above any progress bar; warnings and errors are preceded by their level.

    Information that was shown already, such as what a folder holds that is opened once more, is not shown again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO:
            if record.getMessage() in self.shown:
                return
            self.shown.add(record.getMessage())
        line = Text()
        if record.levelno >= logging.WARNING:
            line.append(f"{record.levelname.lower()}: ", style="yellow" if record.levelno < logging.ERROR else "red")
        _print(line.append(printable(record.getMessage())))


def show_messages(shown: Shown = Shown()) -> None:
    """Show the package's log messages on standard error from now on; in processes beside the main one, errors alone."""
    global _shown
    _shown = shown
    if not is_main_process():
        warnings.simplefilter("ignore")
    if shown.quiet or not is_main_process():
        os.environ |= dict.fromkeys(BARS, "1")
        for module, switch in SWITCHES.items():
            if module in sys.modules:
                getattr(sys.modules[module], switch)()
    logger = logging.getLogger("spectrum_matching")
    level = logging.WARNING if shown.quiet else logging.INFO
    logger.setLevel(level if is_main_process() else logging.ERROR)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _TerminalHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(_TerminalHandler())


def _print(line: Text) -> None:
    console.print(line, soft_wrap=True)


def print_results(*results: RenderableType) -> None:
    """Print texts and tables on the main process's standard output, as wide as they are where it is no terminal.

    Nothing with --json: `print_document` and `print_json` print the same result for programs.
    """
    if _shown.json or not is_main_process():
        return
    output = Console(width=None if sys.stdout.isatty() else 10_000)
    for result in results:
        with output.capture() as text:
            if isinstance(result, str):
                output.print(Text(printable_lines(result)), soft_wrap=True)
            else:
                output.print(result)
        for line in text.get().splitlines():
            print(line.rstrip())


def print_document(document: Document[T], record: T) -> None:
    """With --json, print a record as the file that holds it does."""
    if _shown.json and is_main_process():
        print(document.to_json(record), end="")


def print_json(value: Any) -> None:
    """With --json, print a value of plain types."""
    if _shown.json and is_main_process():
        print(json.dumps(value, indent=1, allow_nan=False))


def print_written(path: Path) -> None:
    """Print where the result of a command is that writes files and has no numbers to print."""
    print_results(str(path))
    print_json({"path": printable(str(path))})


def print_checked(resolved: str) -> None:
    """Print the settings of a dry run, and say on standard error what it cannot check."""
    if is_main_process() and not _shown.json:
        print(resolved, end="")
    print_json(parse_yaml(resolved))
    log.info("checked up to the first step; the memory of the device and the space on the disk were not tried out")


def show(result: RenderableType) -> None:
    """Print a table on the main process's standard error, as wide as it is where that is no terminal."""
    if is_main_process() and not _shown.quiet:
        Console(stderr=True, width=None if console.is_terminal else 10_000).print(result)


def claims(*names: str, shared: bool = False) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a command refuse an `out` that is not its own before any work, and keep other commands from it meanwhile.

    names: files that it writes into the folder `out`; none where `out` is a file. shared: by several processes. An
    option `overwrite` of the command replaces what specmatch did not write.
    """

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        @wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = inspect.signature(command).bind(*args, **kwargs)
            bound.apply_defaults()
            out, overwrite = Path(bound.arguments["out"]), bool(bound.arguments["overwrite"])

            def check() -> None:
                if names:
                    require_result_folder(out, names, overwrite)
                else:
                    require_replaceable(out, overwrite)
                require_writable(out if names else out.parent)
                say_replaced(*(out / name for name in names) if names else (out,))

            path = out / names[-1] if names else out
            with _removed_if_left_empty(path.parent):
                if not shared:
                    check()
                    with exclusive(path):
                        return command(*args, **kwargs)
                accelerator = open_accelerator()
                in_main(accelerator, check)
                with exclusive_output(accelerator, path):
                    return command(*args, **kwargs)

        return run

    return decorate


@contextmanager
def _removed_if_left_empty(folder: Path) -> Iterator[None]:
    """If the block fails, remove the folder and those above it that were not there before and are empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # it has files, or was not made
                path.rmdir()
        raise


def say_replaced(*paths: Path) -> None:
    """Say which of these files exist, and so will be replaced."""
    if existing := [str(path) for path in paths if path.exists()]:
        log.info("will replace %s", listed(existing))


def write_results(out: Path, write: Callable[[Path], None]) -> None:
    """Call `write` with the folder `out`, or where that fails with a temporary folder, so that no number is lost.

    Raises:
        ValueError: naming the temporary folder, when `out` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(out)
    except OSError as error:
        saved = Path(mkdtemp(prefix="specmatch-"))
        write(saved)
        why = explain_write_error(error)
        raise ValueError(f"cannot write into {out} ({why}); the results are in {saved}") from error


def write_page(page: Path, draw: Callable[[], str], numbers: str) -> None:
    """Draw a page and write it as `write_results` does, after its numbers; see `draw_page`."""
    text = draw_page(page, draw, numbers)
    write_results(page.parent, lambda folder: write_text_atomically(folder / page.name, text))


def draw_page(page: Path, draw: Callable[[], str], numbers: str) -> str:
    """Return what `draw` does; numbers: the files that hold what it draws.

    Raises:
        ValueError: naming those files, whatever `draw` raises.
    """
    try:
        return draw()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{page} cannot be drawn ({type(error).__name__}: {reason}); the numbers are in {numbers}"
        ) from error
