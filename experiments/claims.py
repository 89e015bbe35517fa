"""The ledger: every claim of the paper beside what was measured here, from experiments/results alone.

    python experiments/claims.py

Writes experiments/CLAIMS.md. Each number in it comes from a result; a test holds the page to what this file makes of
the results, and the words of the rows to hold no number of their own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import claim_rows  # files beside this one
import control_rows
from claim_results import Results, Row, load

PAGE = Path(__file__).parent / "CLAIMS.md"
HEAD = """# The paper's claims, and what was measured of them

Made by `python experiments/claims.py` from `experiments/results/*.json`; not edited by hand. Where two groups of seeds
are compared, one is better where every seed of it lies beyond every seed of the other; where they overlap it is
undecided. With two seeds each, luck alone parts two equal methods in one of three cases: a verdict from two seeds is a
hint. Alignments share a seed's autoencoder, order and noise, and are compared seed by seed: one is better where every
seed's difference says so; luck alone makes four differences agree in one of eight cases. Spreads are half the range
over seeds.

Everything was run on two CPU cores: networks are a fraction of the paper's, and trained for a fraction of its time. A
verdict holds at this scale and says nothing of a larger one.
"""
FOOT = """Nothing of unlicensed code is in this project: the methods were written from their descriptions, and tested
against recorded numbers.
"""
PARTS = (
    claim_rows.frequency_bias,
    claim_rows.latent_spectrum,
    claim_rows.decoder,
    claim_rows.failures,
    claim_rows.special_cases,
    claim_rows.alignment,
    control_rows.of_the_losses,
    control_rows.of_the_gains,
    control_rows.of_alignment,
)


def rows(results: Results) -> list[Row]:
    """The ledger."""
    return [row for part in PARTS for row in part(results)]


def page(found: Sequence[Row], commits: Mapping[str, str]) -> str:
    """Markdown: the table of verdicts, then each row in full."""
    lines = [
        HEAD,
        "| | claim | verdict |",
        "|---|---|---|",
        *(f"| {row.key} | {row.claim} | **{row.verdict}** |" for row in found),
        "",
    ]
    for row in found:
        lines += [f"## {row.key}: {row.verdict}", "", f"*{row.claim}*", ""]
        lines += [f"- Run: {each}" for each in row.ran]
        lines += [f"- {each}" for each in row.measured]
        lines += [f"- Verdict: **{row.verdict}**. {row.because}", f"- To decide: {row.needs.rstrip('.')}.", ""]
    lines += ["## Code", "", "Results were made by these commits:", ""]
    lines += [f"- `{name}`: {commit}" for name, commit in commits.items()]
    lines += ["", FOOT]
    return "\n".join(lines)


def main() -> None:
    """Read, judge, write."""
    results = load()
    PAGE.write_text(page(rows(results), results.commits))
    print(PAGE)


if __name__ == "__main__":
    main()
