"""Records as versioned JSON files, and back."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from .atomic import write_text_atomically
from .names import printable_values

Record = TypeVar("Record")


@dataclass(frozen=True)
class Document(Generic[Record]):
    """A kind of JSON file, {"format": format, key: record}.

    record: the type of what it holds, a dataclass or a list of them. remedy: how a user gets a file that can be read.
    """

    record: type[Record]
    format: str
    key: str
    remedy: str

    def to_json(self, record: Record) -> str:
        """Return the file's text; the same record gives the same text."""
        content = {"format": self.format, self.key: record}
        return json.dumps(content, indent=1, allow_nan=False, default=_plain) + "\n"

    def write(self, path: Path, record: Record) -> None:
        """Write the file, atomically."""
        write_text_atomically(path, self.to_json(record))

    def read(self, path: Path) -> Record:
        """Return the record in a file, with its types checked.

        Raises:
            ValueError: in one line naming the file and the remedy, if it cannot be read or holds anything else.
        """
        from pydantic import TypeAdapter, ValidationError

        from .settings import first_problem

        try:
            content = json.loads(path.read_bytes())
            if (written := content["format"]) != self.format:
                raise ValueError(f"{path} has format {written!r}, this version reads {self.format!r}; {self.remedy}")
            return TypeAdapter(self.record).validate_python(content[self.key])
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}; check the path") from error
        except KeyError as error:
            why = f"it has no {error}"
        except ValidationError as error:
            why = ": ".join(filter(None, first_problem(error)))
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
            why = str(error)
        raise ValueError(f"{path} is not a {self.format} file ({why}); {self.remedy}")


def _plain(record: Any) -> Any:
    # JSON could express the bytes of a name that is not UTF-8, but `Document.read` accepts only text.
    return printable_values(dataclasses.asdict(record))
