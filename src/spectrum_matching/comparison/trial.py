"""Run one entry of a plan from one seed, stage by stage: autoencoder, analysis, cache, diffusion, samples, scores."""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator

from .. import __version__
from ..analysis.measure import analyze
from ..data.images import ImageSet
from ..data.order import fixed_batches
from ..data.selection import images_to_cache
from ..evaluation.generation import evaluate_generation
from ..evaluation.reconstruction import evaluate_reconstruction
from ..evaluation.reference import Reference, compute_reference, load_reference, save_reference
from ..evaluation.samples import open_samples
from ..files.digests import digest_weights
from ..files.settings import hashed_settings
from ..files.stages import FinishedStage, StageRunner, run_stage, slug
from ..latents.cache_job import Storage, write_cache
from ..latents.dataset import open_latents
from ..latents.encode import Encoder, autoencoder_encoder, encode_images, images_of, vision_encoder
from ..nets.autoencoder import Autoencoder, open_autoencoder
from ..nets.vision.encoders import open_vision
from ..records import scores
from ..records.analysis import ANALYSES
from ..records.comparison import Stage
from ..records.training_data import training_data
from ..sampling.model import Decoder, open_model
from ..sampling.samples import read_sampling, record_path, write_samples
from ..training.run_autoencoder import run_autoencoder
from ..training.run_diffusion import run_diffusion
from .checks import OpenedPlan, autoencoder_run, diffusion_run
from .plans import Plan

log = logging.getLogger(__name__)

BATCH_SIZE = 64

Values = dict[str, Any]
ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass
class TrialContext:
    """One entry of a plan from one seed, and what its stages share.

    progress: shows a bar under a title. done: the finished stages by name.
    """

    opened: OpenedPlan
    entry: str
    seed: int
    progress: ProgressBar
    done: dict[Stage, FinishedStage] = field(default_factory=dict)
    _autoencoder: Autoencoder | None = None

    @property
    def plan(self) -> Plan:
        """The plan that the entry is of."""
        return self.opened.plan

    @cached_property
    def owner(self) -> str:
        """The plan's first entry that trains the same autoencoder; the stages up to alignment targets lie with it."""
        entries = self.plan.entries
        return next(name for name in entries if entries[name].method == entries[self.entry].method)

    @property
    def images(self) -> ImageSet:
        """Images that the autoencoder is measured on."""
        return self.opened.measured[self.seed]

    @property
    def workers(self) -> int:
        """Processes that read images."""
        return self.plan.autoencoder.data.workers

    def export(self, name: Stage) -> Path:
        """The folder of the model that a finished stage exported."""
        return self.done[name].folder / str(self.done[name].outputs["export"])

    def weights(self, name: Stage) -> str:
        """The digest of that model's weights."""
        return str(self.done[name].outputs["weights"])

    def autoencoder(self, export: Path | None = None) -> Autoencoder:
        """The trained autoencoder on the device, frozen, in eval mode; opened once. export: its folder, if not done."""
        if self._autoencoder is None:
            self._autoencoder = open_autoencoder(str(export or self.export("autoencoder")), self.opened.device)
        return self._autoencoder


class TrialStage(NamedTuple):
    """A row of the table of stages.

    is_shared: whether entries that train the same autoencoder share it. inputs: plain values that decide the result;
    None where the entry has no such stage. work: writes the result into a folder and returns the stage's outputs.
    """

    name: Stage
    is_shared: bool
    inputs: Callable[[TrialContext], Values | None]
    work: Callable[[TrialContext, Path], Values]


def run_trial(
    opened: OpenedPlan,
    entry: str,
    seed: int,
    run_stage: StageRunner = run_stage,
    progress: ProgressBar = lambda title: nullcontext(lambda done, total: None),
) -> dict[Stage, FinishedStage]:
    """Run the stages of one trial that are not finished, and return all of them by name.

    run_stage: `read_finished_stage` reads a finished trial, and runs nothing. progress: shows a bar under a title.
    """
    trial = TrialContext(opened, entry, seed, progress)
    for name, is_shared, inputs, work in STAGES:
        decided = inputs(trial)
        if decided is not None:
            folder = Path(trial.plan.out) / slug(trial.owner if is_shared else entry) / f"seed{seed}"
            trial.done[name] = run_stage(folder, name, decided, partial(work, trial))
    return trial.done


def autoencoder_inputs(trial: TrialContext) -> Values:
    """Return what decides the autoencoder: its run, the training images and the weights of its vision encoder."""
    run = autoencoder_run(trial.plan, trial.owner, trial.seed, Path())
    vision = trial.plan.entries[trial.owner].method.vision
    encoder = {} if vision is None else {"vision": trial.opened.encoders[vision]}
    return hashed_settings(run) | {"images": trial.opened.training_digest, "version": __version__} | encoder


def train_autoencoder(trial: TrialContext, folder: Path) -> Values:
    """Train and export the autoencoder."""
    with trial.progress("training the autoencoder") as progress:
        export = run_autoencoder(autoencoder_run(trial.plan, trial.owner, trial.seed, folder / "run"), progress)
    return {"export": "run/export", "weights": digest_weights(trial.autoencoder(export))}


def analysis_inputs(trial: TrialContext) -> Values:
    """Return what decides the analysis: the autoencoder, the images and how many are measured."""
    measuring = trial.plan.measuring
    numbers = {"n": measuring.analyzed, "tested": measuring.tested, "seed": trial.seed}
    return _measured_images(trial) | numbers | {"weights": trial.weights("autoencoder")}


def write_analysis(trial: TrialContext, folder: Path) -> Values:
    """Analyze the autoencoder into analysis.json."""
    measuring = trial.plan.measuring
    with trial.progress("analyzing") as progress:
        analysis = analyze(
            trial.autoencoder(),
            trial.images,
            name=trial.owner,
            n_images=measuring.analyzed,
            n_tests=min(measuring.tested, measuring.analyzed),
            seed=trial.seed,
            progress=progress,
        )
    ANALYSES.write(folder / "analysis.json", [analysis])
    return {}


def cache_inputs(trial: TrialContext) -> Values:
    """Return what decides the cached latents: autoencoder, images and storage."""
    storage = {"flips": trial.plan.diffusion.source.flip, "dtype": trial.plan.cache}
    return storage | {"weights": trial.weights("autoencoder"), "images": trial.opened.training_digest}


def cache_latents(trial: TrialContext, folder: Path) -> Values:
    """Cache the latents of the training images."""
    export = str(trial.export("autoencoder"))
    selection = images_to_cache(training_data(export), None, size=None, split=None)
    encoder = autoencoder_encoder(export, trial.autoencoder(), selection.size, trial.opened.device)
    storage = Storage(trial.plan.cache, trial.plan.diffusion.source.flip)
    return _cache(trial, encoder, selection, storage, folder / "latents")


def targets_inputs(trial: TrialContext) -> Values | None:
    """Return what decides the alignment targets: latents and vision encoder; None for an entry without alignment."""
    alignment = trial.plan.entries[trial.entry].alignment
    if not alignment.weight:
        return None
    return {
        "latents": trial.done["cache"].digest,
        "encoder": trial.opened.encoders[str(alignment.encoder), alignment.size],
        "size": alignment.size,
        "dtype": trial.plan.cache,
    }


def cache_targets(trial: TrialContext, folder: Path) -> Values:
    """Cache the alignment targets of the images that the cached latents are of."""
    alignment = trial.plan.entries[trial.entry].alignment
    latents = open_latents(trial.done["cache"].folder / "latents")
    selection, name = images_of(latents), str(alignment.encoder)
    device = trial.opened.device
    encoder = vision_encoder(name, open_vision(name, device, alignment.size), selection.size, device)
    return _cache(trial, encoder, selection, Storage(trial.plan.cache, latents.info.flips), folder / "targets")


def diffusion_inputs(trial: TrialContext) -> Values:
    """Return what decides the diffusion model: its run, the latents and the alignment targets."""
    run = diffusion_run(trial.plan, trial.entry, trial.seed, Path(), Path())
    targets = {"targets": trial.done["targets"].digest} if "targets" in trial.done else {}
    return hashed_settings(run) | {"latents": trial.done["cache"].digest, "version": __version__} | targets


def train_diffusion(trial: TrialContext, folder: Path) -> Values:
    """Train and export the diffusion model on the cached latents."""
    latents = trial.done["cache"].folder / "latents"
    targets = trial.done["targets"].folder / "targets" if "targets" in trial.done else None
    run = diffusion_run(trial.plan, trial.entry, trial.seed, latents, folder / "run", targets)
    with trial.progress("training the diffusion model") as progress:
        export = run_diffusion(run, progress)
    metrics = json.loads((export.parent / "metrics.json").read_text())
    return {"export": "run/export", "weights": metrics["weights_digest"]}


def samples_inputs(trial: TrialContext) -> Values:
    """Return what decides the samples: diffusion model, decoder, sampler and their number."""
    models = {"model": trial.done["diffusion"].digest, "decoder": trial.weights("autoencoder")}
    return models | hashed_settings(trial.plan.sampling) | {"n": trial.plan.measuring.samples}


def sample(trial: TrialContext, folder: Path) -> Values:
    """Generate images into samples.npz."""
    export = trial.export("autoencoder")
    decoder = Decoder(str(export), trial.autoencoder(), trial.weights("autoencoder"))
    model = open_model(trial.export("diffusion"), trial.opened.device, decoder)
    out, accelerator = folder / "samples.npz", Accelerator(mixed_precision="no")
    with trial.progress("sampling") as progress:
        write_samples(model, trial.plan.sampling, trial.plan.measuring.samples, out, accelerator, progress)
    return {}


def scores_inputs(trial: TrialContext) -> Values:
    """Return what decides the scores: samples, reference, extractor and the images to reconstruct."""
    opened, measuring = trial.opened, trial.plan.measuring
    reference = {"reference": opened.references[trial.seed].digest, "n_reference": measuring.reference}
    images = _measured_images(trial) | {"n": measuring.reconstructions}
    return images | reference | {"samples": trial.done["samples"].digest, "extractor": extractor_digest(opened)}


def write_scores(trial: TrialContext, folder: Path) -> Values:
    """Score the generated and the reconstructed images into scores.json."""
    log.info("scoring")
    samples, n = trial.done["samples"].folder / "samples.npz", trial.plan.measuring.reconstructions
    generation = evaluate_generation(
        trial.entry,
        fixed_batches(open_samples(samples), BATCH_SIZE),
        open_reference(trial.opened, trial.seed),
        trial.opened.extractor,
        sampling=read_sampling(record_path(samples)),
        seed=trial.seed,
    )
    reconstruction = evaluate_reconstruction(
        trial.entry,
        trial.autoencoder(),
        (batch.images for batch in fixed_batches(trial.images, BATCH_SIZE, n, workers=trial.workers)),
        trial.opened.extractor,
        source=trial.images.source,
        source_digest=trial.images.digest,
        seed=trial.seed,
    )
    scores.EVALUATIONS.write(folder / "scores.json", [generation, reconstruction])
    return {}


STAGES = (
    TrialStage("autoencoder", True, autoencoder_inputs, train_autoencoder),
    TrialStage("analysis", True, analysis_inputs, write_analysis),
    TrialStage("cache", True, cache_inputs, cache_latents),
    TrialStage("targets", True, targets_inputs, cache_targets),
    TrialStage("diffusion", False, diffusion_inputs, train_diffusion),
    TrialStage("samples", False, samples_inputs, sample),
    TrialStage("scores", False, scores_inputs, write_scores),
)


def open_reference(opened: OpenedPlan, seed: int) -> Reference:
    """Return statistics of the images that samples are compared with, computed once for all trials that share them."""
    images, workers = opened.references[seed], opened.plan.autoencoder.data.workers
    n = min(len(images), opened.plan.measuring.reference)

    def compute(folder: Path) -> Mapping[str, Any]:
        batches = (batch.images for batch in fixed_batches(images, BATCH_SIZE, n, workers=workers))
        reference = compute_reference(images.source, batches, opened.extractor)
        save_reference(reference, folder / "reference.safetensors")
        return {}

    inputs = {"images": images.digest, "size": images.size, "n": n}
    inputs |= {"extractor": extractor_digest(opened), "version": __version__}
    return load_reference(
        run_stage(Path(opened.plan.out), "reference", inputs, compute).folder / "reference.safetensors"
    )


def extractor_digest(opened: OpenedPlan) -> str:
    """Return the digest of the plan's feature extractor, "" without one."""
    return opened.extractor.digest if opened.extractor else ""


def _measured_images(trial: TrialContext) -> Values:
    return {"images": trial.images.digest, "size": trial.images.size, "version": __version__}


def _cache(trial: TrialContext, encoder: Encoder, selection: ImageSet, storage: Storage, out: Path) -> Values:
    job = encode_images(encoder, selection, storage, batch_size=BATCH_SIZE, workers=trial.workers)
    with trial.progress("caching") as progress:
        write_cache(job, out, Accelerator(mixed_precision="no"), progress)
    return {}
