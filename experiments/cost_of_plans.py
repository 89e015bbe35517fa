"""What would the full-sized comparisons cost, in hours of one H200?

    python experiments/cost_of_plans.py

Counts the floating-point operations of one update and of one sample of each plan on paper (no weights, no data), and
divides by an assumed share of the card's bf16 peak. Writes experiments/results/cost_of_plans.json. Nothing of this size
was run: the shares are assumptions; reading images, analysis and scoring are not counted.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from spectrum_matching.comparison.plans import PLANS, Plan
from spectrum_matching.diffusion import evaluations
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.denoiser.build import build_denoiser

RESULTS = Path(__file__).parent / "results"
PEAK = 989e12  # bf16 without sparsity, NVIDIA's data sheet of the H200
SHARE = {"autoencoder": 0.25, "diffusion": 0.40}  # assumed: convolutions reach less of it than matrix products
BACKWARD = 3.0  # forward and backward, in forwards
DISCRIMINATOR = 1.2  # assumed: perceptual network and discriminator beside the autoencoder
N_CLASSES = {"imagenet": 1000, "celeba": 0}
NAMES = ("celeba256_f8d4", "celeba256_f16d16", "imagenet256_sit_b", "imagenet256_sit_xl")
N_IMAGES = {"imagenet": 1_281_167, "celeba": 30_000}


def forward_flops(network: torch.nn.Module, *inputs: torch.Tensor) -> int:
    """Count the operations of one call, on the meta device."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    return int(counter.get_total_flops())


def cost(plan: Plan) -> dict[str, Any]:
    """Return the hours of one trial, stage by stage, and of the whole plan."""
    data = next(name for name in N_CLASSES if plan.name.startswith(name))
    with torch.device("meta"):
        autoencoder = Autoencoder.from_preset(plan.autoencoder.network.preset)
    autoencoder.model.to("meta")
    size, channels = plan.autoencoder.data.size, autoencoder.channels
    grid = size // autoencoder.factor
    images, latents = torch.empty(1, 3, size, size, device="meta"), torch.empty(1, channels, grid, grid, device="meta")
    encode = forward_flops(autoencoder.model.encoder, images)
    decode = forward_flops(autoencoder.model.decoder, latents)
    denoiser = build_denoiser(plan.diffusion.denoiser.name, channels, (grid, grid), N_CLASSES[data]).to("meta")
    labels = torch.zeros(1, dtype=torch.int64, device="meta") if N_CLASSES[data] else None
    denoise = forward_flops(denoiser, latents, torch.zeros(1, device="meta"), *([] if labels is None else [labels]))
    n_updates = plan.autoencoder.steps * plan.autoencoder.batch_size
    n_seen = plan.diffusion.steps * plan.diffusion.batch_size
    n_samples = plan.measuring.samples
    calls = evaluations(plan.sampling.sampler, plan.sampling.steps) * (2 if plan.sampling.guidance != 1 else 1)
    discriminator = DISCRIMINATOR if plan.autoencoder.discriminator.weight else 1.0
    total = {
        "autoencoder": n_updates * (encode + decode) * BACKWARD * discriminator / SHARE["autoencoder"],
        "cache": N_IMAGES[data] * encode * (2 if plan.diffusion.source.flip else 1) / SHARE["autoencoder"],
        "diffusion": n_seen * denoise * BACKWARD / SHARE["diffusion"],
        "samples": n_samples * (calls * denoise / SHARE["diffusion"] + decode / SHARE["autoencoder"]),
    }
    hours = {stage: flops / PEAK / 3600 for stage, flops in total.items()}
    n_autoencoders = len({repr(entry.method) for entry in plan.entries.values()})
    n_seeds, n_entries = len(plan.seeds), len(plan.entries)
    shared = hours["autoencoder"] + hours["cache"]
    return {
        "plan": plan.name,
        "entries": n_entries,
        "autoencoders": n_autoencoders,
        "seeds": n_seeds,
        "gflops": {"encode": encode / 1e9, "decode": decode / 1e9, "denoise": denoise / 1e9},
        "hours_of_a_trial": hours,
        "hours_of_the_plan": n_seeds * (n_autoencoders * shared + n_entries * (hours["diffusion"] + hours["samples"])),
    }


def table(document: dict[str, Any]) -> str:
    """Format the rows as Markdown."""
    lines = [
        "| plan | entries × seeds | autoencoder, h | cache, h | diffusion, h | samples, h | whole plan, h |",
        "|---" * 7 + "|",
    ]
    for row in document["rows"]:
        stages = " | ".join(
            f"{row['hours_of_a_trial'][s]:.3g}" for s in ("autoencoder", "cache", "diffusion", "samples")
        )
        whole = f"{row['hours_of_the_plan']:,.0f}"
        lines.append(f"| {row['plan']} | {row['entries']} × {row['seeds']} | {stages} | {whole} |")
    return "\n".join(lines)


def main() -> None:
    """Count, save and print."""
    document = {
        "question": "cost_of_plans",
        "command": "python experiments/cost_of_plans.py",
        "peak": PEAK,
        "assumed_share_of_peak": SHARE,
        "rows": [cost(PLANS[name]()) for name in NAMES],
    }
    (RESULTS / "cost_of_plans.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
