"""JSON files: one reader for all of them, and records as versioned files, and back."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from .atomic import write_text_atomically
from .names import printable_values
from .os_errors import explain_read_error
from .regular import open_regular

Record = TypeVar("Record")

SEAL = '"sha256": "{}"'
"""The last key of a sealed file: the SHA-256 of the file's bytes with this value left empty."""


def read_json(path: Path, remedy: str) -> Any:
    """Return what a JSON file holds.

    Raises:
        ValueError: in one line naming the file and the remedy, if it cannot be read or is not JSON.
    """
    return parse_json(read_bytes(path), path, remedy)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        ValueError: in one line naming the file and the remedy.
    """
    try:
        with open_regular(path) as stream:
            return stream.read()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {explain_read_error(error)}") from error


def parse_json(content: bytes | str, path: Path, remedy: str, *, finite: bool = False) -> Any:
    """Return what JSON read from `path` holds; finite: refuse NaN and infinity, which are not JSON.

    Raises:
        ValueError: in one line naming the file and the remedy, if it is not JSON.
    """
    hooks: dict[str, Any] = {"parse_constant": _refuse, "parse_float": _finite} if finite else {}
    try:
        return json.loads(content, **hooks)
    except RecursionError as error:
        raise ValueError(f"{path} is damaged: it is nested too deeply; {remedy}") from error
    except ValueError as error:  # also of its encoding, and of numbers with thousands of digits
        why = "it is empty" if not content else " ".join(str(error).split())
        raise ValueError(f"{path} is damaged: it is not JSON ({why}); {remedy}") from error


def _finite(text: str) -> float:
    return number if math.isfinite(number := float(text)) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")


def require_equal_lengths(record: object, *names: str) -> None:
    """Check that these fields of a record, tuples, are of one length.

    Raises:
        ValueError: naming two that are not.
    """
    first = names[0]
    for name in names[1:]:
        if len(getattr(record, name)) != len(getattr(record, first)):
            lengths = f"{len(getattr(record, first))} {first} and {len(getattr(record, name))} {name}"
            raise ValueError(f"{lengths}: expected as many of each")


def seal(text: str) -> str:
    """Return JSON text whose last key is "sha256": "" with the text's SHA-256 there."""
    start, _, end = text.rpartition(SEAL.format(""))
    return start + SEAL.format(hashlib.sha256(text.encode()).hexdigest()) + end


def is_sealed(raw: bytes, digest: Any) -> bool:
    """Return whether a text is what `seal` made, given the value of its last key."""
    start, _, end = raw.rpartition(SEAL.format(digest).encode())
    return bool(hashlib.sha256(start + SEAL.format("").encode() + end).hexdigest() == digest)


@dataclass(frozen=True)
class Document(Generic[Record]):
    """A kind of JSON file, {"format": format, key: record}.

    record: the type of what it holds, a dataclass or a list of them. remedy: how a user gets a file that can be read.
    sealed: the file carries its own SHA-256, and is refused where a byte of it has changed. That is for what only our
    own commands read; files that people and other tools write or edit are not sealed.
    """

    record: type[Record]
    format: str
    key: str
    remedy: str
    sealed: bool = False

    def to_json(self, record: Record) -> str:
        """Return the file's text; the same record gives the same text."""
        content = {"format": self.format, self.key: record} | ({"sha256": ""} if self.sealed else {})
        text = json.dumps(content, indent=1, allow_nan=False, default=_plain) + "\n"
        return seal(text) if self.sealed else text

    def write(self, path: Path, record: Record) -> None:
        """Write the file, atomically."""
        write_text_atomically(path, self.to_json(record))

    def read(self, path: Path) -> Record:
        """Return the record in a file, with its types and, if it is sealed, its checksum checked.

        Raises:
            ValueError: in one line naming the file and the remedy, if it cannot be read or holds anything else.
        """
        from pydantic import TypeAdapter, ValidationError

        from .settings import explain_problem

        raw = read_bytes(path)
        content = parse_json(raw, path, self.remedy, finite=True)
        try:
            if (written := content["format"]) != self.format:
                raise ValueError(f"{path} has format {written!r}, this version reads {self.format!r}; {self.remedy}")
            if self.sealed and not is_sealed(raw, content["sha256"]):
                raise ValueError(f"{path} is damaged: its content is not that of its SHA-256; {self.remedy}")
            return TypeAdapter(self.record).validate_python(content[self.key])
        except KeyError as error:
            why = f"it has no {error}"
        except ValidationError as error:
            why = explain_problem(error)
        except TypeError as error:
            why = str(error)
        except RecursionError:
            why = "it is nested too deeply"
        raise ValueError(f"{path} is not a {self.format} file ({why}); {self.remedy}")


def _plain(record: Any) -> Any:
    # JSON could express the bytes of a name that is not UTF-8, but `Document.read` accepts only text.
    return printable_values(dataclasses.asdict(record))
