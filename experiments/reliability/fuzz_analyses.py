"""Saved analyses with broken numbers and hostile text: `report` refuses them by name, or shows nothing that runs."""

import json
import re
from functools import cache
from html.parser import HTMLParser
from random import Random
from typing import Any

from campaign import Outcome, complaint
from forked import call_verb
from scenes import Scenes

TEXTS = (
    *('"><script>alert(1)</script>', "'><img src=x onerror=alert(2)>", "</title><script>alert(3)</script>"),
    *("</svg><script>alert(4)</script>", "</style><script>alert(5)</script>", "javascript:alert(6)", "{{7*7}}", "<!--"),
    *("\u202e\ud83d", "https://evil.example/x.png", '" onmouseover="alert(9)', "%s%n{0}", "x" * 20_000, "", None, 5),
)
NUMBERS = (float("nan"), float("inf"), -float("inf"), -1, 0, 1e308, 10**30, 1e-320, "x", None, True, [], "1")
INERT = ("#", "data:image/png;base64,", "data:,", "https://arxiv.org", "https://github.com")
NAN = re.compile(r">\s*[-−]?(nan|inf)\b|\bNaN\b|=\"[^\"]*\bnan\b")


def prepare(scenes: Scenes) -> None:
    """Make an analysis."""
    _text(scenes)


def judge(scenes: Scenes, random: Random) -> Outcome:
    """Change one leaf of an analysis, make its page, and judge."""
    document = json.loads(_text(scenes))
    leaves = list(_leaves(document["analyses"]))
    kind = random.choice(sorted({path for _, _, path in leaves}))
    node, key, _ = random.choice([leaf for leaf in leaves if leaf[2] == kind])
    node[key] = value = random.choice(_others(node[key]))
    file, page = scenes.root / "mutated.json", scenes.root / "mutated.html"
    file.write_text(json.dumps(document))
    page.unlink(missing_ok=True)
    result = call_verb(["report", str(file), "--out", str(page)], seconds=60)
    said = f"{kind} is {str(value)[:40]!r}: {result.last}"
    if why := complaint(result):
        return Outcome(why, True, said)
    if result.code:
        is_named = file.name in result.output
        return Outcome("refused" if is_named else "refused without its name", not is_named, said)
    found = _Parser(page.read_text())
    if found.wrong:
        return Outcome("text that became markup", True, f"{said} {found.wrong}")
    if NAN.search(re.sub(r"<(script|style).*?</\1>", "", page.read_text(), flags=re.DOTALL)):
        return Outcome("a page that shows NaN", True, said)
    return Outcome("a page")


@cache
def _text(scenes: Scenes) -> str:
    return (scenes.analysis / "analysis.json").read_text()


def _others(value: Any) -> tuple[Any, ...]:
    """Return values to put in the place of one."""
    if isinstance(value, list):
        return ([], None, "abc", value[:-1], value + value)
    return TEXTS if isinstance(value, str) else NUMBERS


def _leaves(node: Any, path: str = "") -> Any:
    """Yield (container, key, path without numbers) of every leaf and every list."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        name = f"{path}.{key}" if isinstance(node, dict) else f"{path}.*"
        if isinstance(child, dict | list):
            yield from _leaves(child, name)
        if not isinstance(child, dict):
            yield node, key, name


class _Parser(HTMLParser):
    """Collects what a page should not hold: scripts beside its own, handlers, links to elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.n_scripts = 0
        self.feed(text)
        if self.n_scripts != 1:
            self.wrong.append(f"{self.n_scripts} scripts")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.n_scripts += tag == "script"
        if tag in ("iframe", "object", "embed", "form", "base"):
            self.wrong.append(tag)
        for name, value in attributes:
            is_link = name in ("href", "src", "xlink:href", "action", "srcdoc")
            if name.startswith("on") or (is_link and value and not value.startswith(INERT)):
                self.wrong.append(f"{tag} {name}={(value or '')[:80]}")
