"""Settings as frozen dataclasses, whose annotations constrain their values and say what these decide.

A constraint is pydantic's: `lr: NonNegative = 1e-4`. A rule says what is not hashed, or may change on resuming:
`workers: Incidental[NonNegativeInt] = 0`.
"""

from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError


class Rule(Enum):
    """What the annotation of a field may say; on a field that holds settings, it holds for each of them."""

    NOT_HASHED = "has no effect on the result, or is represented by a digest of what it names"
    CHANGEABLE = "may differ between two commands on one run directory"


T = TypeVar("T")
NotHashed = Annotated[T, Rule.NOT_HASHED]
Changeable = Annotated[T, Rule.CHANGEABLE]
Incidental = Annotated[T, Rule.NOT_HASHED, Rule.CHANGEABLE]

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def validate(record: T) -> T:
    """Return the record with every value checked against its field and converted to its type.

    Raises:
        ValueError: naming the dotted key, its value and what it must be.
    """
    return record_of(type(record), asdict(record))  # type: ignore[call-overload]


def record_of(kind: type[T], values: dict[str, Any], source: str = "") -> T:
    """Return the record of nested values, checked as by `validate`; errors name `source` too."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
        message = first["msg"].replace("Input should be", "must be")
        prefix = f"{source}: " if source else ""
        raise ValueError(f"{prefix}{key} is {first['input']!r}: {message[0].lower()}{message[1:]}") from error


class Setting(NamedTuple):
    """One value, with its dotted key and the rules of its field and of those around it."""

    key: str
    value: Any
    rules: frozenset[Rule]


def flat_settings(record: Any, prefix: str = "", rules: frozenset[Rule] = frozenset()) -> Iterator[Setting]:
    """Yield every setting of a record, those of nested records and of mappings under dotted keys."""
    if not is_dataclass(record) and not isinstance(record, dict):
        yield Setting(prefix.removesuffix("."), record, rules)
    elif isinstance(record, dict):
        for name, value in record.items():
            yield from flat_settings(value, f"{prefix}{name}.", rules)
    else:
        hints = get_type_hints(type(record), include_extras=True)
        for field in fields(record):
            marks = getattr(hints[field.name], "__metadata__", ())
            own = rules | {mark for mark in marks if isinstance(mark, Rule)}
            yield from flat_settings(getattr(record, field.name), f"{prefix}{field.name}.", own)


def hashed_settings(record: Any) -> dict[str, Any]:
    """Return the settings that decide a result, by dotted key: those which a digest has to cover."""
    return {key: value for key, value, rules in flat_settings(record) if Rule.NOT_HASHED not in rules}


def differences(old: Any, new: Any, ignore: Rule | None = None) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two records differ, as (old, new) by dotted key.

    Settings of the rule `ignore` are left out.
    """
    before, after = (
        {key: value for key, value, rules in flat_settings(record) if ignore not in rules} for record in (old, new)
    )
    keys = {**before, **after}
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def as_line(changes: dict[str, tuple[Any, Any]]) -> str:
    """Return `differences` between a stored and a new record as one line."""
    return ", ".join(f"{key} ({before!r} there, {now!r} now)" for key, (before, now) in changes.items())
