"""What tells autoencoders, methods and cases apart: colour × marker × dash, by their place in the order of the page.

Figures, tables and keys take them from here. Colours are CSS variables of the page (--ink, --muted, --rule, --back,
--c0 … --c7), so that one scheme serves figures and text.
"""

from typing import Any

INK, MUTED, RULE, BACK = "#1d1f23", "#6b6f76", "#e2e0d8", "#fefdfb"
SERIES = ("#c2452d", "#1f6f8b", "#3f7d3a", "#7b4fa3", "#b0781a", "#3c4a9e", "#a8326e", "#4d6a6d")
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", BACK: "back", **{c: f"c{i}" for i, c in enumerate(SERIES)}}
MARKERS = "osD^vP*X"
GLYPHS = "●■◆▲▼✚★✖"
DASHED: Any = (0, (4, 2.5))
DASHES: tuple[Any, ...] = ("solid", DASHED, (0, (1, 1.5)), (0, (6, 2, 1, 2)))


def colour(index: int) -> str:
    """Return the colour of an autoencoder or method."""
    return SERIES[index % len(SERIES)]


def turn(index: int) -> int:
    """Return how often all colours were used before: another dash, and other markers with the same colours."""
    return index // len(SERIES)


def marker(index: int) -> str:
    """Return matplotlib's marker; with the colour, it differs from those of all others of up to 64."""
    return MARKERS[_shape(index)]


def glyph(index: int) -> str:
    """Return the marker as a character, for text."""
    return GLYPHS[_shape(index)]


def line(index: int) -> dict[str, Any]:
    """Return the style of a line; without its markers, it differs from those of all others of up to 32."""
    return {
        "color": colour(index),
        "marker": marker(index),
        "linestyle": DASHES[turn(index) % len(DASHES)],
        "markeredgecolor": BACK,
        "markeredgewidth": 0.6,
    }


def hollow(index: int) -> dict[str, Any]:
    """Return the style of a marker's outline, for a second line or point of the same autoencoder."""
    return {"markerfacecolor": "none", "markeredgecolor": colour(index), "markeredgewidth": 1.2}


def _shape(index: int) -> int:
    return (index + turn(index)) % len(MARKERS)
