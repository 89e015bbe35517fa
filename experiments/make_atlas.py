"""Write the atlas that comes with the package: src/spectrum_matching/metrics/atlas/atlas.json.

    python experiments/make_atlas.py [PUBLISHED_FOLDER]

PUBLISHED_FOLDER holds gfid_by_tokenizer.csv and diffusionbench.csv, the two public tables as plain numbers; without it
the published rows stay as they are. Our own rows are those of results/five_latent_spaces.json and
results/compare_cifar10.json, so run it again, without the folder, after either has changed. Prints the tables of
docs/forecast.md.
"""

import csv
import sys
from pathlib import Path
from typing import Any

from spectrum_matching.metrics.atlas import spaces
from spectrum_matching.metrics.atlas.spaces import ATLAS, Atlas, OwnTrial, PublishedSpace, Source
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.records.comparison import COMPARISON

RESULTS = Path(__file__).parent / "results"
TARGET = Path(spaces.__file__).with_name("atlas.json")
SCORES = ("fid", "fid_reconstructions", "kid")

SOURCES = (
    Source(
        key="ifid_board",
        title="iFID board of tongdaxu",
        date="2026-07-03",
        reference="arXiv 2603.05630",
        protocol="ImageNet at 256 × 256: 50,000 validation against 1.28 million training images; SiT-B and SiT-XL",
        size=256,
    ),
    Source(
        key="diffusionbench",
        title="DiffusionBench of End2End-Diffusion",
        date="2026-05-30",
        reference="",
        protocol="ImageNet at 256 × 256, one DiT of about 615 million parameters, guidance at its best for each space",
        size=256,
    ),
)

SAME_READING = {
    "psnr": "psnr",
    "ssim": "ssim",
    "lpips": "lpips",
    "rfid": "rfid",
    "sec_50": "sec_50",
    "viv": "viv_class",
    "lds_b": "lds_4n_far6",
    "cds": "cds_8",
    "ifid": "interpolation_fid",
}
"""The board's columns that are read as our metrics are."""

# Who learned what, from the papers: (family, whether a vision encoder or representation learning took part).
VAE, WITH_ENCODER = ("VAE", False), ("VAE", True)
TOKENS, OF_ENCODER = ("tokens", True), ("representation", True)
KINDS = {
    **dict.fromkeys(("SD-VAE", "SD3-VAE", "FLUX-VAE", "DC-AE", "EQ-VAE", "IN-VAE", "QwenImg-VAE"), VAE),
    **dict.fromkeys(("VA-VAE", "VA-VAE-64", "REPAE-SDVAE", "FLUX2-VAE", "PAE DINOv2"), WITH_ENCODER),
    **dict.fromkeys(("VTP-S", "VTP-B", "VTP-L"), WITH_ENCODER),
    **dict.fromkeys(("SOFT-VQ", "MAE-TOK", "DM-VAE"), TOKENS),
    "DE-TOK": ("tokens", False),
    **dict.fromkeys(("RAE", "SVG", "SVG T2I", "UAE", "RAE T2I SigLIP-2", "RAE T2I WebSSL"), OF_ENCODER),
    **dict.fromkeys(("SD-VAE-EMA", "SD-VAE-EMA+REG", "SD-VAE-MSE", "SDXL-VAE", "SD3.5-VAE"), VAE),
    **dict.fromkeys(("FLUX.1-VAE", "Qwen-Image-VAE"), VAE),
    **dict.fromkeys(("FLUX.2-VAE", "FLUX.2-VAE+REG", "E2E-VAVAE", "E2E-FLUX.1-VAE"), WITH_ENCODER),
    **dict.fromkeys(("E2E-SD3.5-VAE", "E2E-Qwen-Image-VAE"), WITH_ENCODER),
}
SHAPES = {
    **dict.fromkeys(("SD-VAE-EMA", "SD-VAE-EMA+REG", "SD-VAE-MSE", "SDXL-VAE"), (4, 32, 32)),
    **dict.fromkeys(("SD3.5-VAE", "FLUX.1-VAE", "Qwen-Image-VAE"), (16, 32, 32)),
    **dict.fromkeys(("E2E-FLUX.1-VAE", "E2E-SD3.5-VAE", "E2E-Qwen-Image-VAE"), (16, 32, 32)),
    **dict.fromkeys(("FLUX.2-VAE", "FLUX.2-VAE+REG"), (32, 32, 32)),
    "E2E-VAVAE": (32, 16, 16),
}
"""Shapes that the second table does not state, as the autoencoders' own configurations have them."""


def published(folder: Path) -> tuple[PublishedSpace, ...]:
    """Return a row for each row of both tables."""
    return (
        *map(board_row, _rows(folder / "gfid_by_tokenizer.csv")),
        *map(bench_row, _rows(folder / "diffusionbench.csv")),
    )


def board_row(row: dict[str, str]) -> PublishedSpace:
    """Return a row of the iFID board."""
    name = row["tokenizer"]
    year, month = row["released"].split(".")
    facts = ("tokenizer", "released", "shape", "tokens", "paper")
    return PublishedSpace(
        name,
        "ifid_board",
        KINDS[name][0],
        tuple(map(int, row["shape"].split("x"))),
        KINDS[name][1],
        f"20{year}-{month}",
        row["paper"],
        {SAME_READING.get(key, key): float(value) for key, value in row.items() if value and key not in facts},
    )


def bench_row(row: dict[str, str]) -> PublishedSpace:
    """Return a row of DiffusionBench."""
    name, is_pixels = row["space"], row["kind"] == "Pixel"
    family, learned = ("pixels", None) if is_pixels else KINDS.get(name, OF_ENCODER)
    return PublishedSpace(
        name,
        "diffusionbench",
        family,
        (3, 256, 256) if is_pixels else SHAPES.get(name, ()),
        learned,
        "",
        "",
        {key: float(value) for key, value in row.items() if value and key not in ("space", "kind")},
    )


def trials() -> tuple[OwnTrial, ...]:
    """Return the trials of the comparison on CIFAR-10."""
    comparison = COMPARISON.read(RESULTS / "compare_cifar10.json")
    return tuple(
        OwnTrial(
            trial.method,
            trial.seed,
            trial.autoencoder_digest,
            {key: value for key, value in trial.numbers.items() if key in METRICS},
            {key: float(trial.generation.scores[key]) for key in SCORES if key in trial.generation.scores},
        )
        for trial in comparison.trials
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def main() -> None:
    """Read, check, write."""
    known = published(Path(sys.argv[1])) if sys.argv[1:] else ATLAS.read(TARGET).published
    ATLAS.write(TARGET, Atlas(SOURCES, known, (), trials()))
    for name, key, value in ATLAS.read(TARGET).impossible():
        print(f"impossible: {name}, {key} {value:g} (allowed: {METRICS[key].range})")


if __name__ == "__main__":
    main()
