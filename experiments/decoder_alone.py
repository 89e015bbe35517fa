"""Does training the decoder alone with DSM bring samples closer to images, or to reconstructions?

    specmatch compare cifar10 --only autoencoder DSM
    python experiments/decoder_alone.py runs/compare/cifar10

"The decoder alone" of experiments/PREREGISTERED.md: the control's encoder, denoiser and sampled latents stay as they
are; its decoder is fine-tuned with DSM at eight doses, and each decodes the same latents. Each dose of each seed is a
stage beside those of the comparison and runs once: rerun the same command to resume, and several with other --seeds
at once. Writes experiments/results/decoder_alone.json.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import linregress
from scipy.stats import t as student
from torch import Tensor

from spectrum_matching.comparison.checks import OpenedPlan, autoencoder_run
from spectrum_matching.comparison.trial import EXPORT, RUN, run_trial
from spectrum_matching.files.stages import FinishedStage, read_finished_stage, run_stage
from spectrum_matching.nets.autoencoder import open_autoencoder
from spectrum_matching.sampling.generate import generate_batch
from spectrum_matching.sampling.model import Decoder, DiffusionModel, open_model
from spectrum_matching.seeding import seeded
from spectrum_matching.training.autoencoder_config import MethodChoice, Network
from spectrum_matching.training.run_autoencoder import run_autoencoder
from trials import RESULTS, finished, open_runs, save_rows, score, scores_of

CONTROL, WHOLE = "autoencoder", "DSM"
DOSES, STEPS = range(8), 400  # eighths of the updates that are low-passed
OUTCOMES = ("fid", "fid_reconstructions")
PERMUTATIONS = 10_000
LEVEL = 0.05

Scores = Mapping[int, Sequence[float]]
"""By seed, an outcome at each dose."""


class Latents(DiffusionModel):
    """A diffusion model whose samples are left undecoded, at unit scale."""

    def decode(self, units: Tensor) -> Tensor:
        """Return them as they are."""
        return units


def method(dose: int) -> MethodChoice:
    """Return DSM with `dose` eighths of its updates low-passed, evenly by the three cut-offs, and the rest plain."""
    return MethodChoice("dsm", keep=(15,) * (24 - 3 * dose) + (7, 5, 3) * dose)


def sampled_latents(opened: OpenedPlan, stages: Mapping[str, FinishedStage]) -> tuple[DiffusionModel, list[Tensor]]:
    """Return the control's diffusion model and the latents of the images that the comparison samples from it."""
    model = open_model(stages["diffusion"].folder / EXPORT, opened.device, str(stages["autoencoder"].folder / EXPORT))
    bare = Latents(**{name: getattr(model, name) for name in model.__dataclass_fields__})
    n, size = opened.plan.measuring.samples, opened.plan.sampling.batch_size
    batches = [range(start, min(start + size, n)) for start in range(0, n, size)]
    return model, [generate_batch(bare, opened.plan.sampling, batch, opened.device) for batch in batches]


def run_dose(
    opened: OpenedPlan, seed: int, dose: int, model: DiffusionModel, latents: Sequence[Tensor], folder: Path
) -> dict[str, float | None]:
    """Fine-tune the decoder and score what it makes of the latents."""
    stages = run_trial(opened, CONTROL, seed, read_finished_stage)
    run = autoencoder_run(opened.plan, CONTROL, seed, folder / RUN)
    network = Network(pretrained=str(stages["autoencoder"].folder / EXPORT), train="decoder")
    run_autoencoder(replace(run, steps=STEPS, network=network, method=method(dose)))
    export = str(folder / EXPORT)
    digest = json.loads((folder / RUN / "metrics.json").read_text())["weights_digest"]
    decoder = Decoder(export, open_autoencoder(export, opened.device), digest)

    def decoded() -> Iterator[Tensor]:
        for units in latents:
            batch = replace(model, decoder=decoder).decode(units)
            yield ((batch + 1) * 127.5).round() / 127.5 - 1  # as samples are stored

    return score(opened, seed, decoded(), decoder)


def falls(scores: Scores) -> tuple[float, float]:
    """Return Spearman's ρ of dose and outcome, a mean over seeds, and its one-sided p for a fall with dose.

    p: share of permutations of the doses within each seed whose ρ is as low, the observed one among them.
    """
    doses = torch.arange(len(DOSES), dtype=torch.float64)
    ranks = torch.stack([torch.tensor(values).argsort().argsort().double() for values in scores.values()])
    ranks -= ranks.mean(dim=1, keepdim=True)
    scale = (doses - doses.mean()).square().sum()

    def rho(order: Tensor) -> Tensor:
        return ((order.double() - doses.mean()) * ranks).sum(dim=(-1, -2)) / scale / len(ranks)

    generator = seeded("decoder alone")
    drawn = torch.rand(PERMUTATIONS, *ranks.shape, generator=generator).argsort(dim=-1)
    observed = rho(doses.expand_as(ranks))
    return float(observed), (1 + int((rho(drawn) <= observed + 1e-12).sum())) / (1 + PERMUTATIONS)


def slope(scores: Scores) -> tuple[float, float, float]:
    """Return the change of an outcome from the first dose to the last by a line through all seeds, and its 95 % ends.

    Each seed has an intercept of its own.
    """
    span = len(DOSES) - 1
    x = [dose / span for _ in scores for dose in DOSES]
    y = [value - mean(values) for values in scores.values() for value in values]
    line = linregress(x, y)
    freedom = len(x) - len(scores) - 1
    error = line.stderr * ((len(x) - 2) / freedom) ** 0.5
    half = float(student.ppf(0.975, freedom)) * error
    return line.slope, line.slope - half, line.slope + half


def slopes(scores: Scores) -> tuple[list[float], float, float]:
    """Return each seed's own change by its line, and the 95 % t interval of their mean: for other autoencoders too."""
    span = len(DOSES) - 1
    each = [float(linregress([dose / span for dose in DOSES], values).slope) for values in scores.values()]
    half = float(student.ppf(0.975, len(each) - 1)) * stdev(each) / len(each) ** 0.5 if len(each) > 1 else math.inf
    return each, mean(each) - half, mean(each) + half


def reading(y1: Scores, whole: float) -> str:
    """Return whose the gain is, as written down; whole: the change of y1 from the control to whole DSM.

    "decoder": y1 falls with dose and by at least half of that. "encoder": it does not fall, and the interval of the
    slope excludes half of that. Else "undecided", as where whole DSM gains nothing.
    """
    change = mean(values[-1] - values[0] for values in y1.values())
    fell = falls(y1)[1] < LEVEL
    if whole >= 0:  # there is no gain to attribute
        return "undecided"
    if fell and change <= whole / 2:
        return "decoder"
    _, low, _ = slope(y1)
    return "encoder" if not fell and low > whole / 2 else "undecided"


def summary(rows: Sequence[Mapping[str, Any]], whole: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the tests of the seeds that have all doses; whole: scores of DSM minus the control's, seed by seed."""
    table = {(row["seed"], row["dose"]): row["scores"] for row in rows}
    seeds = [seed for seed in sorted({seed for seed, _ in table}) if all((seed, dose) in table for dose in DOSES)]
    if not seeds:
        return {}
    found: dict[str, Any] = {"seeds": seeds, "outcomes": {}}
    for outcome in OUTCOMES:
        scores = {seed: [table[seed, dose][outcome] for dose in DOSES] for seed in seeds}
        rho, p = falls(scores)
        change, low, high = slope(scores)
        by_seed, low_over_seeds, high_over_seeds = slopes(scores)
        means = [mean(values[dose] for values in scores.values()) for dose in DOSES]
        change_of_whole = mean(each[outcome] for each in whole if each["seed"] in seeds)
        found["outcomes"][outcome] = {
            "means": means,
            "rho": rho,
            "p": p,
            "slope": change,
            "low": low,
            "high": high,
            "by_seed": by_seed,
            "low_over_seeds": low_over_seeds,
            "high_over_seeds": high_over_seeds,
            "whole": change_of_whole,
        }
        if outcome == "fid":
            found["reading"] = reading(scores, change_of_whole)
    return found


def table(document: Mapping[str, Any]) -> str:
    """Return both distances at each dose as Markdown: means, and each seed."""
    values = {(row["seed"], row["dose"]): row["scores"] for row in document["rows"]}
    seeds = document["summary"]["seeds"]
    at = f"at seeds {', '.join(map(str, seeds))}"
    lines = [f"| updates low-passed | y1 | {at} | y2 | {at} |", "|---" * 5 + "|"]
    for dose in DOSES:
        each = [[values[seed, dose][outcome] for seed in seeds] for outcome in OUTCOMES]
        cells = [cell for row in each for cell in (f"{mean(row):.2f}", ", ".join(f"{value:.2f}" for value in row))]
        lines.append(f"| {dose}/{len(DOSES)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is chosen, then save all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    opened = open_runs(arguments.runs, arguments.seeds)
    rows: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        finished_trials = {entry: finished(parser, opened, entry, seed) for entry in (CONTROL, WHOLE)}
        stages = finished_trials[CONTROL]
        model, latents = sampled_latents(opened, stages)
        for dose in DOSES:
            inputs = {"samples": stages["samples"].digest, "steps": STEPS, "method": asdict(method(dose))}

            def work(folder: Path, seed: int = seed, dose: int = dose) -> dict[str, float | None]:
                return run_dose(opened, seed, dose, model, latents, folder)  # noqa: B023

            stage = run_stage(arguments.runs / "decoder_alone" / f"seed{seed}", f"dose{dose}", inputs, work)
            rows.append({"seed": seed, "dose": dose, "scores": stage.outputs})
            print(json.dumps(rows[-1]), flush=True)
        scores = {entry: scores_of(trial) for entry, trial in finished_trials.items()}
        whole.append({"seed": seed} | {key: scores[WHOLE][key] - scores[CONTROL][key] for key in OUTCOMES})
    document = save_rows(
        RESULTS / "decoder_alone.json",
        {"rows": (rows, ("seed", "dose")), "whole": (whole, ("seed",))},
        lambda merged: {"summary": summary(merged["rows"], merged["whole"])},
    )
    print(json.dumps(document["summary"], indent=1))
    if document["summary"]:
        print(table(document))


if __name__ == "__main__":
    main()
