"""The cases of a plan as stages: each is trained and measured once, in a folder of its own."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import __version__
from ...data.images import ImageSet, open_images
from ...data.order import batches_at, spread_items
from ...files.atomic import remove, require_creatable
from ...files.settings import hashed_settings
from ...files.stages import StageRunner, UnfinishedError, read_finished_stage, run_stage, slug
from ...nets.autoencoder import check_size, open_autoencoder
from ...nets.denoiser.build import build_denoiser
from ...nets.vision.extractors import open_extractor
from ...records.provenance import provenance
from .band_errors import radial_bands
from .fields import Fields, coefficient_moments, gaussian_fields, gaussian_surrogates, latent_fields, tilted, unit_scale
from .perception import evaluate_injected_errors, sensitivity_weights
from .plans import CaseSpec, FrequencyPlan, check_plan
from .record import CASE, Case, FrequencyBias
from .run_case import run_case

logger = logging.getLogger(__name__)


class OpenedStudy:
    """A plan with everything that its cases share; opening it checks all before any training."""

    def __init__(self, plan: FrequencyPlan, device: torch.device) -> None:
        check_plan(plan)
        self.plan, self.device = plan, device
        self.autoencoders = {name: open_autoencoder(source, device) for name, source in plan.sources.items()}
        for name, autoencoder in self.autoencoders.items():
            check_size(name, autoencoder, plan.size)
            side = plan.size // autoencoder.factor
            build_denoiser(plan.latent_denoiser, autoencoder.channels, (side, side), time_scale=1000.0)
        self.extractor = open_extractor(plan.features, device) if plan.features else None
        self.training = open_images(plan.data, plan.size, labels=False)
        self.held_out = self.training.part("held_out")
        n_held_out = max(plan.n_test, plan.injected)
        if len(self.training) < plan.n_train or len(self.held_out) < n_held_out:
            has = f"{len(self.training)} images to train on and {len(self.held_out)} held out"
            takes = f"the plan takes {plan.n_train} and {n_held_out}"
            raise ValueError(f"{plan.data} has {has}, {takes}: lower n_train, n_test or injected by --config")
        require_creatable(Path(plan.out))

    @cached_property
    def train(self) -> Tensor:
        """Training images (n_train, 3, size, size) in [−1, 1]."""
        return read_images(self.training, self.plan.n_train)

    @cached_property
    def test(self) -> Tensor:
        """Held-out images (n_test, 3, size, size) in [−1, 1]."""
        return read_images(self.held_out, self.plan.n_test)

    def fields(self, spec: CaseSpec) -> Fields:
        """Return what a case is trained and tested on."""
        n_train, n_test, size = self.plan.n_train, self.plan.n_test, self.plan.size
        if spec.data == "gaussian":
            return gaussian_fields(n_train, n_test, (3, size, size), spec.exponent)
        train, test = self.train, self.test
        if spec.data == "surrogates":
            return gaussian_surrogates(n_train, n_test, coefficient_moments(unit_scale(train, test).train))
        if spec.data == "latents":
            return latent_fields(self.autoencoders[spec.autoencoder], train, test, self.device)
        return unit_scale(tilted(train, spec.delta), tilted(test, spec.delta))

    def case(
        self,
        name: str,
        seed: int,
        run: StageRunner = run_stage,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Case:
        """Run one case, or read it if it is finished. run: `run_stage`, or `read_finished_stage`."""
        plan, spec = self.plan, self.plan.cases[name]
        autoencoder = self.autoencoders.get(spec.autoencoder)
        settings = hashed_settings(plan)
        settings.pop("denoiser" if autoencoder else "latent_denoiser")
        inputs = settings | {
            "spec": asdict(replace(spec, autoencoder="")),
            "seed": seed,
            "train": self.training.digest,
            "test": self.held_out.digest,
            "autoencoder": autoencoder.digest if autoencoder else "",
            "version": __version__,
            "format": CASE.format,
        }

        def work(folder: Path) -> Mapping[str, Any]:
            checkpoint = folder / "checkpoint"
            case = run_case(plan, name, seed, self.fields(spec), self.device, checkpoint, progress)
            CASE.write(folder / "case.json", case)
            remove(checkpoint)
            return {}

        done = run(Path(plan.out) / slug(re.sub(r"-(?=\d)", "minus ", name)) / f"seed{seed}", "case", inputs, work)
        # Another plan in the same folder may have run this case under another name.
        return replace(CASE.read(done.folder / "case.json"), name=name)


def read_images(images: ImageSet, n: int) -> Tensor:
    """Read `n` images spread over a set: (n, 3, size, size). Others stand in for those that cannot be read.

    Raises:
        ValueError: when fewer than `n` can be read.
    """
    chosen, pixels = spread_items(images, n), list[Tensor]()
    others = iter(sorted(set(range(len(images))).difference(chosen)))
    while chosen:
        for batch in batches_at(images, 256, chosen):
            pixels += [batch.images] if batch.indices else []
            for bad in batch.bad:
                logger.warning("skipped %s", bad)
        chosen = list(islice(others, n - sum(map(len, pixels))))
    if (n_read := sum(map(len, pixels))) < n:
        raise ValueError(f"{images.source}: {n_read} images can be read and {n} are taken; lower n_train or n_test")
    return torch.cat(pixels)


def run_cases(
    opened: OpenedStudy, trials: Sequence[tuple[str, int]], progress: Mapping[str, Callable[[int, int], None]]
) -> None:
    """Run some (case, seed) of a plan.

    progress: by "CASE, seed SEED", called with the number of updates done and their total.
    """
    for bad in {*opened.training.bad, *opened.held_out.bad}:
        logger.warning("skipped %s: %s", bad.name, bad.reason)
    for name, seed in trials:
        report = progress[f"{name}, seed {seed}"]
        opened.case(name, seed, progress=report)
        report(opened.plan.steps, opened.plan.steps)


def collect_cases(opened: OpenedStudy, command: str) -> FrequencyBias:
    """Collect all cases that are finished."""
    plan, device = opened.plan, opened.device
    cases, missing = [], []
    for name, seed in plan.trials:
        try:
            cases.append(opened.case(name, seed, read_finished_stage))
        except UnfinishedError:
            missing.append(f"{name}, seed {seed}")
    first, code = cases[0], {f"{case.provenance.commit or 'unknown'} on {case.provenance.device}" for case in cases}
    notes = [
        f"{plan.n_train:,} of {len(opened.training):,} images to train on and {plan.n_test:,} of "
        f"{len(opened.held_out):,} held out, spread over each.",
        f"{plan.steps:,} updates of {plan.batch_size} fields each: every number here is of a training so short, and of "
        f"{first.n_parameters:,} parameters for {first.space}.",
        f"The best linear denoiser knows the training data’s spectrum, and treats each DCT coefficient by itself: a "
        f"network may be better. Both are measured on {plan.n_test} held-out fields.",
        *([f"Trained by several commits or on several machines: {', '.join(sorted(code))}"] if len(code) > 1 else []),
        *([f"Not run yet: {'; '.join(missing)}"] if missing else []),
    ]
    injected, bands = None, radial_bands((plan.size, plan.size), plan.bands)
    if plan.injected:
        weights = sensitivity_weights(plan.size, plan.size, plan.pixels_per_degree)
        images = read_images(opened.held_out, plan.injected).to(device)
        injected = evaluate_injected_errors(images, bands, weights, opened.extractor)
    return FrequencyBias(
        plan=plan,
        command=command,
        cases=tuple(cases),
        injected=injected,
        provenance=provenance(device, torch.float32, plan.seeds[0]),
        notes=tuple(notes),
    )
