"""Run one entry of a plan from one seed, stage by stage, from the autoencoder to the scores of its samples.

The processes of a launch share every stage but two: what is measured on one set of latents, by analysis and by models
that are not trained, the main one measures while the others wait.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from .. import __version__
from ..analysis.generative import generate_without_training
from ..analysis.measure import analyze
from ..analysis.options import N_REFERENCE, AnalysisOptions, ReferenceData
from ..data.fingerprint import fingerprint
from ..data.images import ImageSet
from ..data.labels import labels_digest
from ..data.order import spread_items
from ..data.selection import images_to_cache
from ..evaluation.decoded_reference import decoded_reference_of
from ..evaluation.generation import evaluate_generation
from ..evaluation.reconstruction import evaluate_reconstruction
from ..evaluation.reference import load_reference, save_reference
from ..evaluation.samples import open_samples
from ..files.documents import read_json
from ..files.settings import hashed_settings
from ..files.stages import REMEDY, FinishedStage, StageRunner, UnfinishedError, Work, read_finished_stage, slug
from ..latents.encode import Encoder, autoencoder_encoder, encode_images, images_of, vision_encoder
from ..latents.open_latents import open_latents
from ..latents.write_cache import Storage, write_cache
from ..nets.autoencoder import Autoencoder, open_autoencoder
from ..nets.vision.encoders import open_vision
from ..processes import in_main, open_accelerator
from ..records.analysis import ANALYSES
from ..records.comparison import Stage
from ..records.generative import GENERATIVE
from ..records.scores import EVALUATIONS
from ..records.training_data import training_data
from ..sampling.model import Decoder, open_model
from ..sampling.sample_record import verify_samples
from ..sampling.samples import write_samples
from ..training.run_autoencoder import run_autoencoder
from ..training.run_diffusion import run_diffusion
from .checks import OpenedPlan, autoencoder_run, diffusion_run
from .plans import Plan
from .shared import BATCH_SIZE, open_reference, run_stage, share_of

log = logging.getLogger(__name__)

RUN, EXPORT, LATENTS, TARGETS, SAMPLES = "run", "run/export", "latents", "targets", "samples.npz"
GENERATED, SCORES = "generative.json", "scores.json"
RECONSTRUCTIONS = "reconstructions.safetensors"

Values = dict[str, Any]
ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass
class TrialContext:
    """One entry of a plan from one seed, and what its stages share.

    owner: the plan's first entry that trains the same autoencoder, under whose name shared stages are stored. images:
    those that the autoencoder is measured on. progress: shows a bar under a title. done: the finished stages by name.
    """

    opened: OpenedPlan
    plan: Plan
    entry: str
    owner: str
    seed: int
    images: ImageSet
    progress: ProgressBar
    done: dict[Stage, FinishedStage] = field(default_factory=dict)

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """The trained autoencoder on the device, frozen, in eval mode."""
        return open_autoencoder(str(self.folder("autoencoder") / EXPORT), self.opened.device)

    def folder(self, name: Stage) -> Path:
        """Return the folder of a finished stage."""
        return self.done[name].folder

    def weights(self, name: Stage) -> str:
        """Return the digest of the weights that a finished stage trained."""
        return str(self.done[name].outputs["weights"])


class TrialStage(NamedTuple):
    """A row of the table of stages.

    is_shared: whether entries that train the same autoencoder share it. inputs: plain values that decide the result;
    None if the entry has no such stage. work: writes the result into a folder and returns the stage's outputs.
    """

    name: Stage
    is_shared: bool
    inputs: Callable[[TrialContext], Values | None]
    work: Callable[[TrialContext, Path], Values | None]


def run_trial(
    opened: OpenedPlan,
    entry: str,
    seed: int,
    run_stage: StageRunner = run_stage,
    progress: ProgressBar = lambda title: nullcontext(lambda done, total: None),
) -> dict[Stage, FinishedStage]:
    """Run the stages of one trial that are not finished, and return all of them by name; all processes must call it.

    run_stage: `read_finished_stage` reads a finished trial, and runs nothing. progress: shows a bar under a title.
    """
    plan = opened.plan
    trial = TrialContext(opened, plan, entry, owner_of(plan, entry), seed, opened.measured[seed], progress)
    for name, is_shared, inputs, work in STAGES:
        values = inputs(trial)
        if values is not None:
            parent = parent_of(plan, entry, seed, is_shared)
            trial.done[name] = run_stage(parent, name, values, partial(work, trial))
    return trial.done


def owner_of(plan: Plan, entry: str) -> str:
    """Return the plan's first entry that trains the same autoencoder as an entry."""
    return next(name for name, other in plan.entries.items() if other.method == plan.entries[entry].method)


def parent_of(plan: Plan, entry: str, seed: int, is_shared: bool) -> Path:
    """Return the folder in which the folders of a trial's stages lie."""
    return Path(plan.out) / slug(owner_of(plan, entry) if is_shared else entry) / f"seed{seed}"


def planned_stages(plan: Plan, trials: Iterable[tuple[str, int]]) -> set[tuple[Path, Stage]]:
    """Return the stages of trials, given as entry and seed, each by its parent folder and name; shared ones once."""
    return {(parent_of(plan, entry, seed, stage.is_shared), stage.name) for entry, seed in trials for stage in STAGES}


def finished_stages(opened: OpenedPlan, trials: Iterable[tuple[str, int]]) -> set[tuple[Path, Stage]]:
    """Return those of `planned_stages` that are finished, of each trial up to the first that is not.

    Raises:
        ValueError: where a finished stage is damaged.
    """
    finished = set[tuple[Path, Stage]]()

    def read(parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> FinishedStage:
        stage = read_finished_stage(parent, name, inputs, work)
        finished.add((parent, cast(Stage, name)))
        return stage

    for entry, seed in trials:
        with suppress(UnfinishedError):
            run_trial(opened, entry, seed, read)
    return finished


def _autoencoder_inputs(trial: TrialContext) -> Values:
    run = autoencoder_run(trial.plan, trial.owner, trial.seed, Path())
    values = hashed_settings(run) | {"images": trial.opened.training_digest, "version": __version__}
    values |= trial.opened.networks
    vision = trial.plan.entries[trial.owner].method.vision
    return values if vision is None else values | {"vision": trial.opened.encoders[vision]}


def _train_autoencoder(trial: TrialContext, folder: Path) -> Values:
    run = autoencoder_run(trial.plan, trial.owner, trial.seed, folder / RUN)
    with trial.progress("training the autoencoder") as progress:
        return _outputs(run_autoencoder(run, progress))


def _analysis_inputs(trial: TrialContext) -> Values:
    measuring = trial.plan.measuring
    numbers = {"spread": measuring.analyzed, "tested": measuring.tested, "seed": trial.seed}
    classes = {"labels": labels_digest(trial.images.classes, trial.images.labels)} if measuring.labels else {}
    return _measured_images(trial) | numbers | classes | {"weights": trial.weights("autoencoder")}


def _analyze(trial: TrialContext, folder: Path) -> None:
    n_images = trial.plan.measuring.analyzed

    def measure() -> None:
        with trial.progress("analyzing") as progress:
            analysis = analyze(
                trial.autoencoder,
                trial.images,
                name=trial.owner,
                n_images=n_images,
                n_tests=min(trial.plan.measuring.tested, n_images),
                options=AnalysisOptions(labels=trial.plan.measuring.labels),
                seed=trial.seed,
                progress=progress,
            )
        ANALYSES.write(folder / "analysis.json", [analysis])

    in_main(open_accelerator(), measure)


def _reconstruction_inputs(trial: TrialContext) -> Values:
    values = _measured_images(trial) | {"spread": trial.plan.measuring.reconstructions, "seed": trial.seed}
    return values | {"weights": trial.weights("autoencoder"), "extractor": trial.opened.extractor_digest}


def _reconstruct(trial: TrialContext, folder: Path) -> None:
    n, accelerator = trial.plan.measuring.reconstructions, open_accelerator()
    reconstruction = evaluate_reconstruction(
        trial.owner,
        trial.autoencoder,
        share_of(trial.images, n, trial.plan.autoencoder.data.workers),
        trial.opened.extractor,
        source=trial.images.source,
        source_digest=fingerprint(trial.images, spread_items(trial.images, n)).digest,
        accelerator=accelerator,
        seed=trial.seed,
    )
    in_main(accelerator, lambda: EVALUATIONS.write(folder / SCORES, [reconstruction]))


def _cache_inputs(trial: TrialContext) -> Values:
    diffusion = trial.plan.diffusion
    storage = {"flips": diffusion.source.flip, "labels": trial.opened.training_labels, "dtype": trial.plan.cache}
    return storage | {"weights": trial.weights("autoencoder"), "images": trial.opened.training_digest}


def _cache_latents(trial: TrialContext, folder: Path) -> None:
    export = str(trial.folder("autoencoder") / EXPORT)
    labels = trial.plan.diffusion.denoiser.labels
    images = images_to_cache(training_data(export), None, size=None, split=None, labels=labels)
    encoder = autoencoder_encoder(export, trial.autoencoder, images.size, trial.opened.device)
    storage = Storage(trial.plan.cache, trial.plan.diffusion.source.flip)
    _cache(trial, encoder, images, storage, folder / LATENTS)


def _targets_inputs(trial: TrialContext) -> Values | None:
    alignment = trial.plan.entries[trial.entry].alignment
    if not alignment.weight:
        return None
    encoder = trial.opened.encoders[str(alignment.encoder), alignment.size]
    latents = trial.done["cache"].digest
    return {"latents": latents, "encoder": encoder, "size": alignment.size, "dtype": trial.plan.cache}


def _cache_targets(trial: TrialContext, folder: Path) -> None:
    alignment, device = trial.plan.entries[trial.entry].alignment, trial.opened.device
    latents, name = open_latents(trial.folder("cache") / LATENTS), str(alignment.encoder)
    images = images_of(latents)
    encoder = vision_encoder(name, open_vision(name, device, alignment.size), images.size, device)
    _cache(trial, encoder, images, Storage(trial.plan.cache, latents.info.flips), folder / TARGETS)


def _generative_inputs(trial: TrialContext) -> Values | None:
    if trial.opened.extractor is None:
        return None
    measuring, latents = trial.plan.measuring, trial.done["cache"].digest
    numbers = {
        "spread": measuring.reconstructions,
        "n": measuring.samples,
        "reference": N_REFERENCE,
        "seed": trial.seed,
    }
    return _measured_images(trial) | numbers | {"latents": latents, "extractor": trial.opened.extractor_digest}


def _generate_without_training(trial: TrialContext, folder: Path) -> None:
    extractor, measuring = trial.opened.extractor, trial.plan.measuring
    assert extractor is not None

    def measure() -> None:
        with trial.progress("generating without training") as progress:
            generative, output = generate_without_training(
                trial.autoencoder,
                trial.images,
                ReferenceData(open_latents(trial.folder("cache") / LATENTS)),
                extractor,
                n_images=measuring.reconstructions,
                n_drawn=measuring.samples,
                batch_size=BATCH_SIZE,
                seed=trial.seed,
                progress=progress,
            )
        names = trial.images.source, output, extractor, trial.owner, trial.weights("autoencoder")
        save_reference(decoded_reference_of(*names), folder / RECONSTRUCTIONS)
        GENERATIVE.write(folder / GENERATED, generative)

    in_main(open_accelerator(), measure)


def _diffusion_inputs(trial: TrialContext) -> Values:
    run = diffusion_run(trial.plan, trial.entry, trial.seed, Path(), Path())
    targets = {"targets": trial.done["targets"].digest} if "targets" in trial.done else {}
    return hashed_settings(run) | {"latents": trial.done["cache"].digest, "version": __version__} | targets


def _train_diffusion(trial: TrialContext, folder: Path) -> Values:
    targets = trial.folder("targets") / TARGETS if "targets" in trial.done else None
    latents = trial.folder("cache") / LATENTS
    run = diffusion_run(trial.plan, trial.entry, trial.seed, latents, folder / RUN, targets)
    with trial.progress("training the diffusion model") as progress:
        return _outputs(run_diffusion(run, progress))


def _samples_inputs(trial: TrialContext) -> Values:
    models = {"model": trial.done["diffusion"].digest, "decoder": trial.weights("autoencoder")}
    return models | hashed_settings(trial.plan.sampling) | {"n": trial.plan.measuring.samples}


def _sample(trial: TrialContext, folder: Path) -> None:
    export = str(trial.folder("autoencoder") / EXPORT)
    decoder = Decoder(export, trial.autoencoder, trial.weights("autoencoder"))
    model = open_model(trial.folder("diffusion") / EXPORT, trial.opened.device, decoder)
    accelerator, n = open_accelerator(), trial.plan.measuring.samples
    with trial.progress("sampling") as progress:
        write_samples(model, trial.plan.sampling, n, folder / SAMPLES, accelerator, progress)


def _scores_inputs(trial: TrialContext) -> Values:
    opened, measuring = trial.opened, trial.plan.measuring
    reference = {"reference": opened.references[trial.seed].digest, "n_reference": measuring.reference}
    decoded = {"generative": trial.done["generative"].digest} if "generative" in trial.done else {}
    values = {"samples": trial.done["samples"].digest, "extractor": opened.extractor_digest, "version": __version__}
    return values | reference | decoded


def _score(trial: TrialContext, folder: Path) -> None:
    log.info("scoring")
    samples = trial.folder("samples") / SAMPLES
    verified, accelerator = verify_samples(samples), open_accelerator()
    decoded = load_reference(trial.folder("generative") / RECONSTRUCTIONS) if "generative" in trial.done else None
    generation = evaluate_generation(
        trial.entry,
        share_of(open_samples(samples)),
        open_reference(trial.opened, trial.seed),
        trial.opened.extractor,
        reconstructions=decoded,
        sampling=verified[0] if verified else None,
        accelerator=accelerator,
        seed=trial.seed,
    )
    in_main(accelerator, lambda: EVALUATIONS.write(folder / SCORES, [generation]))


STAGES = (
    TrialStage("autoencoder", True, _autoencoder_inputs, _train_autoencoder),
    TrialStage("analysis", True, _analysis_inputs, _analyze),
    TrialStage("reconstruction", True, _reconstruction_inputs, _reconstruct),
    TrialStage("cache", True, _cache_inputs, _cache_latents),
    TrialStage("targets", True, _targets_inputs, _cache_targets),
    TrialStage("generative", True, _generative_inputs, _generate_without_training),
    TrialStage("diffusion", False, _diffusion_inputs, _train_diffusion),
    TrialStage("samples", False, _samples_inputs, _sample),
    TrialStage("scores", False, _scores_inputs, _score),
)


def _outputs(export: Path) -> Values:
    path = export.parent / "metrics.json"
    content = read_json(path, REMEDY)
    if not isinstance(content, dict) or not isinstance(content.get("weights_digest"), str):
        raise ValueError(f"{path} is damaged: it has no weights_digest; {REMEDY}")
    return {"weights": content["weights_digest"]}


def _measured_images(trial: TrialContext) -> Values:
    return {"images": trial.images.digest, "size": trial.images.size, "version": __version__}


def _cache(trial: TrialContext, encoder: Encoder, images: ImageSet, storage: Storage, out: Path) -> None:
    job = encode_images(encoder, images, storage, batch_size=BATCH_SIZE, workers=trial.plan.autoencoder.data.workers)
    with trial.progress("caching") as progress:
        write_cache(job, out, open_accelerator(), progress)
