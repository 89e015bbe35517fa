"""One entry of a plan from one seed, stage by stage: autoencoder, analysis, cache, diffusion, samples, scores."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from .. import __version__
from ..analysis.measure import analyze
from ..data.order import fixed_batches
from ..data.selection import ToCache, images_to_cache
from ..evaluation.generation import evaluate_generation
from ..evaluation.reconstruction import evaluate_reconstruction
from ..evaluation.reference import Reference, compute_reference, load_reference, save_reference
from ..evaluation.samples import open_samples
from ..files.atomic import write_text_atomically
from ..files.digests import weights_digest
from ..files.settings import hashed_settings
from ..files.stages import Done, slug, stage
from ..latents.dataset import open_latents
from ..latents.encode import Encoding, Stored, by_autoencoder, by_vision_encoder, cache_images, images_of
from ..nets.autoencoder import Autoencoder
from ..nets.vision.encoders import open_vision
from ..records import scores
from ..records.analysis import to_json as analyses_to_json
from ..records.training_data import training_data
from ..sampling.model import open_model
from ..sampling.samples import read_sampling, record_of, write_samples
from ..training.run_autoencoder import run_autoencoder
from ..training.run_diffusion import run_diffusion
from .checks import OpenedPlan, autoencoder_run, diffusion_run

N_AT_ONCE = 64

StageRunner = Callable[[Path, str, Mapping[str, Any], Callable[[Path], Mapping[str, Any]]], Done]


@dataclass(frozen=True)
class Stages:
    """The finished stages of one trial."""

    autoencoder: Done
    analysis: Done
    cache: Done
    targets: Done | None
    diffusion: Done
    samples: Done
    scores: Done


Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def run_trial(
    opened: OpenedPlan,
    entry: str,
    seed: int,
    console: Console,
    stage: StageRunner = stage,
    bar: Bar = lambda title: nullcontext(lambda done, total: None),
) -> Stages:
    """All stages of one trial; those that are finished are read, not run.

    stage: `stages.finished` reads a finished trial, and runs nothing. bar: shows progress under a title.
    """
    plan, measuring = opened.plan, opened.plan.measuring
    # Entries that train the same autoencoder share it.
    owner = next(name for name in plan.entries if plan.entries[name].method == plan.entries[entry].method)
    shared, own = (Path(plan.out) / slug(name) / f"seed{seed}" for name in (owner, entry))
    images, workers = opened.measured[seed], plan.autoencoder.data.workers
    measured = {"images": images.digest, "size": images.size, "version": __version__}

    def train(folder: Path) -> Mapping[str, Any]:
        export = run_autoencoder(autoencoder_run(plan, owner, seed, folder / "run"))
        return {"export": "run/export", "weights": weights_digest(Autoencoder.from_pretrained(export))}

    recipe = hashed_settings(autoencoder_run(plan, owner, seed, Path()))
    recipe |= {"images": opened.training_digest, "version": __version__}
    if (sees := plan.entries[owner].method.vision) is not None:
        recipe["vision"] = opened.encoders[sees]
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
        write_text_atomically(folder / "analysis.json", analyses_to_json([found]) + "\n")
        return {}

    asked = {"n": measuring.analyzed, "tested": measuring.tested, "weights": weights, "seed": seed}
    analysis = stage(shared, "analysis", measured | asked, look)

    def write_latents(encoding: Encoding, selection: ToCache, to_store: Stored, out: Path) -> None:
        accelerator = Accelerator(mixed_precision="no")
        options: dict[str, Any] = {"batch_size": N_AT_ONCE, "workers": workers}
        with bar("caching") as progress:
            cache_images(encoding, selection, to_store, out, accelerator, **options, progress=progress)

    def encode(folder: Path) -> Mapping[str, Any]:
        selection = images_to_cache(training_data(str(export)), None, size=None, split=None)
        encoding = by_autoencoder(
            str(export), Autoencoder.from_pretrained(export), selection.images.size, opened.device
        )
        write_latents(encoding, selection, Stored(**stored), folder / "latents")
        return {}

    stored: dict[str, Any] = {"flips": plan.diffusion.source.flip, "dtype": plan.cache}
    cache = stage(shared, "cache", {"weights": weights, "images": opened.training_digest, **stored}, encode)

    alignment, targets = plan.entries[entry].alignment, None
    if alignment.weight:
        encoder, encoder_size = str(alignment.encoder), alignment.size

        def see(folder: Path) -> Mapping[str, Any]:
            latents = open_latents(cache.folder / "latents")
            vision = open_vision(encoder, opened.device, encoder_size)
            selection, to_store = images_of(latents), Stored(plan.cache, latents.has_flips)
            encoding = by_vision_encoder(encoder, vision, selection.images.size, opened.device)
            write_latents(encoding, selection, to_store, folder / "targets")
            return {}

        inputs = {
            "latents": cache.digest,
            "encoder": opened.encoders[encoder, encoder_size],
            "size": encoder_size,
            "dtype": plan.cache,
        }
        targets = stage(shared, "targets", inputs, see)
    aims = targets.folder / "targets" if targets else None

    def diffuse(folder: Path) -> Mapping[str, Any]:
        run = diffusion_run(plan, entry, seed, cache.folder / "latents", folder / "run", aims)
        made = run_diffusion(run)
        return {
            "export": "run/export",
            "weights": json.loads((made.parent / "metrics.json").read_text())["weights_digest"],
        }

    recipe = hashed_settings(diffusion_run(plan, entry, seed, Path(), Path()))
    recipe |= {"latents": cache.digest, "version": __version__}
    if targets is not None:
        recipe["targets"] = targets.digest
    diffusion = stage(own, "diffusion", recipe, diffuse)

    def draw(folder: Path) -> Mapping[str, Any]:
        model = open_model(diffusion.folder / diffusion.outputs["export"], opened.device, str(export))
        out, accelerator = folder / "samples.npz", Accelerator(mixed_precision="no")
        write_samples(model, plan.sampling, measuring.samples, out, accelerator, console)
        return {}

    asked = hashed_settings(plan.sampling) | {"n": measuring.samples}
    samples = stage(own, "samples", {"model": diffusion.digest, "decoder": weights, **asked}, draw)

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
            (b.images for b in fixed_batches(images, N_AT_ONCE, measuring.reconstructions, workers=workers)),
            opened.extractor,
            source=images.source,
            source_digest=images.digest,
            seed=seed,
        )
        write_text_atomically(folder / "scores.json", scores.to_json([generation, reconstruction]) + "\n")
        return {}

    held_against = {"reference": opened.references[seed].digest, "n_reference": measuring.reference}
    asked = {"n": measuring.reconstructions, "samples": samples.digest, "extractor": extractor_digest(opened)}
    scored = stage(own, "scores", measured | held_against | asked, score)
    return Stages(autoencoder, analysis, cache, targets, diffusion, samples, scored)


def reference(opened: OpenedPlan, seed: int) -> Reference:
    """Statistics of the images that samples are held against, computed once for all trials that share them."""
    images, workers = opened.references[seed], opened.plan.autoencoder.data.workers
    n = min(len(images), opened.plan.measuring.reference)

    def compute(folder: Path) -> Mapping[str, Any]:
        batches: Iterator[Tensor] = (b.images for b in fixed_batches(images, N_AT_ONCE, n, workers=workers))
        found = compute_reference(images.source, batches, opened.extractor)
        save_reference(found, folder / "reference.safetensors")
        return {}

    asked = {"images": images.digest, "size": images.size, "n": n}
    inputs = asked | {"extractor": extractor_digest(opened), "version": __version__}
    return load_reference(stage(Path(opened.plan.out), "reference", inputs, compute).folder / "reference.safetensors")


def extractor_digest(opened: OpenedPlan) -> str:
    """ "" without an extractor."""
    return opened.extractor.digest if opened.extractor else ""
