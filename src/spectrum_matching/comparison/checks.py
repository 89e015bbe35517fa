"""Check a plan before any work, open what its trials share, and derive the runs of an entry."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..data.images import ImageChoice, ImageSet, open_images
from ..data.labels import labels_digest
from ..data.relation import n_shared, relation
from ..files.atomic import require_creatable
from ..files.names import listed
from ..files.settings import differences, validate
from ..nets.autoencoder import Autoencoder
from ..nets.precision import require_precision
from ..nets.vision.encoders import open_vision
from ..nets.vision.extractors import Extractor, open_extractor
from ..nets.vision.perceptual import LPIPS
from ..processes import open_accelerator
from ..sampling.generate import check_choice
from ..training.autoencoder_config import AutoencoderRun, MethodChoice
from ..training.checks import check_autoencoder_run, check_curriculum, check_diffusion_run
from ..training.diffusion_config import AlignmentChoice, Curriculum, DiffusionRun
from ..training.distillation import open_teacher
from ..training.run_directory import require_startable
from ..training.train_diffusion import path_of
from .plans import Plan


@dataclass(frozen=True)
class OpenedPlan:
    """A plan with what its trials share.

    training_digest, n_training: of all images that training uses, held out or not; training_labels: digest of their
    labels, "" where diffusion models learn none. measured: by seed, the images that autoencoders are measured on, none
    of them trained on. references: by seed, the images that samples are compared with. encoders: digests of the vision
    encoders that methods and alignments use, by name and image size. networks: digests of the other networks that the
    training of autoencoders is given, by what these are.
    """

    plan: Plan
    training_digest: str
    training_labels: str
    n_training: int
    measured: Mapping[int, ImageSet]
    references: Mapping[int, ImageSet]
    extractor: Extractor | None
    encoders: Mapping[tuple[str, int | None], str]
    networks: Mapping[str, str]
    device: torch.device

    @property
    def extractor_digest(self) -> str:
        """Digest of the feature extractor, "" without one."""
        return self.extractor.digest if self.extractor else ""


def open_plan(plan: Plan) -> OpenedPlan:
    """Check a plan and open its images and networks.

    Raises:
        ValueError: if the plan cannot be run, naming all images and networks that do not open.
    """
    encoders, missing = check_plan(plan), list[str]()
    plan = resolved(plan)
    require_creatable(Path(plan.out))
    networks = dict[str, str]()
    if plan.autoencoder.network.pretrained is not None:
        with _noted(missing):
            pretrained = Autoencoder.from_pretrained(plan.autoencoder.network.pretrained)
            networks["pretrained network"] = pretrained.digest
            _check_latents(plan, pretrained)
    with _noted(missing):
        if (teacher := open_teacher(plan.autoencoder.distillation, torch.device("cpu"))) is not None:
            networks["teacher"] = teacher.autoencoder.digest
    if plan.autoencoder.losses.perceptual:
        with _noted(missing):
            networks["perceptual network"] = LPIPS.from_weights(str(plan.autoencoder.losses.perceptual_weights)).digest
    accelerator = open_accelerator()
    for name, run in (("autoencoder", plan.autoencoder), ("diffusion", plan.diffusion)):
        with _named(name):
            require_startable(run, accelerator.num_processes, accelerator.device)
    data, measuring = plan.autoencoder.data, plan.measuring
    with _noted(missing):
        extractor = open_extractor(measuring.features, accelerator.device) if measuring.features else None
    opened, by_class = {}, (measuring.data or data.path) if measuring.labels else None
    for source in dict.fromkeys((data.path, measuring.data, measuring.reference_data)):
        if source is not None:
            with _noted(missing):
                asked = source == by_class or (source == data.path and plan.diffusion.denoiser.labels)
                opened[source] = open_images(source, data.size, split="all", labels=asked or None)
                if source == by_class and not opened[source].classes:
                    raise ValueError(
                        f"measuring.labels: {source} has no classes; put its images into a folder for each class"
                    )
    for alignment in (entry.alignment for entry in plan.entries.values() if entry.alignment.weight):
        key = (str(alignment.encoder), alignment.size)
        if key not in encoders:
            with _noted(missing):
                encoder = open_vision(key[0], size=key[1])
                encoder.grid(data.size)  # raises ValueError for images of another size
                encoders[key] = encoder.digest
    if missing:
        raise ValueError("; ".join(dict.fromkeys(missing)))
    training = opened[data.path]
    if measuring.data is not None:
        measured = dict.fromkeys(plan.seeds, opened[measuring.data])
        trained = ImageChoice(data.path, data.size, "train", data.held_out, plan.seeds[0])
        if relation(data.path, measuring.data) == "related" and (n := n_shared(opened[measuring.data], trained)):
            raise ValueError(
                f"measuring.data: {n:,} of the {len(opened[measuring.data]):,} images in {measuring.data} are trained "
                f"on, as part of {data.path}: name others, or leave it out to measure on those that each seed holds out"
            )
    else:
        measured = {seed: training.part("held_out", held_out=data.held_out, seed=seed) for seed in plan.seeds}
    references = measured
    if measuring.reference_data is not None:
        references = dict.fromkeys(plan.seeds, opened[measuring.reference_data])
    labels = labels_digest(training.classes, training.labels) if plan.diffusion.denoiser.labels else ""
    classes, learned = (training.classes, {*training.labels} - {-1}) if labels else ((), set[int]())
    is_dropped = bool(plan.diffusion.objective.label_dropout) or min(training.labels, default=-1) < 0
    samplings = {"sampling": plan.sampling}
    if plan.diffusion.intervals.preview:
        samplings["diffusion.preview"] = plan.diffusion.preview
    for name, choice in samplings.items():
        with _named(name):
            check_choice(choice, "the plan", path_of(plan.diffusion), classes, learned, is_dropped or not labels)
            require_precision(choice.precision, accelerator.device)
    return OpenedPlan(
        plan=plan,
        training_digest=training.digest,
        training_labels=labels,
        n_training=len(training),
        measured=measured,
        references=references,
        extractor=extractor,
        encoders=encoders,
        networks=networks,
        device=accelerator.device,
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put a name before the error of the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


@contextmanager
def _noted(missing: list[str]) -> Iterator[None]:
    """Note why what the block opens does not open, so that all that is missing is named at once."""
    try:
        yield
    except ValueError as error:
        missing.append(str(error))


def resolved(plan: Plan) -> Plan:
    """Return a plan with the default of each method's options in the place of None.

    Where `measuring.data` are the images of the training, it becomes None: each seed measures on those it held out.
    """
    entries = {name: replace(entry, method=entry.method.resolved()) for name, entry in plan.entries.items()}
    method = plan.autoencoder.method.resolved()
    measuring, trained = plan.measuring, plan.autoencoder.data.path
    if measuring.data is not None and relation(measuring.data, trained) == "same":
        measuring = replace(measuring, data=None)
    autoencoder = replace(plan.autoencoder, method=method)
    return replace(plan, entries=entries, autoencoder=autoencoder, measuring=measuring)


def check_plan(plan: Plan) -> dict[tuple[str, int | None], str]:
    """Check everything about a plan that needs no data, and return the digests of its methods' vision encoders.

    Raises:
        ValueError: naming the setting that does not fit.
    """
    validate(plan)
    if not plan.entries or not plan.seeds:
        raise ValueError(f"plan {plan.name} has no entries or no seeds: there is nothing to compare")
    if len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"seeds must be unique, got {plan.seeds}")
    if plan.control not in plan.entries:
        raise ValueError(f"control is {plan.control!r}, expected one of the entries: {listed(plan.entries)}")
    _check_set_by_entries(plan)
    encoders = {}
    for name in {entry.method: name for name, entry in plan.entries.items()}.values():
        vision, key = check_autoencoder_run(autoencoder_run(plan, name, 0, Path())), plan.entries[name].method.vision
        if vision is not None and key is not None:
            encoders[key] = vision.digest
    for name in {
        (entry.gain, entry.curriculum, entry.alignment): name for name, entry in plan.entries.items()
    }.values():
        with _named(f"entry {name}"):
            plan.entries[name].gain.check()
        alignment, run = plan.entries[name].alignment, diffusion_run(plan, name, 0, Path(), Path())
        if alignment.weight and alignment.encoder is None:
            raise ValueError(f"entry {name}: alignment.encoder is required when alignment.weight > 0")
        if alignment.targets is not None:
            raise ValueError(f"entry {name}: the comparison caches alignment.targets itself; leave them out")
        check_diffusion_run(run)
    if plan.autoencoder.network.pretrained is None:
        with torch.device("meta"):
            _check_latents(plan, Autoencoder.from_preset(plan.autoencoder.network.preset))
    return encoders


def _check_set_by_entries(plan: Plan) -> None:
    """Check that the plan's runs hold nothing that each entry has of its own, and that would be replaced by it."""
    runs = {
        "autoencoder.method": (MethodChoice().resolved(), plan.autoencoder.method.resolved()),
        "diffusion.curriculum": (Curriculum(), plan.diffusion.curriculum),
        "diffusion.alignment": (AlignmentChoice(), plan.diffusion.alignment),
    }
    for key, (plain, given) in runs.items():
        for option, (_, value) in differences(plain, given).items():
            own = f"entries.NAME.{key.partition('.')[2]}.{option}"
            raise ValueError(f"{key}.{option} is {value!r}, but every entry has its own: set it in the entries ({own})")


def _check_latents(plan: Plan, network: Autoencoder) -> None:
    """Check that the latents of the plan's autoencoder fit its curricula and its denoiser."""
    side = plan.autoencoder.data.size // network.factor
    for name in {entry.curriculum: name for name, entry in plan.entries.items()}.values():
        run = diffusion_run(plan, name, 0, Path(), Path())
        check_curriculum(run, (network.channels, side, side))
        if side % (patch := int(run.denoiser.name.rpartition("/")[2])):
            raise ValueError(f"latents of {side} x {side} cannot be divided into {patch} x {patch} patches")


def autoencoder_run(plan: Plan, entry: str, seed: int, out: Path) -> AutoencoderRun:
    """Return the training run of an entry's autoencoder."""
    method = plan.entries[entry].method
    return replace(plan.autoencoder, name=f"{entry}, seed {seed}", out=str(out), seed=seed, method=method)


def diffusion_run(
    plan: Plan, entry: str, seed: int, latents: Path, out: Path, targets: Path | None = None
) -> DiffusionRun:
    """Return the training run of an entry's diffusion model."""
    gain = plan.entries[entry].gain
    changes = {"latents": str(latents), "images": None, "autoencoder": None} | (asdict(gain) if gain.is_given else {})
    source = replace(plan.diffusion.source, **changes)
    run = replace(plan.diffusion, name=f"{entry}, seed {seed}", out=str(out), seed=seed, source=source)
    # The size is that of the cached targets.
    alignment = replace(plan.entries[entry].alignment, targets=str(targets) if targets else None, size=None)
    return replace(run, curriculum=plan.entries[entry].curriculum, alignment=alignment)
