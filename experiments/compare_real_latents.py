"""Which of five real latent spaces is a drop-in for which, after a linear map?

    python experiments/compare_real_latents.py

Compares the tiny autoencoders of Stable Diffusion 1, SDXL, SD3, FLUX.1 and FLUX.2 (examples/) in pairs on Kodak's
photographs in `data/`, as `specmatch compare-latents` does. Writes every number to
experiments/results/latent_maps.json, the page to runs/latent_maps/report.html, and prints the tables of
docs/compare_latents.md.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from spectrum_matching.analysis.latent_maps import compare_latents
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.latent_maps import LATENT_COMPARISON
from spectrum_matching.report.latent_maps.page import render

RESULT = Path(__file__).parent / "results" / "latent_maps.json"
PAGE = Path("runs/latent_maps/report.html")
SPACES = {
    "SD": "python:examples/tae_family.py:taesd",
    "SDXL": "python:examples/tae_family.py:taesdxl",
    "SD3": "python:examples/tae_family.py:taesd3",
    "FLUX.1": "python:examples/tae_family.py:taef1",
    "FLUX.2": "python:examples/taef2_autoencoder.py:taef2",
}
DATA, SIZE, N_TESTS = "data/kodak", 256, 6


def table(comparison: dict[str, Any]) -> str:
    """Format R² and loss from each space to each other as Markdown."""
    names = [space["subject"]["name"] for space in comparison["spaces"]]
    routes = {(each["source"], each["target"]): each["routes"] for each in comparison["directions"]}
    kernels = {kernel: {pair: by(found, kernel) for pair, found in routes.items()} for kernel in (1, 3)}
    titles = {
        "R², 1 × 1": lambda pair: cell(kernels[1][pair]["r2"], 2),
        "R², 3 × 3": lambda pair: cell(kernels[3][pair]["r2"], 2),
        "loss in dB, 3 × 3": lambda pair: cell(kernels[3][pair]["loss"], 1),
    }
    blocks = []
    for title, value in titles.items():
        lines = [f"| {title} | {' | '.join(f'to {name}' for name in names)} |", "|---" * (len(names) + 1) + "|"]
        for source in names:
            cells = ["–" if source == target else value((source, target)) for target in names]
            lines.append(f"| from {source} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def by(routes: list[dict[str, Any]], kernel: int) -> dict[str, Any]:
    """Return the route by a map of this side."""
    return next(route for route in routes if route["kernel"] == kernel)


def cell(number: dict[str, float], digits: int) -> str:
    """Format a value ± its standard error."""
    return f"{number['value']:.{digits}f} ± {number['standard_error']:.{digits}f}"


def main() -> None:
    """Measure, save and print the tables."""
    networks = {name: Autoencoder.from_pretrained(source) for name, source in SPACES.items()}
    for network in networks.values():
        network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    comparison = compare_latents(
        networks,
        open_images(DATA, SIZE, split="all"),
        sources=SPACES,
        n_tests=N_TESTS,
        batch_size=4,
        command="python experiments/compare_real_latents.py",
        progress=lambda done, total: print(f"{done} of {total}", flush=True),
    ).record
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(comparison), encoding="utf-8")
    # Photographs of others are not ours to publish.
    numbers = LATENT_COMPARISON.to_json(replace(comparison, pictures=()))
    document = json.loads(numbers, parse_float=lambda digits: float(f"{float(digits):.6g}"))
    RESULT.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    print(table(document["comparison"]))


if __name__ == "__main__":
    main()
