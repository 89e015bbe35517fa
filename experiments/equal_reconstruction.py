"""Do methods generate better where no decoder's blur decides: autoencoders that reconstruct as well as the control?

    specmatch compare cifar10 --only autoencoder
    python experiments/equal_reconstruction.py runs/compare/cifar10

"At equal reconstruction" of experiments/PREREGISTERED.md: methods that reconstruct worse at equal updates train until
the PSNR of reconstructed test images is the control's, looked at every 400 updates, or for 6,400. Then latents are
cached, diffused, sampled and scored as in the comparison, whose folders the stages share. Each runs once: rerun the
same command to resume, and several with other --seeds or --only at once. Writes
experiments/results/equal_reconstruction.json.
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

from spectrum_matching.comparison.checks import OpenedPlan, autoencoder_run
from spectrum_matching.comparison.trial import RUN, SCORES, run_trial
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.reconstruction import evaluate_reconstruction
from spectrum_matching.files.atomic import write_text_atomically
from spectrum_matching.files.documents import read_json
from spectrum_matching.files.stages import FinishedStage, Work, run_stage
from spectrum_matching.metrics.pooled import differences, holm
from spectrum_matching.nets.autoencoder import open_autoencoder
from spectrum_matching.records.comparison import Stage
from spectrum_matching.records.scores import EVALUATIONS
from spectrum_matching.training.run_autoencoder import run_autoencoder
from trials import RESULTS, finished, open_runs, save_rows, scores_of, values_of

CONTROL = "autoencoder"
METHODS = ("DSM", "ESM + DSM", "EQ-VAE", "Scale Equivariance")
EVERY, MOST = 400, 6_400
OUTCOMES = ("fid", "fid_reconstructions")
SHOWN = {"reconstruction_psnr": 2, "reconstruction_rfid": 1, "fid": 1, "fid_reconstructions": 1}
SHOWN |= {"precision": 3, "recall": 3}
"""Columns of the table, and their digits."""


def psnr_of(opened: OpenedPlan, seed: int, export: Path) -> float:
    """Return the PSNR in dB of the images that the comparison reconstructs."""
    images = fixed_batches(opened.measured[seed], 64, opened.plan.measuring.reconstructions)
    found = evaluate_reconstruction("autoencoder", open_autoencoder(str(export), opened.device), images)
    value = found.scores["psnr"].value
    assert value is not None
    return value


def train_until_equal(opened: OpenedPlan, entry: str, seed: int, target: float, folder: Path) -> dict[str, Any]:
    """Train in `folder` until PSNR reaches the target; return the updates, the PSNR at each look, and the weights."""
    path, steps = folder / "looks.json", 0
    looks: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    for steps in range(EVERY, MOST + 1, EVERY):
        if str(steps) not in looks:  # not looked at by a call that was interrupted later
            run = replace(autoencoder_run(opened.plan, entry, seed, folder / RUN), steps=steps)
            looks[str(steps)] = psnr_of(opened, seed, run_autoencoder(run))
            write_text_atomically(path, json.dumps(looks))
        psnr = looks[str(steps)]
        print(f"{entry}, seed {seed}: {psnr:.2f} dB after {steps} updates, control {target:.2f} dB", flush=True)
        if psnr >= target:
            break
    weights = read_json(folder / RUN / "metrics.json", "run it again")["weights_digest"]
    return {"steps": steps, "psnr": looks[str(steps)], "looks": looks, "weights": weights}


def run_entry(
    opened: OpenedPlan, entry: str, seed: int, target: float
) -> tuple[dict[Stage, FinishedStage], Mapping[str, Any]]:
    """Train an entry's autoencoder until it is equal, and run its other stages; return them and how it was trained."""
    plan = opened.plan
    longest = replace(plan, autoencoder=replace(plan.autoencoder, steps=MOST))
    inputs = {"run": asdict(autoencoder_run(longest, entry, seed, Path())), "target": target, "every": EVERY}
    inputs |= {"images": opened.training_digest}
    trained = run_stage(
        Path(plan.out) / "equal_reconstruction" / f"seed{seed}",
        entry.lower().replace(" ", "_"),
        json.loads(json.dumps(inputs)),
        lambda folder: train_until_equal(opened, entry, seed, target, folder),
    )
    equal = replace(opened, plan=replace(plan, autoencoder=replace(plan.autoencoder, steps=trained.outputs["steps"])))

    def with_trained(parent: Path, name: str, values: Mapping[str, Any], work: Work) -> FinishedStage:
        def copy(folder: Path) -> Mapping[str, Any]:
            shutil.copytree(trained.folder / RUN, folder / RUN, dirs_exist_ok=True)
            return {"weights": trained.outputs["weights"]}

        return run_stage(parent, name, values, copy if name == "autoencoder" else work)

    return run_trial(equal, entry, seed, with_trained), trained.outputs


def all_scores_of(stages: Mapping[Stage, FinishedStage]) -> dict[str, float | None]:
    """Return the scores of a trial's samples and reconstructions."""
    (reconstruction,) = EVALUATIONS.read(stages["reconstruction"].folder / SCORES)
    return scores_of(stages) | {f"reconstruction_{key}": value for key, value in values_of(reconstruction).items()}


def tests(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each method's difference from the control by outcome, tested as in the comparison, from two seeds on.

    p is corrected for all methods, those that have not run as well.
    """
    groups = {
        entry: [row["scores"] for row in rows if row["entry"] == entry]
        for entry in dict.fromkeys(row["entry"] for row in rows)
    }
    names = [CONTROL, *(entry for entry, rows in groups.items() if entry != CONTROL and len(rows) > 1)]
    found: dict[str, Any] = {}
    for outcome in OUTCOMES:
        values = [[float(scores[outcome]) for scores in groups.get(name, [])] for name in names]
        alone = [differences(values, [(i, 0)])[i, 0] for i in range(1, len(names))]
        corrected = holm([each.p for each in alone] + (len(METHODS) - len(alone)) * [1.0])
        tested = [each._replace(p=p) for each, p in zip(alone, corrected, strict=False)]
        found[outcome] = {
            name: {"mean": each.mean, "p": each.p, "word": each.word}
            for name, each in zip(names[1:], tested, strict=True)
        }
    return found


def table(document: Mapping[str, Any]) -> str:
    """Return means over seeds, each seed's distances, and the words of the tests, as Markdown."""
    lines = [
        "| autoencoder | updates | PSNR, dB | rFD | y1 | at each seed | test of y1 "
        "| y2 | at each seed | test of y2 | precision | recall |",
        "|---" * 12 + "|",
    ]
    for entry in (CONTROL, *METHODS):
        rows = [row for row in document["rows"] if row["entry"] == entry]
        if not rows:
            continue
        cells = [entry, ", ".join(str(row["training"]["steps"]) if "training" in row else "–" for row in rows)]
        for key, digits in SHOWN.items():
            values = [float(row["scores"][key]) for row in rows]
            cells.append(f"{mean(values):.{digits}f}")
            if key in OUTCOMES:
                tested = document["tests"][key].get(entry)
                cells.append(", ".join(f"{value:.1f}" for value in values))
                cells.append(f"{tested['word']}, p = {tested['p']:.2g}" if tested else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is chosen, then save all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    opened, rows = open_runs(arguments.runs, arguments.seeds), []
    for seed in arguments.seeds:
        control = finished(parser, opened, CONTROL, seed)
        rows.append({"entry": CONTROL, "seed": seed, "scores": all_scores_of(control)})
        target = float(rows[-1]["scores"]["reconstruction_psnr"])
        for entry in arguments.only:
            stages, training = run_entry(opened, entry, seed, target)
            rows.append({"entry": entry, "seed": seed, "scores": all_scores_of(stages), "training": dict(training)})
            print(json.dumps(rows[-1]), flush=True)
    document = save_rows(
        RESULTS / "equal_reconstruction.json",
        {"rows": (rows, ("seed", "entry"))},
        lambda merged: {"tests": tests(merged["rows"])},
    )
    print(table(document))


if __name__ == "__main__":
    main()
