"""Keeps every number of a study, and none of its pictures, in experiments/results/NAME.json.

python experiments/keep_study.py runs/study/study.json NAME
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PICTURES = ("samples",)  # images of others' data sets, and images made from them, are not ours to give on


def without_pictures(value: Any) -> Any:
    """The same document with empty texts in place of pictures."""
    if isinstance(value, dict):
        kept = {key: without_pictures(own) for key, own in value.items()}
        return {key: "" if key in PICTURES and isinstance(own, str) else own for key, own in kept.items()}
    return [without_pictures(own) for own in value] if isinstance(value, list) else value


def rounded(value: float) -> float:
    """To six significant digits: a study has tens of thousands of numbers."""
    return float(f"{value:.6g}")


def main() -> None:
    """Read, write."""
    source, name = Path(sys.argv[1]), sys.argv[2]
    document = without_pictures(json.loads(source.read_text(), parse_float=lambda text: rounded(float(text))))
    (RESULTS / f"{name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
