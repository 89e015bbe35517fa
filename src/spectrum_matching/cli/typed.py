"""The command line of this process, as records and reports show it."""

import re
import shlex
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

_typed: ContextVar[tuple[str, ...]] = ContextVar("typed", default=())


def remember_typed(words: Sequence[str]) -> None:
    """Keep the words after `specmatch` for `typed_command`."""
    _typed.set(tuple(words))


def typed_command() -> str:
    """Return the whole command as it was typed, quoted for a shell; paths are relative to the working directory."""
    here = re.escape(str(Path.cwd()).rstrip("/"))
    # A path begins a word, or follows NAME=, latents: and the like.
    return shlex.join(["specmatch", *(re.sub(rf"(^|[=:]){here}/(?!/)", r"\1", word) for word in _typed.get())])
