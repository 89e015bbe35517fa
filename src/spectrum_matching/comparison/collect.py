"""Collect the stages of finished trials into one `Comparison`."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..analysis.conditions import numbers
from ..data.order import Images, fixed_batches
from ..data.pictures import as_png
from ..evaluation.samples import open_samples
from ..files.json_lines import read_json_lines
from ..files.stages import FinishedStage, UnfinishedError, read_finished_stage, slug
from ..files.yaml_files import to_yaml
from ..metrics.generative.gaussian import GAUSSIAN
from ..metrics.images.frechet import FLOOR_METRIC, NORMALISED_METRIC, RECONSTRUCTIONS_METRIC, normalised_distance
from ..nets.autoencoder import Autoencoder
from ..nets.denoiser.build import open_denoiser
from ..records.analysis import ANALYSES, Analysis
from ..records.comparison import Comparison, CurvePoint, Stage, Trial
from ..records.generative import GENERATIVE, Generative
from ..records.provenance import provenance
from ..records.scores import EVALUATIONS, Evaluation
from .checks import OpenedPlan
from .plans import Plan
from .trial import EXPORT, GENERATED, SAMPLES, SCORES, run_trial

N_SHOWN, N_CURVE = 36, 50


NAMED = 5
"""Unfinished trials that are named, of any number."""


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
                missing.append(f"{entry}, seed {seed} (next: {error})")
            else:
                finished_trials.append((entry, seed, stages))
    if not finished_trials:
        raise ValueError(f"{plan.out} holds no finished trial of plan {plan.name}; run it first")
    first = finished_trials[0][2]
    networks = (
        Autoencoder.from_pretrained(first["autoencoder"].folder / EXPORT),
        open_denoiser(first["diffusion"].folder / EXPORT),
    )
    autoencoder, denoiser = (sum(p.numel() for p in network.parameters()) for network in networks)
    spectrum = _analysis(first).image_on_latent_grid
    assert spectrum is not None  # of an autoencoder, not of cached latents
    return Comparison(
        name=plan.name,
        plan=to_yaml(plan),
        control=plan.control,
        command=command,
        n_parameters=(autoencoder, denoiser),
        image_spectrum=spectrum,
        images=_some_images(opened.references[plan.seeds[0]]),
        trials=tuple(collect_trial(entry, seed, stages) for entry, seed, stages in finished_trials),
        provenance=provenance(opened.device, torch.float32, plan.seeds[0]),
        notes=notes(plan, autoencoder, denoiser, missing, len({seed for _, seed, _ in finished_trials})),
    )


def notes(plan: Plan, autoencoder: int, denoiser: int, missing: Sequence[str], n_seeds: int) -> tuple[str, ...]:
    """Return what a reader must know: scale, cost, what varies between seeds, and the trials that are missing.

    autoencoder, denoiser: their numbers of parameters. n_seeds: with a finished trial.
    """
    seeds = f"{n_seeds} of {len(plan.seeds)}" if n_seeds < len(plan.seeds) else f"{n_seeds}"
    more = [f"and {len(missing) - NAMED} more"] if len(missing) > NAMED else []
    if plan.measuring.data is None:
        varies = "each seed trains on and holds out other images, so that the spread over seeds has both causes"
    else:
        varies = "the spread over seeds is that of training alone"
    return (
        f"Autoencoders of {autoencoder:,} parameters, {plan.autoencoder.steps:,} updates of "
        f"{plan.autoencoder.batch_size} images; denoisers of {denoiser:,} parameters, {plan.diffusion.steps:,} updates "
        f"of {plan.diffusion.batch_size} latents; {seeds} seed{'s' * (len(plan.seeds) > 1)}.",
        "All trials have equal updates, not equal computation.",
        f"Samples of all trials start from the same noise: {varies}.",
        *([f"Unfinished trials: {'; '.join((*missing[:NAMED], *more))}."] if missing else []),
    )


def collect_trial(entry: str, seed: int, stages: Mapping[Stage, FinishedStage]) -> Trial:
    """Read one trial from the files of its stages."""
    analysis = _analysis(stages)
    view = analysis.view("mean")
    power = tuple(value / view.std**2 for value in view.spectrum.power)  # at unit scale
    (generation,) = EVALUATIONS.read(stages["scores"].folder / SCORES)
    (reconstruction,) = EVALUATIONS.read(stages["reconstruction"].folder / SCORES)
    generative = None
    if "generative" in stages:
        generative = GENERATIVE.read(stages["generative"].folder / GENERATED)
        generation = with_normalised(generation, generative)
    return Trial(
        method=entry,
        seed=seed,
        numbers=numbers(analysis),
        latent_spectrum=replace(view.spectrum, power=power),
        reconstruction=replace(reconstruction, name=entry),  # entries that train the same autoencoder share it
        generation=generation,
        curve=curve(stages["diffusion"].folder / "run" / "log.jsonl"),
        samples=_some_images(open_samples(stages["samples"].folder / SAMPLES)),
        # A stage that entries share counts for the one that it lies with.
        seconds={name: done.seconds for name, done in stages.items() if done.folder.parent.parent.name == slug(entry)},
        autoencoder_digest=stages["autoencoder"].outputs["weights"],
        denoiser_digest=stages["diffusion"].outputs["weights"],
        generative=generative,
    )


def with_normalised(generation: Evaluation, generative: Generative) -> Evaluation:
    """Add the distance to reconstructions on a scale from its floor, 0, to the Gaussian's distance, 1."""
    scores, gaussian = generation.scores, generative.measurements[GAUSSIAN.metrics[1].key]
    if RECONSTRUCTIONS_METRIC.key not in scores:
        return generation
    normalised = normalised_distance(scores[RECONSTRUCTIONS_METRIC.key], scores[FLOOR_METRIC.key], gaussian)
    return replace(generation, scores={**scores, NORMALISED_METRIC.key: normalised})


def curve(log: Path) -> tuple[CurvePoint, ...]:
    """Return the logged losses as at most 50 points, each a mean."""
    lines = read_json_lines(log, step=int)
    logged = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    width = -(-len(logged) // N_CURVE) or 1
    groups = [logged[start : start + width] for start in range(0, len(logged), width)]
    return tuple(CurvePoint(group[-1][0], statistics.mean(loss for _, loss in group)) for group in groups)


def _some_images(images: Images) -> str:
    return as_png(next(fixed_batches(images, N_SHOWN, N_SHOWN)).images)


def _analysis(stages: Mapping[Stage, FinishedStage]) -> Analysis:
    return ANALYSES.read(stages["analysis"].folder / "analysis.json")[0]
