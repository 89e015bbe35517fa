"""Names as text that can be shown, stored and read back, whatever bytes and commas they hold."""

import re
from collections.abc import Iterable
from typing import Any

# C0 and C1 controls, what reorders or hides text, line and paragraph separators, and lone surrogates: the bytes of a
# name that is not UTF-8, which Python keeps as U+DC80 … U+DCFF.
UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
UNPRINTABLE_WITHIN_LINES = re.compile(UNPRINTABLE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def printable(text: str) -> str:
    r"""Return one line of text with control characters and bytes that are not UTF-8 as \x1b, \n, \xe9, \u202e.

    Every text that may hold a name passes through it where it leaves the program: messages, tables, pages, records.
    Within the program a name stays as it is, so that it opens its file.
    """
    return UNPRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return text of several lines with the same characters escaped, but for its line breaks and tabs."""
    return UNPRINTABLE_WITHIN_LINES.sub(_escape, text)


def printable_values(values: Any) -> Any:
    """Return nested dictionaries and lists, as JSON has them, with every text as by `printable_lines`."""
    if isinstance(values, str):
        return printable_lines(values)
    if isinstance(values, dict):
        return {printable_values(key): printable_values(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [printable_values(value) for value in values]
    return values


def quoted(name: str) -> str:
    """Return a name as it stands in a list of names: in quotes where it holds a comma."""
    if "," not in name:
        return name
    return f'"{name}"' if "'" in name else f"'{name}'"


def listed(names: Iterable[str]) -> str:
    """Return names as a list with commas: SD-VAE, 'ESM, paper', DSM."""
    return ", ".join(map(quoted, names))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode()
