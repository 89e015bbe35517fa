"""Fill the templates of this folder."""

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from ..files.names import listed, printable_lines
from .canvas import figure_name
from .marks import glyph, turn

OPTION = re.compile(r"--[a-z][\w.-]*\w")


def fill(template: str, styles: tuple[str, ...] = ("page.css",), **values: Any) -> str:
    """Return a self-contained page: it loads nothing, runs only page.js, and escapes every value."""
    script = _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = fill_part(
        template, style="".join(map(_part, styles)), script=script, script_digest=f"sha256-{digest}", **values
    )
    return printable_lines(page)


def fill_part(template: str, **values: Any) -> str:
    """Return a part of a page, with every value escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # For our own files and drawings only, which escape what they are given.
    environment.filters["trusted"] = Markup
    environment.filters["as_url"] = as_url
    environment.filters["listed"] = listed
    environment.filters["unbroken"] = unbroken
    environment.globals |= {"glyph": glyph, "turn": turn, "figure_name": figure_name}
    return environment.get_template(template).render(**values)


def unbroken(text: str) -> Any:
    """Return a text, escaped, whose command-line options do not break at the end of a line."""
    from markupsafe import Markup, escape

    return Markup(OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text))))


def as_url(csv: str) -> str:
    """Return a link whose target is the text itself."""
    return f"data:text/csv;charset=utf-8,{quote(csv, safe='/:;,()')}"


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
