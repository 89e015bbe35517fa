"""What must hold of a plan before any work, and the runs that it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..data.images import ImageSet, open_images
from ..files.settings import validate
from ..nets.autoencoder import Autoencoder
from ..nets.vision.encoders import open_vision
from ..nets.vision.extractors import Extractor, open_extractor
from ..training.autoencoder_config import AutoencoderRun
from ..training.checks import check_autoencoder_run, check_curriculum, check_diffusion_run
from ..training.diffusion_config import DiffusionRun
from .plans import Plan


@dataclass(frozen=True)
class OpenedPlan:
    """A plan with what all of its trials share.

    training_digest: of all images that training draws on. measured: by seed, what autoencoders are measured on, of
    which nothing was trained on; references: by seed, what samples are held against. encoders: digests of what entries
    are held against or aligned with, by name and size.
    """

    plan: Plan
    training_digest: str
    measured: Mapping[int, ImageSet]
    references: Mapping[int, ImageSet]
    extractor: Extractor | None
    encoders: Mapping[tuple[str, int | None], str]
    device: torch.device


def open_plan(plan: Plan) -> OpenedPlan:
    """ValueError, before any work, for a plan that cannot be run."""
    encoders = check_plan(plan)
    accelerator = Accelerator(mixed_precision="no")
    if accelerator.num_processes > 1:
        raise ValueError(
            "compare runs in one process; share its trials by several commands with --seeds or --only, one for each GPU"
        )
    extractor = open_extractor(plan.measuring.features, accelerator.device) if plan.measuring.features else None
    data, measuring = plan.autoencoder.data, plan.measuring
    training = open_images(data.path, data.size, split="all")
    if measuring.data is not None:
        images = open_images(measuring.data, data.size, split="all")
        measured = dict.fromkeys(plan.seeds, images)
    else:
        shared: dict[str, Any] = {"split": "held_out", "held_out": data.held_out}
        measured = {seed: open_images(data.path, data.size, seed=seed, **shared) for seed in plan.seeds}
    references = measured
    if measuring.reference_data is not None:
        references = dict.fromkeys(plan.seeds, open_images(measuring.reference_data, data.size, split="all"))
    aligned = [entry.alignment for entry in plan.entries.values() if entry.alignment.weight]
    asked = {(str(choice.encoder), choice.size) for choice in aligned}
    encoders |= {key: encoder_digest(*key, data.size) for key in sorted(asked - encoders.keys(), key=str)}
    return OpenedPlan(plan, training.digest, measured, references, extractor, encoders, accelerator.device)


def encoder_digest(name: str, size: int | None, side: int) -> str:
    """Of a vision encoder; ValueError where it does not open, or does not take images of this side."""
    encoder = open_vision(name, size=size)
    encoder.grid(side)
    return encoder.digest


def check_plan(plan: Plan) -> dict[tuple[str, int | None], str]:
    """ValueError for what no data could mend: entries, seeds, numbers, grids, vision encoders of autoencoders.

    The digests of these encoders, by name and size.
    """
    validate(plan)
    if not plan.entries or not plan.seeds:
        raise ValueError(f"plan {plan.name} has no entries or no seeds: there is nothing to compare")
    if len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"seeds are {plan.seeds}: a seed that comes twice is one trial, not two")
    if plan.control not in plan.entries:
        raise ValueError(f"control is {plan.control!r}, expected one of the entries: {', '.join(plan.entries)}")
    autoencoder = plan.autoencoder
    shape = None
    if autoencoder.network.pretrained is None:
        with torch.device("meta"):
            network = Autoencoder.from_preset(autoencoder.network.preset)
        side = autoencoder.data.size // network.factor
        shape = (network.channels, side, side)
    digests = {}
    for name, entry in plan.entries.items():
        trained = autoencoder_run(plan, name, 0, Path())
        vision = check_autoencoder_run(trained)
        if vision is not None and entry.method.vision is not None:
            digests[entry.method.vision] = vision.digest
        run = diffusion_run(plan, name, 0, Path(), Path())
        check_diffusion_run(run)
        if run.alignment.weight and entry.alignment.encoder is None:
            raise ValueError(f"entry {name}: alignment.encoder is required when alignment.weight > 0")
        if entry.alignment.targets is not None:
            raise ValueError(f"entry {name}: alignment.targets are cached by the comparison itself, leave them out")
        if shape is not None:
            check_curriculum(run, shape)
            patch = int(run.denoiser.name.rpartition("/")[2])
            if shape[1] % patch:
                raise ValueError(f"latents of {shape[1]} x {shape[2]} cells have no whole patches of {patch} cells")
    return digests


def autoencoder_run(plan: Plan, entry: str, seed: int, out: Path) -> AutoencoderRun:
    """How an entry's autoencoder is trained."""
    return replace(
        plan.autoencoder, name=f"{entry}, seed {seed}", out=str(out), seed=seed, method=plan.entries[entry].method
    )


def diffusion_run(
    plan: Plan, entry: str, seed: int, latents: Path, out: Path, targets: Path | None = None
) -> DiffusionRun:
    """How an entry's diffusion model is trained."""
    source = replace(plan.diffusion.source, latents=str(latents), images=None, autoencoder=None)
    run = replace(plan.diffusion, name=f"{entry}, seed {seed}", out=str(out), seed=seed, source=source)
    # The size is that of the cached targets.
    alignment = replace(plan.entries[entry].alignment, targets=str(targets) if targets else None, size=None)
    return replace(run, curriculum=plan.entries[entry].curriculum, alignment=alignment)
