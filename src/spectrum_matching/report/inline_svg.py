"""Drawings of matplotlib as elements of a page, which sets their size, fonts and colours."""

import html
import re

from .marks import VARIABLES


def inline(svg: str, box: str) -> str:
    """Return an SVG document as an element that shows `box`, its viewBox; data-whole: that of the whole drawing."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    # Hundredths of a pixel are enough. Only in tags: tick labels keep their digits.
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    svg = svg.replace('<g id="legend">', '<g class="legend">')
    referred = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", svg)
    svg = re.sub(r"font(-family|-size)?: [^;\"]*", _font, svg)
    head, rest = svg.split(">", 1)
    whole = re.search(r'viewBox="([^"]*)"', head)
    assert whole is not None
    for value, name in VARIABLES.items():
        rest = rest.replace(value, f"var(--{name})")
    return f'<svg viewBox="{box}" data-whole="{whole[1]}" aria-hidden="true">{rest}'


def titled_circle(x: float, y: float, title: str) -> str:
    """Return the transparent circle that carries a tooltip."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6"><title>{html.escape(title, quote=False)}</title></circle>'


def _font(match: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}" if size else ""
