"""From the stages of finished trials to one `Comparison`."""

import json
import statistics
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ..analysis.conditions import numbers
from ..data.order import fixed_batches
from ..data.pictures import as_png
from ..evaluation.samples import open_samples
from ..files.stages import Done, UnfinishedError, finished, slug
from ..files.yaml_files import to_yaml
from ..nets.autoencoder import Autoencoder
from ..nets.denoiser.build import open_denoiser
from ..records.analysis import Analysis, Spectrum, read_analyses
from ..records.comparison import Comparison, CurvePoint, Stage, Trial
from ..records.provenance import provenance
from ..records.scores import Evaluation, read_evaluations
from .checks import OpenedPlan
from .trial import Stages, run_trial

N_SHOWN, N_CURVE = 36, 50
STAGES: tuple[Stage, ...] = ("autoencoder", "analysis", "cache", "targets", "diffusion", "samples", "scores")


def gather(opened: OpenedPlan, command: str) -> Comparison:
    """Every finished trial of a plan; those that are missing are named in the notes. ValueError where there is none."""
    plan, found, missing = opened.plan, [], []
    for seed in plan.seeds:
        for entry in plan.entries:
            try:
                found.append((entry, seed, run_trial(opened, entry, seed, Console(quiet=True), finished)))
            except UnfinishedError as error:
                missing.append(f"{entry}, seed {seed}: {error} is not done")
    if not found:
        raise ValueError(f"{plan.out} holds no finished trial of plan {plan.name}; run it first")
    trials = tuple(trial(entry, seed, stages) for entry, seed, stages in found)
    first, parameters = found[0][2], n_parameters(found[0][2])
    analysis = read_analyses(first.analysis.folder / "analysis.json")[0]
    shown = next(fixed_batches(opened.references[plan.seeds[0]], N_SHOWN, N_SHOWN)).images
    assert analysis.image_on_latent_grid is not None
    return Comparison(
        name=plan.name,
        plan=to_yaml(plan),
        control=plan.control,
        command=command,
        n_parameters=parameters,
        image_spectrum=analysis.image_on_latent_grid,
        images=as_png(shown),
        trials=trials,
        provenance=provenance(opened.device, torch.float32, plan.seeds[0]),
        notes=(*size_notes(opened, parameters), *missing),
    )


def trial(entry: str, seed: int, stages: Stages) -> Trial:
    """One trial from its files."""
    analysis = read_analyses(stages.analysis.folder / "analysis.json")[0]
    generation, reconstruction = evaluations(stages.scores.folder / "scores.json")
    done: dict[Stage, Done] = {name: each for name in STAGES if (each := getattr(stages, name)) is not None}
    return Trial(
        method=entry,
        seed=seed,
        numbers=numbers(analysis),
        latent_spectrum=at_unit_scale(analysis),
        reconstruction=reconstruction,
        generation=generation,
        curve=curve(stages.diffusion.folder / "run" / "log.jsonl"),
        samples=as_png(next(open_samples(stages.samples.folder / "samples.npz", N_SHOWN)[1]).images),
        # Those of stages that another entry of the plan has run as well are counted there.
        seconds={name: stage.seconds for name, stage in done.items() if stage.folder.parent.parent.name == slug(entry)},
        autoencoder_digest=stages.autoencoder.outputs["weights"],
        denoiser_digest=stages.diffusion.outputs["weights"],
    )


def evaluations(path: Path) -> tuple[Evaluation, Evaluation]:
    """Of the samples, and of the reconstructions."""
    generation, reconstruction = read_evaluations(path)
    return generation, reconstruction


def at_unit_scale(analysis: Analysis) -> Spectrum:
    """The spectrum of posterior means, divided by their variance."""
    view = analysis.view("mean")
    power = tuple(value / view.std**2 for value in view.spectrum.power)
    return Spectrum(view.spectrum.frequencies, power, view.spectrum.exponent)


def curve(log: Path) -> tuple[CurvePoint, ...]:
    """The logged losses in at most 50 points, each a mean."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    logged = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    width = -(-len(logged) // N_CURVE) or 1
    groups = [logged[start : start + width] for start in range(0, len(logged), width)]
    return tuple(CurvePoint(group[-1][0], statistics.mean(loss for _, loss in group)) for group in groups)


def n_parameters(stages: Stages) -> tuple[int, int]:
    """Of the autoencoder and of the denoiser."""
    autoencoder = Autoencoder.from_pretrained(stages.autoencoder.folder / stages.autoencoder.outputs["export"])
    denoiser = open_denoiser(stages.diffusion.folder / stages.diffusion.outputs["export"])
    return count(autoencoder), count(denoiser)


def count(network: torch.nn.Module) -> int:
    """Of all parameters."""
    return sum(p.numel() for p in network.parameters())


def size_notes(opened: OpenedPlan, parameters: tuple[int, int]) -> tuple[str, ...]:
    """How small the comparison is, in numbers."""
    plan = opened.plan
    autoencoder, diffusion = plan.autoencoder, plan.diffusion
    return (
        f"Autoencoders of {parameters[0]:,} parameters, {autoencoder.steps:,} updates of {autoencoder.batch_size} "
        f"images, {autoencoder.data.size} × {autoencoder.data.size} pixels; denoisers of {parameters[1]:,} parameters, "
        f"{diffusion.steps:,} updates of {diffusion.batch_size} latents; {plan.measuring.samples:,} samples, "
        f"{len(plan.seeds)} seeds.",
        "All trials have equal updates, not equal computation.",
        "Samples of all trials start from the same noise: the spread over seeds is that of training alone.",
    )
