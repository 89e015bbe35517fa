"""What does half an hour of fine-tuning do to a real autoencoder, as `analyze` sees it?

    python experiments/finetune_real_weights.py runs/finetune

Fine-tunes the tiny autoencoder of Stable Diffusion 1 (examples/tae_family.py) on BSDS500's training photographs with
DSM and with ESM, whole, and with DSM its decoder alone; plain training, whole and decoder alone, is the control.
Every row has the same updates, which take one thread about half an hour. `analyze` measures each on BSDS500's
validation photographs, and the original. Rerun the same command to resume, and several with other --only at once.
Writes experiments/results/finetune_real_weights.json, and prints the table of docs/finetune.md.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from spectrum_matching.analysis import analyze
from spectrum_matching.analysis.conditions import measurements
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.training.autoencoder_config import PRESETS, AutoencoderRun
from spectrum_matching.training.run_autoencoder import run_autoencoder

RESULT = Path(__file__).parent / "results" / "finetune_real_weights.json"
ORIGINAL = "python:examples/tae_family.py:taesd"
TRAIN, TEST, SIZE = "data/bsds500/train", "data/bsds500/val", 128
STEPS, BATCH = 500, 4


class Row(NamedTuple):
    """method: of the zoo. train: `all` or `decoder`."""

    method: str
    train: str


ROWS = {
    "plain": Row("autoencoder", "all"),
    "DSM": Row("dsm", "all"),
    "ESM": Row("esm", "all"),
    "plain, decoder": Row("autoencoder", "decoder"),
    "DSM, decoder": Row("dsm", "decoder"),
}


def run_of(row: Row, out: Path) -> AutoencoderRun:
    """Return the run of a row: finetune256's losses and learning rate at 128 × 128, in float32."""
    run = PRESETS[f"finetune256_{row.method}"]()
    method = run.method
    if row.method == "esm":
        # Scale-free, at the weight of our trainings from scratch.
        method = replace(method, esm_weight=0.1, delta=1.0, variant="scale_free")
    return replace(
        run,
        out=str(out),
        steps=STEPS,
        batch_size=BATCH,
        precision="fp32",
        channels_last=True,
        sample_posterior=False,
        method=method,
        data=replace(run.data, path=TRAIN, size=SIZE, workers=0),
        network=replace(run.network, pretrained=ORIGINAL, train=row.train),
        optimizer=replace(run.optimizer, lr=1e-4, warmup=20, ema=0.98),
        intervals=replace(run.intervals, log=20, preview=0, checkpoint=50),
    )


def numbers_of(name: str, source: str, folder: Path) -> dict[str, Any]:
    """Analyze an autoencoder, or read its analysis; return every measured number."""
    file = folder / "analysis.json"
    if not file.exists():
        images = open_images(TEST, SIZE, split="all")
        codec = Autoencoder.from_pretrained(source)
        analysis = analyze(codec, images, name=name, source=source, n_images=100, n_tests=20, batch_size=10)
        file.parent.mkdir(parents=True, exist_ok=True)
        ANALYSES.write(file, [analysis])
    analysis = ANALYSES.read(file)[0]
    found = measurements(analysis)
    return {
        "numbers": {
            key: {"value": number.value, "standard_error": number.standard_error}
            for key, number in found.items()
            if number.value is not None
        },
        "images": analysis.sample.digest,
        "commit": analysis.provenance.commit,
    }


COLUMNS = {
    "psnr": "PSNR",
    "lowpass_3": "at the strongest low-pass",
    "lowpass_gap": "low-pass gap, dB",
    "exponent": "exponent",
    "best_delta": "best delta",
    "normalised_std": "std at its scale",
}


def table(document: Mapping[str, Any]) -> str:
    """Return what `analyze` says before and after, in Markdown."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, row in document["rows"].items():
        cells = []
        for key in COLUMNS:
            value, error = (row["numbers"][key][part] for part in ("value", "standard_error"))
            cells.append(f"{value:.2f} ± {error:.2f}".replace("-", "−"))
        lines.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Fine-tune what is chosen, then save all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    arguments = parser.parse_args()
    for name in arguments.only:
        out = arguments.out / name.replace(", ", "_")
        run_autoencoder(run_of(ROWS[name], out))
        numbers_of(name, str(out / "export"), out / "analysis")
    rows = {"original": numbers_of("original", ORIGINAL, arguments.out / "original")}
    for name, row in ROWS.items():
        out = arguments.out / name.replace(", ", "_")
        if (out / "analysis" / "analysis.json").exists():
            log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
            rows[name] = {
                "method": row.method,
                "train": row.train,
                "seconds": log[-1]["time"] - log[0]["time"],
                **numbers_of(name, str(out / "export"), out / "analysis"),
            }
    document = {
        "question": "finetune_real_weights",
        "command": "python experiments/finetune_real_weights.py runs/finetune",
        "data": TRAIN,
        "measured_on": TEST,
        "size": SIZE,
        "steps": STEPS,
        "batch_size": BATCH,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
