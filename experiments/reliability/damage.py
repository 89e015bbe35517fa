"""Files that we write, damaged: cut, emptied, swapped, garbage, JSON of wrong types or of endless depth.

Whatever reads one names it and stops, or says what it left out, or gives the result that it gives without the damage.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from campaign import Outcome, Trial
from readers import Reader, readers
from scenes import Scenes

COUNT, COUNTS = 400, "damaged files"
AT_ONCE = 6
FOR_EYES = (".png", ".html")  # previews and pages, which nothing of ours reads
TEXTS = (
    b"{}",
    b"[]",
    b"null",
    b"3",
    b'"x"',
    b"[[[",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"NaN",
    b"\xff\xfe\x00",
    b"\n\n",
)
YAML = (b"a: &a [*a]", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", b"- 1", b"{" * 3000, b"steps: 2020-13-45", b"\t")


def trials(scenes: Scenes, seed: int) -> Iterator[Trial]:
    """Yield up to so many files of every reader in turn, then others, each with damage of one kind."""
    random, all_readers = Random(f"damage {seed}"), readers(scenes)
    for turn in count():
        for reader in all_readers:
            for file in random.sample(reader.files, min(AT_ONCE, len(reader.files))):
                draw = random.random()
                what = f"{file}, draw {draw:.6f} of round {turn}"
                yield Trial(reader.name, what, lambda r=reader, f=file, d=draw: _damaged(r, f, Random(d)))


def _damaged(reader: Reader, file: str, random: Random) -> Outcome:
    """Damage a file in a random way; what does not read it leaves it to `specmatch check` to notice."""
    content = (reader.copy / file).read_bytes()
    kinds = dict(damages(content, Path(file).suffix, random))
    siblings = [other for other in reader.files if Path(other).suffix == Path(file).suffix and other != file]
    if siblings:
        kinds["swapped"] = (reader.copy / random.choice(siblings)).read_bytes()
    name = random.choice([name for name, damaged in kinds.items() if damaged != content])
    outcome = reader.read(file, kinds[name])
    if outcome.name.endswith("not read") and not file.endswith(FOR_EYES):
        outcome = reader.check(file, kinds[name])
    return replace(outcome, detail=f"{name}\n{outcome.detail}")


def damages(content: bytes, suffix: str, random: Random) -> Iterator[tuple[str, bytes]]:
    """Yield damaged contents of a file by the names of the damage; none of them is the content."""
    n = len(content)
    yield "emptied", b""
    yield "cut", content[: random.randrange(1, n)] if n > 1 else b""
    yield "cut by a byte", content[:-1]
    yield "longer", content + bytes(7)
    yield "zeros", bytes(n)
    yield "garbage", random.randbytes(min(n, 2000))
    start = random.randrange(n)
    yield "a hole", content[:start] + bytes(b ^ 0xA5 for b in content[start : start + 16]) + content[start + 16 :]
    if suffix in (".json", ".jsonl"):
        text = random.choice(TEXTS)
        yield f"it says {text[:12]!r}", text
    if suffix == ".json":
        document = json.loads(content)
        yield f"other type of {_retype(document, random)}", json.dumps(document, indent=1).encode()
    if suffix == ".jsonl":
        lines = content.splitlines(keepends=True)
        lines[random.randrange(len(lines))] = random.choice((b"null\n", b'"x"\n', b"{\n", b"\xff\n", b"[1]\n"))
        yield "a bad line", b"".join(lines)
    if suffix == ".yaml":
        text = random.choice(YAML)
        yield f"it says {text[:12]!r}", text


def _retype(document: Any, random: Random) -> str:
    """Replace a random leaf by a value of another type; return its path."""
    path, node = [], document
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = random.choice(keys)
        path.append(str(key))
        child = node[key]
        if isinstance(child, dict | list) and child:
            node = child
            continue
        node[key] = 5 if isinstance(child, dict | list) else {"x": [child]}
        return ".".join(path)
