"""Runs of autoencoders: frozen records of all settings of a training, and a function for each family of presets."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from ..files.settings import Changeable, Fraction, Incidental, NonNegative, NotHashed
from ..methods.method import Method
from ..methods.shared_transforms import Interpolation, published_keep
from ..methods.zoo import METHODS
from ..nets.autoencoder.padding import Padding
from ..nets.precision import Precision
from ..nets.vision.encoders import VisionEncoder, open_vision
from ..spectrum.bands import Variant

Run = TypeVar("Run")
AspectRatios = Annotated[tuple[Annotated[float, Field(ge=1, le=10)], ...], Field(min_length=1)]
if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]


@dataclass(frozen=True)
class Data:
    """Images to train on, and how they are cropped."""

    path: str = "embedded"  # embedded, a folder, parquet or tar path, URL, hub:NAME, or stream:NAME
    size: PositiveInt = 64  # pixels on a side of a square; other shapes have about as many in all
    # of the longer side to the shorter: the nearest is each image's shape, lying or standing; 1: squares
    aspect_ratios: AspectRatios = (1.0,)
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05  # share that training never sees: for previews and metrics
    crop: Literal["random", "center"] = "random"  # where images are cut to their shape
    flip: bool = True  # mirror half of the images
    on_bad: Literal["skip", "refuse"] = "skip"  # unreadable files: report and skip them, or refuse to start
    workers: Incidental[NonNegativeInt] = 0  # processes that read images


@dataclass(frozen=True)
class Network:
    """The autoencoder, and which part of it is trained."""

    preset: str = "tiny"  # built from scratch
    pretrained: str | None = None  # what to fine-tune, as for `analyze`: a folder, hub name, file or python:...
    train: Literal["all", "decoder"] = "all"  # decoder: at the latents of the original, which stay as they are
    padding: Padding | None = None  # of the convolutions that are trained; by default as they are


@dataclass(frozen=True)
class Distillation:
    """A teacher whose latents a small autoencoder learns to make and to decode; the method's transform applies too."""

    teacher: str | None = None  # as network.pretrained; without it nothing is distilled
    width: PositiveInt = 64  # channels of the new AutoencoderTiny; network.pretrained goes on with another one
    latents: NonNegative = 1.0  # weight of the mean square of student − teacher, over the variance
    bands: NonNegative = 0.1  # weight of the same by frequency band, all bands alike
    bins: PositiveInt = 8  # bands


@dataclass(frozen=True)
class MethodChoice:
    """A method of the zoo, and its options; those that are left out are the method's defaults (docs/methods.md)."""

    name: MethodName = "autoencoder"  # the row of the unified view
    kl_weight: NonNegative | None = None  # of the KL's mean over a latent's elements
    esm_weight: NonNegative | None = None  # of encoding spectrum matching
    delta: float | None = None  # ESM: flattening of the images' spectrum that latents are matched to
    bins: int | None = None  # ESM: rings of frequencies
    variant: Variant | None = None  # ESM: the paper's loss, or the one that no scale of latents changes
    keep: tuple[int, ...] | None = None  # DSM: diagonals of each block's DCT to keep, one of these a step
    block: int | None = None  # DSM: side of a block
    factors: tuple[int, ...] | None = None  # Scale Equivariance: by which latents and images are downscaled
    added_weight: NonNegative | None = None  # Scale Equivariance: of the added reconstruction
    probability: float | None = None  # EQ-VAE: of a transform, at each step
    prior: float | None = None  # EQ-VAE: of shrinking the images before they are encoded, at the other steps
    interpolation: Interpolation | None = None  # EQ-VAE: of the transform
    encoder: NotHashed[str | None] = None  # VA-VAE: gradients:CELL, shufflenet:PATH, a folder, or hub:NAME
    encoder_size: int | None = None  # VA-VAE: pixels on a side that the encoder sees, where it has no size of its own
    feature_weight: NonNegative | None = None  # VA-VAE: of the feature match
    cosine_margin: float | None = None  # VA-VAE: cosine distance that is not punished
    distance_margin: float | None = None  # VA-VAE: difference of pairwise similarities that is not punished

    def options(self) -> list[str]:
        """Return the options of the chosen row; the rest of what it takes follows from encoder and autoencoder."""
        names = {*inspect.signature(METHODS[self.name]).parameters}
        names |= {"encoder_size"} if "encoder" in names else set()
        return [field.name for field in dataclasses.fields(self) if field.name in names]

    def resolved(self) -> "MethodChoice":
        """Return the choice with the default of each option of its row in the place of None."""
        if self.name not in METHODS:
            return self
        parameters = inspect.signature(METHODS[self.name]).parameters
        defaults = {name: parameters[name].default for name in self.options() if name in parameters}
        if "encoder" in defaults:
            defaults["encoder"] = "gradients"
        if "keep" in defaults:
            defaults["keep"] = published_keep(self.block or defaults["block"])
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})

    @property
    def vision(self) -> tuple[str, int | None] | None:
        """Name and size of the vision encoder of a row that takes one."""
        return (self.encoder or "gradients", self.encoder_size) if "encoder" in self.options() else None

    def open_vision(self, device: torch.device | str = "cpu") -> VisionEncoder | None:
        """Open that encoder; ValueError in one line if it does not open."""
        return open_vision(self.vision[0], device, self.vision[1]) if self.vision else None

    def build(self, vision: VisionEncoder | None = None, channels: int = 1, seed: int = 0) -> Method:
        """Build the method.

        The arguments are for rows with a vision encoder: what `open_vision` returned (opened here if None), channels of
        the latents, and the seed of the first weights of what maps these to features.

        Raises:
            ValueError: for an option that the chosen row does not have, or a value that it does not take.
        """
        known = self.options()
        options = {k: v for k, v in dataclasses.asdict(self).items() if k != "name" and v is not None}
        for option in options:
            if option not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"method {self.name} has no option {option}; {has}")
        encoder = vision or self.open_vision()
        if encoder is not None:
            options.pop("encoder_size", None)
            options |= {"encoder": lambda images: encoder(images).field, "width": encoder.width}
            options |= {"channels": channels, "seed": seed}
        return METHODS[self.name](**options)


@dataclass(frozen=True)
class Losses:
    """Weights of the reconstruction losses, each a mean over pixels."""

    l1: NonNegative = 1.0  # absolute error
    l2: NonNegative = 0.0  # squared error
    perceptual: NonNegative = 0.0  # LPIPS; needs perceptual_weights
    perceptual_weights: str | None = None  # of LPIPS: path or hub:NAME (docs/weights.md)


@dataclass(frozen=True)
class DiscriminatorChoice:
    """The adversarial loss: a PatchGAN discriminator with the hinge loss."""

    weight: NonNegative = 0.0  # 0: no discriminator
    start: NonNegativeInt = 0  # generator updates before it is used and trained
    adaptive: bool = True  # scale it by gradients at the last layer, as VQGAN does
    lr: NonNegative = 5e-5  # its own learning rate
    width: PositiveInt = 64  # channels of its first layer
    depth: PositiveInt = 3  # layers that halve the image
    # of the convolutions' weights: pix2pix's; 0.2 in the paper's code
    initial_std: Annotated[float, Field(gt=0)] = 0.02


@dataclass(frozen=True)
class Optimizer:
    """AdamW, and the average of the weights that is exported."""

    lr: Changeable[NonNegative] = 1e-4  # learning rate
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # of the two moments
    weight_decay: NonNegative = 0.005  # decoupled, as in AdamW
    warmup: NonNegativeInt = 100  # updates over which the learning rate rises to lr
    clip: NonNegative = 1.0  # largest norm of the gradient; 0: no limit
    ema: Fraction = 0.999  # decay of the averaged weights; 0: none
    ema_ramp: bool = True  # lower at first: (1 + s) / (10 + s) after s updates, as in diffusers; False: constant


@dataclass(frozen=True)
class Intervals:
    """Numbers of updates between two logs, previews and checkpoints; 0: never."""

    log: NonNegativeInt = 10  # between two lines of log.jsonl
    preview: NonNegativeInt = 500  # between two pictures in samples/
    checkpoint: PositiveInt = 500  # between two checkpoints
    keep_last: PositiveInt = 2  # newest checkpoints to keep
    keep_every: NonNegativeInt = 0  # checkpoints at its multiples are kept as well; 0: none


@dataclass(frozen=True)
class Tracking:
    """Under which names trackers show a run; of TensorBoard the project is a folder in the run directory."""

    # that runs are collected in
    project: Annotated[str, Field(pattern=r"^[^./\\#?%:][^/\\#?%:]*$")] = "spectrum-matching"
    entity: str | None = None  # of wandb: the user or team; by default the account's own
    name: str | None = None  # of wandb: by default the run's name


@dataclass(frozen=True)
class AutoencoderRun:
    """A training of an autoencoder."""

    name: Incidental[str] = "tiny"  # shown in messages and records
    out: Incidental[str] = "runs/tiny"  # run directory; the same command resumes from it
    seed: int = 0  # of weights, order of images, transforms and noise
    steps: Changeable[PositiveInt] = 1000  # generator updates
    batch_size: PositiveInt = 16  # images in one generator update, over all processes and micro-batches
    accumulation: Changeable[PositiveInt] = 1  # micro-batches of one update: more of them need less memory
    gradient_checkpointing: Changeable[bool] = False  # less memory, for about a third more time
    precision: Changeable[Precision] = "fp32"  # of the networks; losses are fp32; fp16 is for GPUs without bf16
    compile: bool = False  # by torch.compile
    channels_last: bool = False  # memory layout; faster for convolutions on most machines
    sample_posterior: bool = True  # decode a sample of the posterior; otherwise its mean
    max_bad_steps: Incidental[PositiveInt] = 10  # non-finite steps in a row after which training stops
    push_to_hub: Incidental[str | None] = None  # OWNER/NAME on the Hugging Face Hub to which the export is uploaded
    trackers: Incidental[tuple[Literal["tensorboard", "wandb"], ...]] = ()  # beside log.jsonl
    tracking: Incidental[Tracking] = field(default_factory=Tracking)
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    distillation: Distillation = field(default_factory=Distillation)
    method: MethodChoice = field(default_factory=MethodChoice)
    losses: Losses = field(default_factory=Losses)
    discriminator: DiscriminatorChoice = field(default_factory=DiscriminatorChoice)
    optimizer: Optimizer = field(default_factory=Optimizer)
    intervals: Incidental[Intervals] = field(default_factory=Intervals)


def renamed(run: Run, name: str) -> Run:
    """Return the run under another name, written to a folder of that name."""
    return replace(run, name=name, out=f"runs/{name}")  # type: ignore[type-var]


ROWS = {name: MethodChoice(name) for name in METHODS} | {"esm_paper": MethodChoice("esm", variant="paper")}
"""What each family has a preset for: the methods with their defaults, and ESM as the paper's code has it."""


def row(name: str, encoder: str) -> MethodChoice:
    """Return a row with its defaults, and with this vision encoder if it takes one."""
    return replace(ROWS[name], encoder=encoder if ROWS[name].vision else None)


LPIPS_WEIGHTS = "weights/lpips"
"""Where the presets look for the weights of LPIPS."""


def tiny(method: str = "autoencoder") -> AutoencoderRun:
    """Return the CPU-sized preset: embedded images at 64 × 64, f4 latents; va_vae matches histograms of gradients.

    Cost and expected numbers: bench/README.md and experiments/results.
    """
    run = AutoencoderRun(
        channels_last=True, method=row(method, "gradients:4"), optimizer=Optimizer(lr=1e-3, warmup=20, ema=0.99)
    )
    return renamed(run, f"tiny_{method}")


def celeba256_f16d16(method: str = "dsm") -> AutoencoderRun:
    """Return CelebA-HQ 256, f16d16, as in the paper's code: 48 images a step, no averaged weights; set data.path.

    Cost: not measured here; the paper trains on four A100s. Source: Spectrum Matching (arXiv 2603.14645), official
    configs. The 275,000 generator updates are those of its 500,000 iterations, of which every second past 50,000
    updates the discriminator. Its hinge loss lacks the factor 1/2 of ours, which AdamW undoes but for the clipping.
    va_vae has VA-VAE's encoder, weight and margins (hustvl/LightningDiT at 2725fed, MIT), and nothing else of its
    recipe, which is 50 epochs of ImageNet with f16d32 latents, 256 images a step, at 1e-4.
    """
    run = AutoencoderRun(
        steps=275_000,
        batch_size=48,
        precision="bf16",
        channels_last=True,
        data=Data(path="data/celeba256", size=256, workers=8),
        network=Network(preset="f16d16"),
        method=row(method, "va_vae:hub:facebook/dinov2-large"),
        losses=Losses(l1=1.0, perceptual=0.5, perceptual_weights=LPIPS_WEIGHTS),
        discriminator=DiscriminatorChoice(weight=0.5, start=50_000, initial_std=0.2),
        optimizer=Optimizer(lr=5e-5, warmup=2000, ema=0.0),
        intervals=Intervals(log=50, preview=5000, checkpoint=5000, keep_every=50_000),
    )
    return renamed(run, f"celeba256_f16d16_{method}")


def celeba256_f8d4(method: str = "dsm") -> AutoencoderRun:
    """Return celeba256_f16d16 with f8d4 latents; the paper flattens by delta 1.2 there."""
    run = celeba256_f16d16(method)
    choice = replace(run.method, delta=1.2) if "delta" in run.method.options() else run.method
    return renamed(replace(run, network=Network(preset="f8d4"), method=choice), f"celeba256_f8d4_{method}")


IMAGENET_STEPS = {"sd_vae": 325_000, "dsm": 525_000}
"""Generator updates on ImageNet of the methods for which the paper's code has a recipe."""


def imagenet256_f16d16(method: str = "dsm") -> AutoencoderRun:
    """Return ImageNet 256, f16d16, as in the paper's code: 128 images a step on eight A100s; set data.path.

    The paper's code has two recipes: 600,000 iterations of SD-VAE, 325,000 generator updates, and 1,000,000 of DSM,
    525,000 generator updates. The other methods, ESM among them, have none there; here they are as long as DSM.
    """
    data = Data(path="data/imagenet/train", size=256, held_out=0.01, crop="center", workers=8)
    steps = IMAGENET_STEPS.get(method, IMAGENET_STEPS["dsm"])
    run = replace(celeba256_f16d16(method), steps=steps, batch_size=128, data=data)
    return renamed(run, f"imagenet256_f16d16_{method}")


def finetune256(method: str = "dsm") -> AutoencoderRun:
    """Return a fine-tuning at 256 × 256, without a discriminator; set network.pretrained and data.path.

    Losses on images are those of latent diffusion, L1 and LPIPS alike, where weights/lpips holds LPIPS's weights; L1
    alone elsewhere, which is said. 10,000 updates: EQ-VAE reports most of its gain after as many (arXiv 2502.09509,
    table of ablations).
    """
    run = replace(
        celeba256_f16d16(method),
        steps=10_000,
        batch_size=32,
        data=Data(path="data/images", size=256, workers=8),
        network=Network(pretrained="stabilityai/sd-vae-ft-mse"),
        losses=Losses(perceptual=1.0, perceptual_weights=LPIPS_WEIGHTS) if Path(LPIPS_WEIGHTS).exists() else Losses(),
        discriminator=DiscriminatorChoice(),
        optimizer=Optimizer(lr=1e-5, ema=0.999),
        intervals=Intervals(preview=1000, checkpoint=1000),
    )
    return renamed(run, f"finetune256_{method}")


def distill_tiny() -> AutoencoderRun:
    """Return a distillation into diffusers' AutoencoderTiny at 128 × 128; set distillation.teacher and data.path.

    1.2 M parameters in each of encoder and decoder, as TAESD. Cost and expected numbers: not measured here.
    """
    run = AutoencoderRun(
        steps=100_000,
        batch_size=32,
        precision="bf16",
        channels_last=True,
        sample_posterior=False,
        data=Data(path="data/images", size=128, workers=8),
        distillation=Distillation(teacher="stabilityai/sd-vae-ft-mse"),
        losses=finetune256("autoencoder").losses,
        optimizer=Optimizer(lr=5e-4, warmup=1000),
        intervals=Intervals(log=50, preview=5000, checkpoint=5000),
    )
    return renamed(run, "distill_tiny")


FAMILIES = {make.__name__: make for make in (tiny, celeba256_f16d16, celeba256_f8d4, imagenet256_f16d16, finetune256)}
PRESETS: dict[str, Callable[[], AutoencoderRun]] = {
    f"{family}_{method}": partial(make, method) for family, make in FAMILIES.items() for method in ROWS
}
PRESETS["distill_tiny"] = distill_tiny
