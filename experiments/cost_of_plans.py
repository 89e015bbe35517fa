"""What would the full-sized comparisons cost, in hours of one H200?

    python experiments/cost_of_plans.py

Counts the floating-point operations of one update and of one sample of each plan on paper (no weights, no data), and
divides by an assumed share of the card's bf16 peak. Writes experiments/results/cost_of_plans.json. Nothing of this size
was run: the shares are assumptions; reading images, analysis, caching, features, scoring and the fits of models without
training are not counted. A discriminator counts from the first step.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

from spectrum_matching.comparison.cost import PEAK, SHARE, cost_of, total
from spectrum_matching.comparison.plans import PLANS, Plan
from spectrum_matching.comparison.trial import planned_stages

RESULTS = Path(__file__).parent / "results"
STAGES = ("autoencoder", "generative", "diffusion", "samples")
NAMES = ("celeba256_f8d4", "celeba256_f16d16", "imagenet256_sit_b", "imagenet256_sit_xl")


def row_of(plan: Plan) -> dict[str, Any]:
    """Return the hours of one trial, stage by stage, and of the whole plan."""
    cost = cost_of(plan)
    assert cost is not None
    return {
        "plan": plan.name,
        "entries": len(plan.entries),
        "seeds": len(plan.seeds),
        "gflops": {call: flops / 1e9 for call, flops in cost.operations.items()},
        "hours_of_a_trial": cost.hours,
        "hours_of_the_plan": total(cost.hours, planned_stages(plan, product(plan.entries, plan.seeds))),
        "micro_batch": {
            stage: run.batch_size // run.accumulation
            for stage, run in (("autoencoder", plan.autoencoder), ("diffusion", plan.diffusion))
        },
        "gigabytes_of_memory": {stage: n / 1e9 for stage, n in cost.memory.items()},
    }


def table(document: dict[str, Any]) -> str:
    """Format the rows as Markdown. Memory is that of the stage that needs more."""
    lines = [
        "| plan | entries × seeds | autoencoder, h | without training, h | diffusion, h | samples, h | whole plan, h "
        "| memory, GB |",
        "|---" * 8 + "|",
    ]
    for row in document["rows"]:
        stages = " | ".join(f"{row['hours_of_a_trial'][stage]:.3g}" for stage in STAGES)
        whole, memory = f"{row['hours_of_the_plan']:,.0f}", f"{max(row['gigabytes_of_memory'].values()):.0f}"
        lines.append(f"| {row['plan']} | {row['entries']} × {row['seeds']} | {stages} | {whole} | {memory} |")
    return "\n".join(lines)


def main() -> None:
    """Count, save and print."""
    document = {
        "question": "cost_of_plans",
        "command": "python experiments/cost_of_plans.py",
        "peak": PEAK,
        "assumed_share_of_peak": SHARE,
        "rows": [row_of(PLANS[name]()) for name in NAMES],
    }
    (RESULTS / "cost_of_plans.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
