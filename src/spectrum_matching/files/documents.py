"""A study as a JSON file, and back."""

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

Study = TypeVar("Study")


def written(study: Any, format: str) -> str:
    """A frozen record as one JSON document that says how it is written."""
    return json.dumps({"format": format, "study": dataclasses.asdict(study)}, indent=1, allow_nan=False)


def read(path: Path, kind: type[Study], format: str) -> Study:
    """Inverse of `written`, from a file. ValueError naming the file if it is not such a document."""
    from pydantic import TypeAdapter, ValidationError

    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (found := document["format"]) != format:
            raise ValueError(f"{path} is written as {found!r}, and this reads {format!r}: run the study anew")
        return TypeAdapter(kind).validate_python(document["study"])
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise ValueError(f"{path} is no study written by specmatch: it has no {error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ValidationError) as error:
        raise ValueError(f"{path} is no study written by specmatch: {str(error).splitlines()[0]}") from error
