"""Write the atlas that comes with the package: src/spectrum_matching/metrics/atlas/atlas.json.

    python experiments/make_atlas.py [PUBLISHED_FOLDER]

PUBLISHED_FOLDER holds gfid_by_tokenizer.csv and diffusionbench.csv, the two public tables as plain numbers; without it
the published rows stay as they are. Our own rows are those of results/five_latent_spaces.json and
results/compare_cifar10.json, so run it again, without the folder, after either has changed. Writes the tables of
docs/forecast.md as well.
"""

import csv
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectrum_matching.metrics.atlas import spaces
from spectrum_matching.metrics.atlas.forecast import MODELS, PREDICTORS, TITLES, calibrate
from spectrum_matching.metrics.atlas.known_pairs import (
    KnownPair,
    Rule,
    Share,
    lower_is_better,
    own_pairs,
    published_pairs,
    share,
)
from spectrum_matching.metrics.atlas.paired import says
from spectrum_matching.metrics.atlas.spaces import ATLAS, Atlas, OwnSpace, OwnTrial, PublishedSpace, Source
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.records.comparison import COMPARISON, Trial
from spectrum_matching.records.measurement import Measurement

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "forecast.md"
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


ORIGINALS = {"SD": "SD-VAE", "SDXL": "SDXL-VAE", "SD3": "SD3-VAE", "FLUX.1": "FLUX.1-VAE", "FLUX.2": "FLUX.2-VAE"}
"""The autoencoders whose latents our five imitate."""


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
            {key: value for key, value in (trial.numbers | _rfid(trial)).items() if key in METRICS},
            {key: float(trial.generation.scores[key]) for key in SCORES if key in trial.generation.scores},
        )
        for trial in comparison.trials
    )


def _rfid(trial: Trial) -> dict[str, float]:
    """Return rFD, which a trial has among the scores of its reconstructions."""
    return {"rfid": float(trial.reconstruction.scores["rfid"])}


def own() -> tuple[OwnSpace, ...]:
    """Return our analyses of real latent spaces, a row for each and each set of images; none before they are made."""
    file = RESULTS / "five_latent_spaces.json"
    if not file.exists():
        return ()
    results = json.loads(file.read_text())
    return tuple(
        OwnSpace(
            f"tiny {name}",
            ORIGINALS[name],
            row["digest"],
            row["factor"],
            tuple(row["latent_shape"]),
            Path(images["data"]).parts[1],
            row["images"],
            images["size"],
            row["n_images"],
            {key: Measurement(**number) for key, number in row["numbers"].items() if key in METRICS},
        )
        for images_name, images in results["sets"].items()
        for name, row in results[images_name].items()
        if name in ORIGINALS  # not those that were made noisy or blurred
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def forecast_table() -> str:
    """Return how well each model is predicted, with each tokenizer left out in turn, as Markdown."""
    lines = [
        "| FID of | guidance | tokenizers | ρ by interpolation FID | ρ with PSNR | interval of 80 % |",
        "|---" * 6 + "|",
    ]
    for model, column in MODELS.items():
        for words, key in (("without", column), ("with", f"{column}_cfg")):
            alone, both = calibrate(key, PREDICTORS[:1]), calibrate(key)
            factor = f"within a factor of {math.exp(both.half_width):.2f}" if key == column else "not forecast"
            rhos = f"{alone.loo_rho:.2f} | {both.loo_rho:.2f}"
            lines.append(f"| {model} | {words} | {len(both.names)} | {rhos} | {factor} |")
    return "\n".join(lines)


def pairs_table() -> str:
    """Return how the rule, and each number by its claimed direction, orders pairs whose order is known, as Markdown."""
    known = {"published": published_pairs(), "ours, by distance to images": own_pairs("fid")}
    known["ours, by distance to reconstructions"] = own_pairs("fid_reconstructions")
    known = {title: pairs for title, pairs in known.items() if pairs}
    lines = [f"| number | better | {' | '.join(known)} |", "|---" * (2 + len(known)) + "|"]
    cells = [in_words(share(pairs, says)) for pairs in known.values()]
    lines.append(f"| the rule |  | {' | '.join(cells)} |")
    for key, metric in METRICS.items():
        if metric.better not in ("lower", "higher"):
            continue
        rule = lower_is_better(key) if metric.better == "lower" else higher_is_better(key)
        cells = [in_words(share(pairs, rule)) if has(pairs, key) else "–" for pairs in known.values()]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {TITLES.get(key, metric.title)} | {metric.better} | {' | '.join(cells)} |")
    return "\n".join(lines)


def has(pairs: Sequence[KnownPair], key: str) -> bool:
    """Return whether a number was measured on both sides of any of the pairs."""
    return any(
        key in worse and key in better for pair in pairs for worse, better in zip(pair.worse, pair.better, strict=True)
    )


def higher_is_better(key: str) -> Rule:
    """Return the rule by the sign of one number alone, the other way round."""
    return lambda first, second: lower_is_better(key)(second, first)


def in_words(found: Share) -> str:
    """Return "2 of 3 decided, of 5"."""
    return f"{found.right} of {found.decided}, of {found.n}" if found.decided else f"none decided, of {found.n}"


def with_tables(page: str) -> str:
    """Return the page with its tables made anew."""
    for name, table in (("forecast", forecast_table()), ("pairs", pairs_table())):
        page, n = re.subn(
            rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", rf"\g<1>\n{table}\n\n\2", page, flags=re.DOTALL
        )
        assert n == 1, f"the page has {n} tables {name}"
    return page


def main() -> None:
    """Read, check, write."""
    known = published(Path(sys.argv[1])) if sys.argv[1:] else ATLAS.read(TARGET).published
    ATLAS.write(TARGET, Atlas(SOURCES, known, own(), trials()))
    PAGE.write_text(with_tables(PAGE.read_text()))
    for name, key, value in ATLAS.read(TARGET).impossible():
        print(f"impossible: {name}, {key} {value:g} (allowed: {METRICS[key].range})")


if __name__ == "__main__":
    main()
