"""What a folder holds, and in what two folders differ: times of day and durations apart, every byte counts."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

TIMES = {"time", "seconds", "images_per_second", "waiting", "sha256", "documents"}
"""Keys of JSON whose values are of the clock, or checksums of what holds such; the files themselves are compared."""
CLOCK = re.compile(rb'took \d+ s in total|(?<=<td data-sort=")[\d.]+">[\d.]+')
"""The same on pages."""
Tree = Mapping[str, Any]


def read_tree(folder: Path) -> Tree:
    """Return the content of every file, also hidden ones, by its path within the folder."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): _content(path) for path in files}


def differences(expected: Tree, found: Tree) -> list[str]:
    """Return one line for each file that is lost, left over or different."""
    lost = [f"lost {name}" for name in expected if name not in found]
    extra = [f"left over {name}" for name in found if name not in expected]
    other = [f"different {name}" for name in expected if name in found and not same(expected[name], found[name])]
    return lost + extra + other


def same(one: Any, other: Any) -> bool:
    """Return whether two contents are equal, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _content(path: Path) -> Any:
    """Return the bytes of a file, but of logs, records and checkpoints what they say."""
    payload = path.read_bytes()
    try:
        if path.suffix == ".jsonl":
            return [_without_times(json.loads(line)) for line in payload.splitlines()]
        if path.suffix == ".json":
            return _without_times(json.loads(payload))
        if path.name == "SHA256SUMS":  # the same tensors may be pickled in other bytes
            return [line for line in payload.splitlines() if not line.endswith(b".pt")]
        if path.suffix == ".html":
            return CLOCK.sub(b"", payload)
        if path.suffix == ".pt":
            return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception:  # damaged: its bytes differ from those of any whole file
        return payload
    return payload


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if key not in TIMES}
    return [_without_times(each) for each in value] if isinstance(value, list) else value
