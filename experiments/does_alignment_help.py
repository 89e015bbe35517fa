"""Does alignment help a denoiser at a size that a CPU trains, and which of its parts?

    specmatch compare cifar10_alignment
    python experiments/does_diffusion_gain.py runs/compare/cifar10_alignment/comparison.json
    python experiments/does_alignment_help.py

Prints what docs/alignment.md has: the Fréchet distance of every row against others', seed by seed, with the two seeds
that were run before with other first weights of the projectors (compare_cifar10_alignment_redrawn.json).
"""

from claim_results import RESULTS, fids, paired, signs  # a file beside this one
from spectrum_matching.records.comparison import COMPARISON, Comparison

UNFILTERED = "REPA, convolution"  # the rows below it differ from it by their filter alone


def table(comparison: Comparison, redrawn: Comparison) -> str:
    """Markdown: means of the first; differences of both."""
    lines = [f"| row | Fréchet distance | against {comparison.control} | against {UNFILTERED} |", "|---|---|---|---|"]
    for name in comparison.methods:
        changes = [
            "" if name == other else signs(paired((comparison, redrawn), name, other))
            for other in (comparison.control, UNFILTERED)
        ]
        lines.append(f"| {name} | {fids(comparison, name)} | {changes[0]} | {changes[1]} |")
    return "\n".join(lines)


def main() -> None:
    """Read, print."""
    print(table(*(COMPARISON.read(RESULTS / f"compare_cifar10_alignment{name}.json") for name in ("", "_redrawn"))))


if __name__ == "__main__":
    main()
