"""Do ESM and DSM change the latents' spectrum and the decoder as the paper says, at a size that a CPU trains?

    python experiments/methods_at_small_scale.py NAME --data PATH --size PIXELS [--evaluate PATH] [--seeds 0 1]

Trains every method from each seed for equal generator updates, analyzes all of a seed on the same images that none was
trained on (those held out, or those of --evaluate), and writes experiments/results/methods_NAME.json; each analysis is
kept beside its run, for `specmatch study unified-view`. Rerun it to resume after an interruption.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectrum_matching.analysis import analyze, numbers
from spectrum_matching.data.images import open_images
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import ANALYSES, Analysis
from spectrum_matching.training.autoencoder_config import Data, Intervals, MethodChoice, tiny
from spectrum_matching.training.run_autoencoder import run_autoencoder

RESULTS = Path(__file__).parent / "results"
# Few updates need a larger weight of ESM than the paper's 0.01, which is for hundreds of thousands.
METHODS = {
    "autoencoder": MethodChoice("autoencoder"),
    "SD-VAE": MethodChoice("sd_vae"),
    "ESM, paper": MethodChoice("esm", variant="paper", esm_weight=0.1),
    "ESM, scale-free": MethodChoice("esm", variant="scale_free", esm_weight=0.1),
    "DSM": MethodChoice("dsm"),
    "Scale Equivariance": MethodChoice("scale_equivariance"),
    "EQ-VAE": MethodChoice("eq_vae"),
    "VA-VAE, gradients": MethodChoice("va_vae", encoder="gradients:4"),
    "ESM + DSM, scale-free": MethodChoice("esm_dsm", variant="scale_free", esm_weight=0.1),
}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure; one row for each method and seed."""
    rows = []
    for seed in arguments.seeds:
        for label, choice in METHODS.items():
            print(f"{label}, seed {seed}", flush=True)
            folder = Path(arguments.runs) / arguments.name / f"{choice.name}_{choice.variant or 'default'}_{seed}"
            run = replace(
                tiny(choice.name),
                name=label,
                out=str(folder),
                seed=seed,
                steps=arguments.steps,
                batch_size=arguments.batch_size,
                method=choice,
                data=Data(path=arguments.data, size=arguments.size),
                intervals=Intervals(preview=arguments.steps, checkpoint=500),
            )
            export = run_autoencoder(run)
            if arguments.evaluate:
                images = open_images(arguments.evaluate, arguments.size, split="all")
            else:
                images = open_images(arguments.data, arguments.size, split="held_out", seed=seed)
            autoencoder = Autoencoder.from_pretrained(export)
            n = arguments.images
            analysis = analyze(autoencoder, images, name=label, n_images=n, n_tests=n, seed=seed)
            (folder / "analysis.json").write_text(ANALYSES.to_json([analysis]))
            rows.append(row(label, seed, analysis, folder / "log.jsonl"))
    return {
        "question": "methods_at_small_scale",
        "command": arguments.command,
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "size": arguments.size,
        "rows": rows,
    }


def row(label: str, seed: int, analysis: Analysis, log: Path) -> dict[str, Any]:
    """Return the numbers of one trained autoencoder."""
    rates = [line["images_per_second"] for line in map(json.loads, log.read_text().splitlines())]
    views = {}
    for view in analysis.views:
        views[view.kind] = {
            "std": view.std,
            "exponent": view.spectrum.exponent.value,
            "frequencies": view.spectrum.frequencies,
            "power": view.spectrum.power,
            "matches": {
                match.variant: {
                    "best_delta": match.best_delta,
                    "best_delta_interval": match.best_delta_interval,
                    "best_gap": match.best_gap,
                    "gap_at_delta_1": match.gaps[match.deltas.index(1.0)].value,
                }
                for match in view.matches
            },
        }
    return {
        "method": label,
        "seed": seed,
        "psnr": numbers(analysis)["psnr"],
        "ssim": numbers(analysis)["ssim"],
        "latents": views,
        "image_exponent": analysis.image_on_latent_grid.exponent.value,
        "image_power": analysis.image_on_latent_grid.power,
        "lowpass": {
            str(point.keep): {"decoded": point.decoded.value, "aligned": point.aligned.value}
            for point in analysis.decoding.lowpass
        },
        "lowpass_block": analysis.decoding.lowpass_block,
        "images_per_second": statistics.median(rates),
        "n_images": analysis.sample.n_images,
        "evaluated_on": analysis.sample.digest,
        "commit": analysis.provenance.commit,
        "torch": analysis.provenance.torch,
    }


def table(document: dict[str, Any]) -> str:
    """Format means over seeds ± half their range as Markdown."""
    keeps = list(document["rows"][0]["lowpass"])[1:]
    columns = {
        "PSNR, dB": lambda r: r["psnr"],
        "latent std": lambda r: r["latents"]["mean"]["std"],
        "latent exponent": lambda r: r["latents"]["mean"]["exponent"],
        "best delta": lambda r: r["latents"]["mean"]["matches"]["scale_free"]["best_delta"],
        "gap at delta 1": lambda r: r["latents"]["mean"]["matches"]["scale_free"]["gap_at_delta_1"],
        "paper gap at delta 1": lambda r: r["latents"]["mean"]["matches"]["paper"]["gap_at_delta_1"],
        **{f"low-pass {k}, dB": (lambda r, k=k: r["lowpass"][k]["decoded"]) for k in keeps},
    }
    lines = [f"| method | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label in dict.fromkeys(r["method"] for r in document["rows"]):
        rows = [r for r in document["rows"] if r["method"] == label]
        lines.append(f"| {label} | {' | '.join(spread([value(r) for r in rows]) for value in columns.values())} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Format a mean ± half the range."""
    digits = 1 if abs(values[0]) >= 10 else 2 if abs(values[0]) >= 1 else 3
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--evaluate", default=None)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", default="runs/methods_at_small_scale")
    arguments = parser.parse_args()
    settings = f"--size {arguments.size} --steps {arguments.steps} --batch-size {arguments.batch_size}"
    seeds = " ".join(map(str, arguments.seeds))
    data = f"--data {arguments.data}" + (f" --evaluate {arguments.evaluate}" if arguments.evaluate else "")
    images = f"--images {arguments.images} --seeds {seeds}"
    arguments.command = f"python experiments/methods_at_small_scale.py {arguments.name} {data} {settings} {images}"
    RESULTS.mkdir(exist_ok=True)
    document = measure(arguments)
    (RESULTS / f"methods_{arguments.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
