"""Collect the stages of finished trials into one `Comparison`."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..analysis.conditions import numbers
from ..data.order import fixed_batches
from ..data.pictures import as_png
from ..evaluation.samples import open_samples
from ..files.stages import FinishedStage, UnfinishedError, read_finished_stage, slug
from ..files.yaml_files import to_yaml
from ..nets.autoencoder import Autoencoder
from ..nets.denoiser.build import open_denoiser
from ..records.analysis import ANALYSES, Analysis, Spectrum
from ..records.comparison import Comparison, CurvePoint, Stage, Trial
from ..records.provenance import provenance
from ..records.scores import EVALUATIONS
from .checks import OpenedPlan
from .trial import EXPORT, SAMPLES, run_trial

N_SHOWN, N_CURVE = 36, 50


def collect_trials(opened: OpenedPlan, command: str) -> Comparison:
    """Collect every finished trial of a plan; the notes name those that are missing.

    Raises:
        ValueError: when no trial is finished.
    """
    plan, finished_trials, missing = opened.plan, [], []
    for seed in plan.seeds:
        for entry in plan.entries:
            try:
                stages = run_trial(opened, entry, seed, read_finished_stage)
            except UnfinishedError as error:
                missing.append(f"{entry}, seed {seed}: {error} is not done")
            else:
                finished_trials.append((entry, seed, stages))
    if not finished_trials:
        raise ValueError(f"{plan.out} holds no finished trial of plan {plan.name}; run it first")
    first = finished_trials[0][2]
    parameters, spectrum = n_parameters(first), _analysis(first).image_on_latent_grid
    assert spectrum is not None  # of an autoencoder, not of cached latents
    shown = next(fixed_batches(opened.references[plan.seeds[0]], N_SHOWN, N_SHOWN)).images
    return Comparison(
        name=plan.name,
        plan=to_yaml(plan),
        control=plan.control,
        command=command,
        n_parameters=parameters,
        image_spectrum=spectrum,
        images=as_png(shown),
        trials=tuple(collect_trial(entry, seed, stages) for entry, seed, stages in finished_trials),
        provenance=provenance(opened.device, torch.float32, plan.seeds[0]),
        notes=(*size_notes(opened, parameters), *missing),
    )


def collect_trial(entry: str, seed: int, stages: Mapping[Stage, FinishedStage]) -> Trial:
    """Read one trial from the files of its stages."""
    analysis = _analysis(stages)
    generation, reconstruction = EVALUATIONS.read(stages["scores"].folder / "scores.json")
    samples = open_samples(stages["samples"].folder / SAMPLES)
    return Trial(
        method=entry,
        seed=seed,
        numbers=numbers(analysis),
        latent_spectrum=at_unit_scale(analysis),
        reconstruction=reconstruction,
        generation=generation,
        curve=curve(stages["diffusion"].folder / "run" / "log.jsonl"),
        samples=as_png(next(fixed_batches(samples, N_SHOWN, N_SHOWN)).images),
        # A stage that entries share counts for the one that it lies with.
        seconds={name: done.seconds for name, done in stages.items() if done.folder.parent.parent.name == slug(entry)},
        autoencoder_digest=stages["autoencoder"].outputs["weights"],
        denoiser_digest=stages["diffusion"].outputs["weights"],
    )


def at_unit_scale(analysis: Analysis) -> Spectrum:
    """Return the spectrum of posterior means, divided by their variance."""
    view = analysis.view("mean")
    power = tuple(value / view.std**2 for value in view.spectrum.power)
    return Spectrum(view.spectrum.frequencies, power, view.spectrum.exponent)


def curve(log: Path) -> tuple[CurvePoint, ...]:
    """Return the logged losses as at most 50 points, each a mean."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    logged = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    width = -(-len(logged) // N_CURVE) or 1
    groups = [logged[start : start + width] for start in range(0, len(logged), width)]
    return tuple(CurvePoint(group[-1][0], statistics.mean(loss for _, loss in group)) for group in groups)


def n_parameters(stages: Mapping[Stage, FinishedStage]) -> tuple[int, int]:
    """Count the parameters of the autoencoder and of the denoiser."""
    autoencoder, denoiser = (stages[name].folder / EXPORT for name in ("autoencoder", "diffusion"))
    networks = (Autoencoder.from_pretrained(autoencoder), open_denoiser(denoiser))
    return sum(p.numel() for p in networks[0].parameters()), sum(p.numel() for p in networks[1].parameters())


def size_notes(opened: OpenedPlan, parameters: tuple[int, int]) -> tuple[str, ...]:
    """Return sentences on the scale of the comparison."""
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


def _analysis(stages: Mapping[Stage, FinishedStage]) -> Analysis:
    return ANALYSES.read(stages["analysis"].folder / "analysis.json")[0]
