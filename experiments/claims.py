"""The ledger: every claim of the paper beside what was measured here, from experiments/results alone.

    python experiments/claims.py

Writes experiments/CLAIMS.md. Each number in it comes from a result; a test holds the page to what this file makes of the
results, and the words of this file to hold no number of their own.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from spectrum_matching.comparisons import Comparison, Spread, order, read_comparison, spread
from spectrum_matching.report.ranks import rank_correlation
from spectrum_matching.study_records.directional_energy import DirectionalEnergy, read_directional_energy
from spectrum_matching.study_records.frequency_bias import Case, FrequencyBias, read_frequency_bias
from spectrum_matching.study_records.unified_view import UnifiedView, read_unified_view

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE / "CLAIMS.md"
HEADLINE = "fid"

Verdict = Literal["supported at this scale", "not supported", "undecided"]


class Entry(NamedTuple):
    """One row of the ledger. ran: commands, with scale and seeds. measured, because: sentences. needs: to decide."""

    key: str
    claim: str
    ran: tuple[str, ...]
    measured: tuple[str, ...]
    verdict: Verdict
    because: str
    needs: str


class Results(NamedTuple):
    """All that the ledger is made of."""

    methods: Comparison
    alignment: Comparison
    unified: UnifiedView
    directions: DirectionalEnergy
    bias: FrequencyBias
    esm: dict[str, Any]
    taef2: dict[str, Any]
    small: dict[str, Any]


def load() -> Results:
    """From experiments/results."""
    return Results(
        read_comparison(RESULTS / "compare_cifar10.json"),
        read_comparison(RESULTS / "compare_cifar10_alignment.json"),
        read_unified_view(RESULTS / "unified_view_cifar10.json"),
        read_directional_energy(RESULTS / "directional_energy_cifar10.json"),
        read_frequency_bias(RESULTS / "frequency_bias_cifar10.json"),
        *(
            json.loads((RESULTS / f"{name}.json").read_text())
            for name in ("what_esm_asks_for", "latents_taef2", "methods_cifar10")
        ),
    )
