"""The frequency-bias study case by case: each is trained and measured once, and kept in a folder of its own."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from ... import __version__
from ...data.images import ImageSet, open_images
from ...data.order import fixed_batches
from ...data.pictures import as_png
from ...files.atomic import remove, require_writable, write_folder_atomically
from ...files.digests import digest_weights
from ...files.documents import Document
from ...files.stages import StageRunner, UnfinishedError, read_finished_stage, run_stage, slug
from ...files.yaml_files import to_yaml
from ...metrics.decoder.transfer import filled_rings
from ...metrics.ranks import rank_correlation
from ...nets.autoencoder import Autoencoder
from ...nets.vision.extractors import open_extractor
from ...nets.vision.perceptual import LPIPS
from ...records.provenance import provenance
from .band_errors import bands_of
from .fields import Fields, gaussian_fields, gaussian_twins, latent_fields, tilted_images, unit_scale
from .perception import CONTRAST, Eyes, harms, sensitivity_weights
from .plans import FEWEST_BANDS, FrequencyPlan, Subject, check_plan
from .record import Case, Damage, FrequencyBias, Injection
from .run_case import run_case
from .wiener import coefficient_moments

N_AT_ONCE = 256
# Raised whenever a case is measured otherwise than before, so that it is not read but run.
REMEDY = "run `specmatch study frequency-bias` again"
CASE = Document(Case, "specmatch-frequency-case-2", "study", REMEDY)
INJECTION = Document(Injection, "specmatch-frequency-injection-1", "study", REMEDY)
KEPT = "kept"
# Of a plan, what decides nothing of a single case, or is decided by what stands beside it.
OF_ALL_CASES = (
    *("name", "out", "data", "seeds", "main", "deltas", "twins", "exponents", "loss_powers", "inverse_power"),
    *("predictions", "autoencoders", "injected", "injected_rms", "lpips", "features"),
)


@dataclass(frozen=True)
class OpenedStudy:
    """A plan with all that its cases share."""

    plan: FrequencyPlan
    training: ImageSet
    held_out: ImageSet
    autoencoders: Mapping[str, Autoencoder]
    eyes: Eyes
    device: torch.device

    @cached_property
    def train(self) -> Tensor:
        """Images (n_train, 3, size, size) in [−1, 1]."""
        return self._read(self.training, self.plan.n_train)

    @cached_property
    def test(self) -> Tensor:
        """As many held-out ones as anything asks for."""
        return self._read(self.held_out, max(self.plan.n_test, self.plan.injected))

    def fields(self, subject: Subject, advance: Callable[[int], None]) -> Fields:
        """What a case learns, and is tested on. advance: called with the number of images encoded since."""
        plan = self.plan
        if subject.data == "gaussian":
            shape = (3, plan.size, plan.size)
            return gaussian_fields(plan.n_train, plan.n_test, shape, subject.exponent)
        train, test = self.train, self.test[: plan.n_test]
        if subject.data == "twins":
            moments = coefficient_moments(unit_scale(train, test).train)
            return gaussian_twins(plan.n_train, plan.n_test, moments)
        if subject.data == "latents":
            network = self.autoencoders[subject.autoencoder].to(self.device)
            return latent_fields(network, train, test, self.device, advance)
        return tilted_images(train, test, subject.delta)

    @staticmethod
    def _read(images: ImageSet, n: int) -> Tensor:
        read = torch.cat([batch.images for batch in fixed_batches(images, N_AT_ONCE, n)])
        if len(read) < n:
            raise ValueError(f"{images.source}: {n - len(read)} of {n} images cannot be read; lower n_train or n_test")
        return read


def open_study(plan: FrequencyPlan, device: torch.device) -> OpenedStudy:
    """ValueError, before any work, for a plan that cannot be run."""
    check_plan(plan)
    autoencoders = {name: Autoencoder.from_pretrained(source).eval() for name, source in plan.sources.items()}
    for name, network in autoencoders.items():
        check_latents(plan, name, network)
    perceptual = LPIPS.from_weights(plan.lpips).to(device) if plan.lpips else None
    extractor = open_extractor(plan.features, device) if plan.features else None
    training, held_out = (open_images(plan.data, plan.size, split=split) for split in ("train", "held_out"))
    wanted = max(plan.n_test, plan.injected)
    if len(training) < plan.n_train or len(held_out) < wanted:
        raise ValueError(
            f"{plan.data} has {len(training)} images to train on and {len(held_out)} held out, the plan takes "
            f"{plan.n_train} and {wanted}: lower n_train, n_test or injected by --config, or give more images"
        )
    require_writable(Path(plan.out))
    weights = sensitivity_weights(plan.size, plan.size, plan.pixels_per_degree)
    return OpenedStudy(plan, training, held_out, autoencoders, Eyes(weights, perceptual, extractor), device)


def check_latents(plan: FrequencyPlan, name: str, network: Autoencoder) -> None:
    """ValueError where the plan's images do not fit, or the latents have no whole patches."""
    if plan.size % network.multiple or network.size not in (None, plan.size):
        expected = network.size or f"a multiple of {network.multiple}"
        raise ValueError(f"images are of {plan.size} pixels, and the autoencoder {name!r} takes {expected}")
    side, patch = plan.size // network.factor, int(plan.latent_denoiser.rpartition("/")[2])
    if side % patch:
        raise ValueError(f"latents of {name!r} have {side} x {side} cells, no whole patches of {patch}")
    if filled_rings((side, side), plan.bands) < FEWEST_BANDS:
        raise ValueError(f"latents of {name!r} have {side} x {side} cells, too few for bands: take a larger --size")


def run_one(
    opened: OpenedStudy,
    name: str,
    seed: int,
    advance: Callable[[int], None] = lambda n: None,
    run_stage: StageRunner = run_stage,
) -> Case:
    """One case from one seed; a finished one is read, not run.

    advance: called with the updates done since. run_stage: with `read_finished_stage`, UnfinishedError for one that is
    not finished.
    """
    plan, subject = opened.plan, opened.plan.subjects[name]
    is_latent = subject.data == "latents"
    deciding = {key: value for key, value in asdict(plan).items() if key not in OF_ALL_CASES}
    deciding.pop("denoiser" if is_latent else "latent_denoiser")
    network, perceptual = opened.autoencoders.get(subject.autoencoder), opened.eyes.perceptual
    inputs = deciding | {
        "subject": asdict(replace(subject, autoencoder="")),
        "seed": seed,
        "train": opened.training.digest,
        "test": opened.held_out.digest,
        "autoencoder": digest_weights(network) if network else "",
        "lpips": digest_weights(perceptual) if perceptual and subject.data == "images" else "",
        "version": __version__,
        "format": CASE.format,
    }

    def work(folder: Path) -> Mapping[str, Any]:
        def keep(state: Mapping[str, Any]) -> None:
            write_folder_atomically(folder / KEPT, lambda path: torch.save(state, path / "state.pt"))

        kept = folder / KEPT / "state.pt"
        found = run_case(
            plan,
            name,
            seed,
            opened.fields(subject, lambda n: None),
            data=in_words(plan, subject),
            eyes=None if is_latent else opened.eyes,
            picture=as_png,
            device=opened.device,
            advance=advance,
            keep=keep,
            kept=torch.load(kept, map_location=opened.device, weights_only=True) if kept.exists() else None,
        )
        CASE.write(folder / "case.json", found)
        remove(folder / KEPT)
        return {}

    done = run_stage(Path(plan.out) / slug(re.sub(r"-(?=\d)", "minus ", name)) / f"seed{seed}", "case", inputs, work)
    # Whoever shares the folder may call the same case by another name.
    return replace(CASE.read(done.folder / "case.json"), name=name)


def run_injection(
    opened: OpenedStudy, advance: Callable[[int], None] = lambda n: None, run_stage: StageRunner = run_stage
) -> Injection | None:
    """Equal errors in one band after the other, as each metric sees them; None where the plan asks for none."""
    plan, eyes = opened.plan, opened.eyes
    if not plan.injected:
        return None
    keys = ("size", "injected", "injected_rms", "bands", "pixels_per_degree")
    inputs = {key: getattr(plan, key) for key in keys} | {
        "test": opened.held_out.digest,
        "lpips": digest_weights(eyes.perceptual) if eyes.perceptual else "",
        "features": eyes.extractor.digest if eyes.extractor else "",
        "version": __version__,
    }

    def work(folder: Path) -> Mapping[str, Any]:
        bands = bands_of((plan.size, plan.size), plan.bands)
        images = opened.test[: plan.injected].to(opened.device)
        by_band = harms(images, plan.injected_rms, bands, eyes, advance)
        frequencies = tuple(bands.frequencies.tolist())
        damages = tuple(
            Damage(
                metric=of[0].metric,
                unit=of[0].unit,
                better=of[0].better,
                values=tuple(harm.value for harm in of),
                # Rounding is no order: what differs in the sixth digit is equal.
                correlation=rank_correlation(frequencies, [float(f"{harm.damage:.5g}") for harm in of]),
            )
            for of in zip(*by_band, strict=True)
        )
        found = Injection(frequencies, plan.injected_rms, CONTRAST, len(images), damages)
        INJECTION.write(folder / "injection.json", found)
        return {}

    done = run_stage(Path(plan.out), "injection", inputs, work)
    return INJECTION.read(done.folder / "injection.json")


def all_finished(opened: OpenedStudy) -> tuple[list[Case], list[str]]:
    """Every case of the plan that is there, and the names of those that are not."""
    found, missing = [], []
    for name, seed in opened.plan.trials:
        try:
            found.append(run_one(opened, name, seed, run_stage=read_finished_stage))
        except UnfinishedError:
            missing.append(f"{name}, seed {seed}")
    return found, missing


def in_words(plan: FrequencyPlan, subject: Subject) -> str:
    """What a case learns."""
    size = f"{plan.size} × {plan.size}"
    if subject.data == "gaussian":
        return f"Gaussian fields of {size} cells and 3 channels, power 1/f^{subject.exponent:g}"
    if subject.data == "twins":
        return f"Gaussian fields with the mean and the channels’ covariance of every DCT coefficient of {plan.data}"
    if subject.data == "latents":
        return f"posterior means of {plan.data} at {size} by {plan.sources[subject.autoencoder]}"
    return f"{plan.data} at {size}" + (f", power times f^{subject.delta:g}" if subject.delta else "")


def run_study(
    plan: FrequencyPlan, chosen: Sequence[tuple[str, int]], device: torch.device, command: str, console: Console
) -> FrequencyBias:
    """Run the chosen cases, then gather all of the plan that are finished."""
    opened = open_study(plan, device)
    for bad in {*opened.training.bad, *opened.held_out.bad}:
        console.print(f"[yellow]skipped[/] {escape(f'{bad.name}: {bad.reason}')}", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        for place, (name, seed) in enumerate(chosen, 1):
            title = escape(f"{place} of {len(chosen)}: {name}, seed {seed}")
            task = bar.add_task(title, total=plan.steps)
            run_one(opened, name, seed, lambda n, task=task: bar.advance(task, n))  # type: ignore[misc]
            bar.update(task, completed=plan.steps)
        injection = run_injection(opened)
    found, missing = all_finished(opened)
    notes = [
        f"{plan.steps:,} updates of {plan.batch_size} fields each: every number here is of a training so short, and of "
        f"{found[0].n_parameters:,} parameters for {found[0].subject}.",
        f"The best linear denoiser knows the training data’s spectrum, and takes each DCT coefficient by itself: a "
        f"denoiser may be better than it, and it is itself measured on {plan.n_test} held-out fields.",
    ]
    commits = sorted({f"{case.provenance.commit or 'unknown'} on {case.provenance.device}" for case in found})
    notes += [f"Trained by code of several commits or machines: {', '.join(commits)}"] if len(commits) > 1 else []
    notes += [f"Not run yet: {'; '.join(missing)}"] if missing else []
    return FrequencyBias(
        name=plan.name,
        plan=to_yaml(plan),
        command=command,
        images=opened.training.source,
        size=plan.size,
        path=plan.path,
        sampling=f"{plan.sampler}, {plan.sampling_steps} steps",
        pixels_per_degree=plan.pixels_per_degree,
        cases=tuple(found),
        injection=injection,
        provenance=provenance(device, torch.float32, plan.seeds[0]),
        notes=tuple(notes),
    )


def in_one_line(plan: FrequencyPlan) -> str:
    """Every field and its value."""
    values = {key: value if isinstance(value, tuple) else (value,) for key, value in asdict(plan).items()}
    return "; ".join(f"{key} {', '.join(map(str, value)) or 'none'}" for key, value in values.items())
