"""One entry of a plan from one seed, stage by stage: autoencoder, analysis, cache, diffusion, samples, scores."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from . import __version__, results, scores
from .analysis.measure import analyze
from .cache_latents import cache_latents
from .checkpoints import write_text_aside
from .data.images import ImageSet, open_images
from .data.order import fixed_batches
from .diffusion_model import open_model
from .diffusion_runs import DiffusionRun
from .evaluation.generation import evaluate_generation
from .evaluation.reconstruction import evaluate_reconstruction
from .evaluation.reference import Reference, compute_reference, load_reference, save_reference
from .evaluation.samples import open_samples
from .nets.autoencoder import Autoencoder
from .nets.extractors import Extractor, open_extractor
from .plans import Plan
from .provenance import weights_digest
from .run_autoencoder import run_autoencoder
from .run_checks import check
from .run_diffusion import check as check_diffusion
from .run_diffusion import run_diffusion
from .runs import AutoencoderRun
from .sample import write_samples
from .sample_files import read_sampling, record_of
from .stages import Done, stage

N_AT_ONCE = 64

StageRunner = Callable[[Path, str, Mapping[str, Any], Callable[[Path], Mapping[str, Any]]], Done]


@dataclass(frozen=True)
class OpenedPlan:
    """A plan with what all of its trials share. training_digest: of all images that training draws on."""

    plan: Plan
    training_digest: str
    extractor: Extractor | None
    device: torch.device

    def measured(self, seed: int) -> ImageSet:
        """What autoencoders and samples are measured on: nothing of this seed was trained on them."""
        data, other = self.plan.autoencoder.data, self.plan.measuring.data
        if other is not None:
            return open_images(other, data.size, split="all")
        return open_images(data.path, data.size, split="held_out", held_out=data.held_out, seed=seed)


@dataclass(frozen=True)
class Stages:
    """The finished stages of one trial."""

    autoencoder: Done
    analysis: Done
    cache: Done
    diffusion: Done
    samples: Done
    scores: Done


def open_plan(plan: Plan) -> OpenedPlan:
    """ValueError, before any work, for a plan that cannot be run."""
    if not plan.entries or not plan.seeds:
        raise ValueError(f"plan {plan.name} has no entries or no seeds: there is nothing to compare")
    if plan.control not in plan.entries:
        raise ValueError(f"control is {plan.control!r}, expected one of the entries: {', '.join(plan.entries)}")
    for name in plan.entries:
        check(autoencoder_run(plan, name, 0, Path()))
        check_diffusion(diffusion_run(plan, name, 0, Path(), Path()))
    accelerator = Accelerator()
    if accelerator.num_processes > 1:
        raise ValueError(
            "compare runs in one process; share its trials by several commands with --seeds or --only, one for each GPU"
        )
    extractor = open_extractor(plan.measuring.features, accelerator.device) if plan.measuring.features else None
    data = plan.autoencoder.data
    opened = OpenedPlan(plan, open_images(data.path, data.size, split="all").digest, extractor, accelerator.device)
    for seed in plan.seeds:
        opened.measured(seed)
    return opened


def autoencoder_run(plan: Plan, entry: str, seed: int, out: Path) -> AutoencoderRun:
    """How an entry's autoencoder is trained."""
    return replace(
        plan.autoencoder, name=f"{entry}, seed {seed}", out=str(out), seed=seed, method=plan.entries[entry].method
    )


def diffusion_run(plan: Plan, entry: str, seed: int, latents: Path, out: Path) -> DiffusionRun:
    """How an entry's diffusion model is trained."""
    source = replace(plan.diffusion.source, latents=str(latents), images=None, autoencoder=None)
    run = replace(plan.diffusion, name=f"{entry}, seed {seed}", out=str(out), seed=seed, source=source)
    return replace(run, curriculum=plan.entries[entry].curriculum)


def run_trial(opened: OpenedPlan, entry: str, seed: int, console: Console, stage: StageRunner = stage) -> Stages:
    """All stages of one trial; those that are finished are read, not run.

    stage: `stages.finished` reads a finished trial, and runs nothing.
    """
    plan, measuring = opened.plan, opened.plan.measuring
    # Entries that train the same autoencoder share it.
    owner = next(name for name in plan.entries if plan.entries[name].method == plan.entries[entry].method)
    shared, own = (Path(plan.out) / slug(name) / f"seed{seed}" for name in (owner, entry))
    images = opened.measured(seed)
    measured = {"images": images.digest, "version": __version__}

    def train(folder: Path) -> Mapping[str, Any]:
        export = run_autoencoder(autoencoder_run(plan, owner, seed, folder / "run"))
        return {"export": "run/export", "weights": weights_digest(Autoencoder.from_pretrained(export))}

    recipe = deciding(autoencoder_run(plan, owner, seed, Path())) | {"images": opened.training_digest}
    autoencoder = stage(shared, "autoencoder", recipe, train)
    export = autoencoder.folder / autoencoder.outputs["export"]
    weights = autoencoder.outputs["weights"]

    def look(folder: Path) -> Mapping[str, Any]:
        console.print("analyzing", highlight=False)
        network = Autoencoder.from_pretrained(export).to(opened.device)
        found = analyze(
            network,
            images,
            name=owner,
            n_images=measuring.analyzed,
            n_tests=min(measuring.tested, measuring.analyzed),
            seed=seed,
        )
        write_text_aside(folder / "analysis.json", results.to_json([found]) + "\n")
        return {}

    asked = {"n": measuring.analyzed, "tested": measuring.tested, "weights": weights, "seed": seed}
    analysis = stage(shared, "analysis", measured | asked, look)

    def encode(folder: Path) -> Mapping[str, Any]:
        flips = plan.diffusion.source.flip
        cache_latents(str(export), out=folder / "latents", dtype=plan.cache, flips=flips, batch_size=64)
        return {}

    flips = {"flips": plan.diffusion.source.flip, "dtype": plan.cache}
    cache = stage(shared, "cache", {"weights": weights, "images": opened.training_digest, **flips}, encode)

    def diffuse(folder: Path) -> Mapping[str, Any]:
        made = run_diffusion(diffusion_run(plan, entry, seed, cache.folder / "latents", folder / "run"))
        return {
            "export": "run/export",
            "weights": json.loads((made.parent / "metrics.json").read_text())["weights_digest"],
        }

    recipe = deciding(diffusion_run(plan, entry, seed, Path(), Path())) | {"latents": cache.digest}
    diffusion = stage(own, "diffusion", recipe, diffuse)

    def draw(folder: Path) -> Mapping[str, Any]:
        model = open_model(diffusion.folder / diffusion.outputs["export"], opened.device)
        out = folder / "samples.npz"
        write_samples(model, plan.sampling, measuring.samples, out, Accelerator(), console)
        return {}

    asked = {**asdict(plan.sampling), "n": measuring.samples}
    asked.pop("batch_size")  # decides nothing
    samples = stage(own, "samples", {"weights": diffusion.outputs["weights"], "decoder": weights, **asked}, draw)

    def score(folder: Path) -> Mapping[str, Any]:
        console.print("scoring", highlight=False)
        packed = samples.folder / "samples.npz"
        generation = evaluate_generation(
            entry,
            open_samples(packed)[1],
            reference(opened, seed),
            opened.extractor,
            sampling=read_sampling(record_of(packed)),
            seed=seed,
        )
        reconstruction = evaluate_reconstruction(
            entry,
            Autoencoder.from_pretrained(export).to(opened.device),
            (batch.images for batch in fixed_batches(images, N_AT_ONCE, measuring.reconstructions)),
            opened.extractor,
            source=images.source,
            seed=seed,
        )
        write_text_aside(folder / "scores.json", scores.to_json([generation, reconstruction]) + "\n")
        return {}

    asked = {"reference": measuring.reference, "n": measuring.reconstructions, "samples": samples.digest}
    scored = stage(own, "scores", measured | asked | {"extractor": extractor_digest(opened)}, score)
    return Stages(autoencoder, analysis, cache, diffusion, samples, scored)


def reference(opened: OpenedPlan, seed: int) -> Reference:
    """Statistics of the images that samples are held against, computed once for all trials that share them."""
    images = opened.measured(seed)
    n = min(len(images), opened.plan.measuring.reference)

    def compute(folder: Path) -> Mapping[str, Any]:
        batches: Iterator[Tensor] = (batch.images for batch in fixed_batches(images, N_AT_ONCE, n))
        found = compute_reference(images.source, batches, opened.extractor)
        save_reference(found, folder / "reference.safetensors")
        return {}

    inputs = {"images": images.digest, "n": n, "extractor": extractor_digest(opened), "version": __version__}
    return load_reference(stage(Path(opened.plan.out), "reference", inputs, compute).folder / "reference.safetensors")


def extractor_digest(opened: OpenedPlan) -> str:
    """ "" without an extractor."""
    return opened.extractor.digest if opened.extractor else ""


def deciding(run: AutoencoderRun | DiffusionRun) -> dict[str, Any]:
    """What of a run decides its result, as plain values; digests stand for the data elsewhere."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(run)))
    for idle in ("name", "out", "cadence", "trackers", "max_bad_steps", "preview"):
        plain.pop(idle, None)
    for place, idle in (("data", ("path", "workers")), ("source", ("latents", "images", "autoencoder", "workers"))):
        plain[place] = {key: value for key, value in plain.get(place, {}).items() if key not in idle}
    return plain | {"version": __version__}


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")
