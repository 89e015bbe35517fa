"""Where in the spectrum does a gain on the latents make the diffusion model better or worse?

    specmatch compare cifar10 --config experiments/flatten.yaml --out runs/compare/flatten
    python experiments/flatten_bands.py runs/compare/flatten

"Loss by band" of experiments/PREREGISTERED.md, "Flattened latents": of every finished dose, on 1,024 test images, the
error of its predictions by ring of frequency over that of the best linear denoiser of the same latents at the same
times, which a gain changes as well; and over the power of the ring. A gain also changes the signal-to-noise ratio of a
ring at each time, on which both ratios depend: a lower one need not mean that the network learned more. Predictions are
without a class. Writes experiments/results/flatten_bands.json.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml
from torch import Tensor

from spectrum_matching.cli.compare import resolve
from spectrum_matching.comparison.checks import OpenedPlan, open_plan
from spectrum_matching.comparison.trial import EXPORT, LATENTS, run_trial
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.files.stages import UnfinishedError, read_finished_stage
from spectrum_matching.latents.gain import cached_samples
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.statistics import samples_of
from spectrum_matching.nets.autoencoder import open_autoencoder
from spectrum_matching.sampling.model import open_model
from spectrum_matching.studies.frequency_bias.band_errors import (
    band_sums,
    coefficient_power,
    held_out_noise,
    jackknife_ratios,
    radial_bands,
    squared_errors,
)
from spectrum_matching.studies.frequency_bias.fields import coefficient_moments, wiener_denoiser
from trials import RESULTS, save_rows

CONFIG = Path(__file__).parent / "flatten.yaml"
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
N_IMAGES, N_BANDS = 1024, 6
DOSES = ("autoencoder", "DSM")


@torch.no_grad()
def held_out(opened: OpenedPlan, seed: int, export: Path) -> Tensor:
    """Return the raw latents of test images, samples of their posteriors (n, c, h, w)."""
    autoencoder = open_autoencoder(str(export), opened.device)
    batches = fixed_batches(opened.measured[seed], 64, N_IMAGES)
    posteriors = (autoencoder.encode(batch.images.to(opened.device)) for batch in batches)
    return torch.cat([latents.float() for latents in samples_of(posteriors)])


def measure(opened: OpenedPlan, entry: str, seed: int) -> dict[str, Any]:
    """Return the errors of one trial by band, mean over times.

    Raises:
        UnfinishedError: if it is not finished.
    """
    stages = run_trial(opened, entry, seed, read_finished_stage)
    export = stages["autoencoder"].folder / EXPORT
    model = open_model(stages["diffusion"].folder / EXPORT, opened.device, str(export))
    space, path = model.card.latent_space, model.card.path
    data = space.to_unit(held_out(opened, seed, export))
    known = torch.cat([space.to_unit(each) for each in cached_samples(open_latents(stages["cache"].folder / LATENTS))])
    linear = wiener_denoiser(coefficient_moments(known), path)
    bands, noise = radial_bands(data.shape[2:], N_BANDS), held_out_noise(data)
    errors, linear_errors = (
        band_sums(squared_errors(denoiser, path, data, noise, TIMES), bands) for denoiser in (model.denoiser, linear)
    )
    power = band_sums(coefficient_power(data), bands)
    return {
        "entry": entry,
        "seed": seed,
        "frequencies": bands.frequencies.tolist(),
        "over_linear": [measured.value for measured in jackknife_ratios(errors, linear_errors)],
        "over_power": (errors.mean(dim=(0, 1)) / power).tolist(),
    }


def table(document: Mapping[str, Any]) -> str:
    """Return the error over the best linear denoiser's by band as Markdown, means over seeds."""
    rows = document["rows"]
    frequencies = " | ".join(f"{frequency:.2f}" for frequency in rows[0]["frequencies"])
    lines = [f"| cycles per position | {frequencies} |", "|---" * (len(rows[0]["frequencies"]) + 1) + "|"]
    order = list(yaml.safe_load(CONFIG.read_text())["entries"])
    for entry in sorted({row["entry"] for row in rows}, key=order.index):
        bands = zip(*(row["over_linear"] for row in rows if row["entry"] == entry), strict=True)
        lines.append(f"| {entry} | {' | '.join(f'{mean(values):.3f}' for values in bands)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is finished, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    arguments = parser.parse_args()
    opened = open_plan(resolve("cifar10", [CONFIG], arguments.runs, None))
    rows = []
    for entry in opened.plan.entries:
        for seed in opened.plan.seeds:
            if entry.partition(",")[0] in DOSES:
                try:
                    rows.append(measure(opened, entry, seed))
                except UnfinishedError:
                    continue
                print(json.dumps(rows[-1]), flush=True)
    if not rows:
        parser.error(f"{arguments.runs} has no finished dose: run the comparison first")
    document = save_rows(
        RESULTS / "flatten_bands.json",
        {"rows": (rows, ("seed", "entry"))},
        lambda merged: {"times": TIMES, "n_images": N_IMAGES},
    )
    print(table(document))


if __name__ == "__main__":
    main()
