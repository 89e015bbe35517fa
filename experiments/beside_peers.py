"""Does the published code compute what ours does, from the same inputs and weights?

    python experiments/beside_peers.py FOLDER

FOLDER holds checkouts of the repositories in `peers/checkouts.py` under the names there; nothing of them is in this
repository. Needs their packages timm, einops, torchdiffeq, torchvision and torch-dct. Of what they import and nothing
compared needs, only the import is satisfied. Takes about a minute on a CPU.

Writes experiments/results/beside_peers.json: the commit of each checkout, and a row for each comparison.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from spectrum_matching.records.provenance import commit

RESULT = Path(__file__).parent / "results" / "beside_peers.json"
PARTS = ("autoencoders", "paths", "samplers", "networks", "vision", "caches", "scores")
PACKAGES = ("torch", "timm", "diffusers", "transformers", "einops", "torchdiffeq", "torch-dct")


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=PARTS, help="compare this alone and write nothing")
    options = parser.parse_args()
    checkouts = import_module("peers.checkouts").Checkouts(options.folder)
    if missing := checkouts.missing():
        sys.exit(f"{options.folder} lacks {', '.join(missing)}: see experiments/peers/checkouts.py")
    rows: list[dict[str, Any]] = []
    for part in (options.only,) if options.only else PARTS:
        start = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            rows += [rounded(vars(row)) for row in import_module(f"peers.{part}").rows(checkouts)]
        print(f"{part}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    print(table({"rows": rows}))
    if options.only:
        print(json.dumps([row for row in rows if row["values"]], indent=1))
        return
    peers = import_module("peers.checkouts").PEERS
    commits = {name: {"repository": where, "commit": checkouts.commit(name)} for name, where in peers.items()}
    packages = {name: version(name) for name in PACKAGES}
    document = {"commit": commit(), "peers": commits, "packages": packages, "rows": rows}
    RESULT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """Return a JSON document with six significant digits."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def table(document: Mapping[str, Any]) -> str:
    """Return the rows that compare the same quantity, as docs/fidelity.md has them."""
    lines = ["| compared | code of | largest difference | relative |", "|---|---|---|---|"]
    for row in document["rows"]:
        if row["absolute"] is not None:
            lines.append(f"| {row['what']} | {row['peer']} | {power(row['absolute'])} | {power(row['relative'])} |")
    return "\n".join(lines)


def power(value: float) -> str:
    """Return a number with two digits: 0, 0.12, or 1.2e-05."""
    return "0" if value == 0 else f"{value:.2g}"


if __name__ == "__main__":
    main()
