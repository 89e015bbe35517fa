"""Does diffusion gain from a matched spectrum or an aligned decoder, at a size that a CPU trains?

    specmatch compare cifar10 && python experiments/does_diffusion_gain.py runs/compare/cifar10/comparison.json

Keeps every number of a comparison, and none of its pictures, in experiments/results/compare_NAME.json.
"""

import sys
from dataclasses import replace
from pathlib import Path

from spectrum_matching.records.comparison import COMPARISON, Comparison
from spectrum_matching.report.comparison.tables import comparison_markdown

RESULTS = Path(__file__).parent / "results"


def without_pictures(comparison: Comparison) -> Comparison:
    """The same numbers; images of others' data sets are not ours to give on."""
    trials = tuple(replace(trial, samples="") for trial in comparison.trials)
    return replace(comparison, images="", trials=trials)


def table(comparison: Comparison) -> str:
    """Markdown."""
    return comparison_markdown(comparison)


def main() -> None:
    """Read, write, print."""
    comparison = without_pictures(COMPARISON.read(Path(sys.argv[1])))
    (RESULTS / f"compare_{comparison.name}.json").write_text(COMPARISON.to_json(comparison))
    print(table(comparison))


if __name__ == "__main__":
    main()
