"""What was found in a source of images, in one line."""

from collections.abc import Sequence

from ..files.names import quoted

N_NAMED = 3


def number(n: int, one: str, many: str) -> str:
    """Return "1 class", "1,000 classes"."""
    return f"{n:,} {one if n == 1 else many}"


def counted(names: Sequence[str], one: str, many: str) -> list[str]:
    """Return one phrase, such as "2 tables (a.parquet, b.parquet)", or none where there are no names."""
    return [f"{number(len(names), one, many)} ({listed(names)})"] if names else []


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Return the first names, and an ellipsis where there are more."""
    named = map(quoted, names[:N_NAMED]) if separator == ", " else names[:N_NAMED]
    return separator.join([*named, *(["…"] if len(names) > N_NAMED else [])])


def summary(
    source: str, *, part: str, n_classes: int, n_images: int, left_out: Sequence[str], bad: Sequence[str]
) -> str:
    """Return the line that says what a source holds, what was left out and which files cannot be used.

    part: the training part that was taken, "" where there are no parts. left_out: phrases of `counted`.
    """
    line = f"{source}: {number(n_classes, 'class', 'classes')}, " if n_classes else f"{source}: "
    line += number(n_images, "image", "images") + (f" of the part {part}" if part else "")
    line += f"; left aside: {', '.join(left_out)}" if left_out else ""
    return line + "".join(f"; {phrase}" for phrase in counted(bad, "unusable file", "unusable files"))
