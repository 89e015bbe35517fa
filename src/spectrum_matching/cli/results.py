"""Results of commands: on standard output, and in files."""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console, RenderableType
from rich.text import Text

from .progress import is_main_process


def print_results(*results: RenderableType) -> None:
    """Print texts and tables on the main process's standard output, as wide as they are where it is no terminal."""
    if not is_main_process():
        return
    output = Console(width=None if sys.stdout.isatty() else 10_000)
    for result in results:
        with output.capture() as text:
            output.print(Text(result) if isinstance(result, str) else result, soft_wrap=isinstance(result, str))
        for line in text.get().splitlines():
            print(line.rstrip())


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
        raise ValueError(f"cannot write into {out} ({error.strerror}); the results are in {saved}") from error
