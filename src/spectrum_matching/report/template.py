"""From a template of this room to a page that stands alone."""

import base64
import hashlib
from importlib.resources import files
from typing import Any


def fill(template: str, styles: tuple[str, ...] = ("page.css",), **values: Any) -> str:
    """The page. It loads nothing, runs page.js alone, and escapes every value."""
    script = _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return fill_part(
        template, style="".join(map(_part, styles)), script=script, script_digest=f"sha256-{digest}", **values
    )


def fill_part(template: str, **values: Any) -> str:
    """What stands within a page, with every value escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Of our own files and drawings alone, which escape what they are given.
    environment.filters["trusted"] = Markup
    return environment.get_template(template).render(**values)


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
