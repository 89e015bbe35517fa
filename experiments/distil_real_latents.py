"""Does a loss by frequency band keep what a mean square lets a student of real latents give up?

    SPECMATCH_TAE_FAMILY=data/tae_family python experiments/distil_real_latents.py runs/distil --data data/bsds500/train

Distils TAESD3, whose latents are those of Stable Diffusion 3, into an AutoencoderTiny of half its width, by
`distill_tiny` at 64 × 64, with and without the loss by band, each for 1,800 updates, which take one thread about forty
minutes. Numbers are of held-out photographs. Rerun the same command to resume. Writes
experiments/results/distil_real_latents.json, and prints the table of docs/finetune.md.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectrum_matching.training.autoencoder_config import PRESETS, AutoencoderRun
from spectrum_matching.training.run_autoencoder import run_autoencoder

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
BANDS = (0.0, 0.1)


def run_of(bands: float, steps: int, data: str, out: Path) -> AutoencoderRun:
    """Return the distillation with this weight of the loss by band."""
    run = PRESETS["distill_tiny"]()
    return replace(
        run,
        out=str(out / f"bands_{bands:g}"),
        steps=steps,
        batch_size=16,
        precision="fp32",
        data=replace(run.data, path=data, size=64, held_out=0.2, workers=0),
        distillation=replace(
            run.distillation, teacher=f"python:{ROOT}/examples/tae_family.py:taesd3", width=32, bands=bands
        ),
        optimizer=replace(run.optimizer, lr=2e-3, warmup=50, ema=0.99),
        intervals=replace(run.intervals, log=20, preview=0, checkpoint=100),
    )


def row_of(run: AutoencoderRun) -> dict[str, Any]:
    """Return what a finished run measured, and the seconds from its first logged step to its last."""
    metrics = json.loads((Path(run.out) / "metrics.json").read_text())
    log = [json.loads(line) for line in (Path(run.out) / "log.jsonl").read_text().splitlines()]
    return {
        "bands": run.distillation.bands,
        "steps": run.steps,
        "batch_size": run.batch_size,
        "size": run.data.size,
        "width": run.distillation.width,
        "seconds": log[-1]["time"] - log[0]["time"],
        **metrics["distillation"],
        "commit": metrics["commit"],
    }


def table(document: Mapping[str, Any]) -> str:
    """Return what the students keep of their teacher, in Markdown."""
    lines = [
        "| weight of the loss by band | R² of latents | in the lowest band | in the highest "
        "| PSNR of the student | of its decoder on the teacher's latents | of the teacher |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        bands = [value for value in row["r2_by_band"] if value is not None]
        shares = (f"{value:.3f}".replace("-", "−") for value in (row["r2"], bands[0], bands[-1]))
        scores = (f"{row[key]:.2f}" for key in ("psnr", "psnr_of_teacher_latents", "psnr_of_teacher"))
        lines.append(f"| {' | '.join((format(row['bands'], 'g'), *shares, *scores))} |")
    return "\n".join(lines)


def main() -> None:
    """Distil twice, save and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=1800)
    arguments = parser.parse_args()
    rows = []
    for bands in BANDS:
        run = run_of(bands, arguments.steps, arguments.data, arguments.out)
        run_autoencoder(run)
        rows.append(row_of(run))
    command = "python experiments/distil_real_latents.py runs/distil --data data/bsds500/train"
    document = {"question": "distil_real_latents", "command": command, "rows": rows}
    (RESULTS / "distil_real_latents.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
