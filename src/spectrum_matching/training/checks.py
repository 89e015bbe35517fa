"""Checks of a run before any work is done for it; constraints on single settings stand at their fields."""

import logging
import math

import torch

from ..data.buckets import Shape, bucket_shapes
from ..files.settings import flat_settings, validate
from ..methods.encoding_losses import ESM
from ..methods.method import Method
from ..methods.shared_transforms import SpectralMask
from ..metrics.images.pixels import SSIM_WINDOW
from ..nets.autoencoder import Autoencoder
from ..nets.denoiser.build import n_blocks
from ..nets.vision.encoders import VisionEncoder
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun, Distillation
from .diffusion_config import AlignmentChoice, DiffusionRun
from .train_autoencoder import AutoencoderState, variance_terms
from .train_diffusion import filter_of, path_of, times_of

SMALLEST_LPIPS = 16
SQUARES = "leave data.aspect_ratios at 1"

USERS: dict[str, dict[str, tuple[str, ...]]] = {
    "source.statistics": {"source.latents": (), "source.autoencoder": ()},
    "source.sample": {"source.latents": (), "source.autoencoder": ()},
    "source.held_out": {"source.images": ()},
    "source.crop": {"source.images": ()},
    "objective.times_mean": {"objective.times": ("log_normal", "log_normal_angle")},
    "objective.times_std": {"objective.times": ("log_normal", "log_normal_angle")},
    "objective.shift": {"objective.times": ("shifted",)},
    "objective.gamma": {"objective.weighting": ("min_snr",)},
    "alignment.std": {"alignment.filter": ("normalise", "dog")},
    "alignment.gamma": {"alignment.filter": ("normalise",)},
    "alignment.inner": {"alignment.filter": ("dog",)},
    "alignment.outer": {"alignment.filter": ("dog",)},
}
"""Options of a diffusion run, and what uses each: a setting of one of these values, or one that is given (none)."""

logger = logging.getLogger(__name__)


def check_autoencoder_run(run: AutoencoderRun, device: torch.device | str = "cpu") -> VisionEncoder | None:
    """Check a run as far as that needs neither its images nor its autoencoder.

    Returns:
        The vision encoder of the run's method, on `device`; None where the method has none.

    Raises:
        ValueError: for settings that make no sense, on their own or together.
    """
    validate(run)
    if not run.losses.l1 and not run.losses.l2 and not run.losses.perceptual:
        raise ValueError("losses.l1, losses.l2 and losses.perceptual are all 0: nothing would be reconstructed")
    if run.losses.perceptual and run.losses.perceptual_weights is None:
        raise ValueError("losses.perceptual needs losses.perceptual_weights, a path or hub:NAME of LPIPS's VGG weights")
    vision = run.method.open_vision(device)
    is_square = set(run.data.aspect_ratios) == {1.0}
    if vision is not None:
        vision.grid(run.data.size)
        if not is_square:
            raise ValueError(f"method {run.method.name} has a vision encoder, which takes squares: {SQUARES}")
    method = run.method.build(vision)
    esm = [term.loss for term in method.terms if term.weight and isinstance(term.loss, ESM)]
    if not is_square and any(loss.variant == "paper" for loss in esm):
        raise ValueError(
            "method.variant paper counts rings by index, which on other shapes than squares are no rings of frequency: "
            f"take scale_free, or {SQUARES}"
        )
    on_latents = [term.name for term in method.terms if term.weight]
    decoder_alone, distills = run.network.train == "decoder", run.distillation.teacher is not None
    if on_latents and (decoder_alone or distills):
        what = "training the decoder alone cannot change" if decoder_alone else "are the teacher's in a distillation"
        other = "network.train to all" if decoder_alone else "take another method"
        raise ValueError(
            f"method {method.name} has a loss on the latents ({', '.join(on_latents)}), which {what}; set its weight "
            f"to 0 or {other}"
        )
    if decoder_alone and not (run.network.pretrained or distills):
        raise ValueError("network.train is decoder, and a new encoder has learned nothing: give network.pretrained")
    if not distills and run.distillation != Distillation():
        raise ValueError("distillation.teacher is not given, so that nothing else of distillation would be used")
    return vision


def check_autoencoder(run: AutoencoderRun, autoencoder: Autoencoder, method: Method) -> None:
    """Check that the autoencoder has what the method, the losses and the export need of it.

    Raises:
        ValueError: naming what it lacks, and the remedy.
    """
    autoencoder.require_saving()
    kl = variance_terms(method)
    if kl and not autoencoder.is_stochastic:
        raise ValueError(
            f"method {method.name} weighs the variance of a posterior ({', '.join(kl)}), and the latents of this "
            f"{autoencoder.kind} have none: set method.kl_weight to 0"
        )
    balanced = [term.name for term in method.terms if term.weight and term.balanced]
    if balanced and autoencoder.layers.encoder_output is None:
        raise ValueError(
            f"method {method.name} is balanced ({', '.join(balanced)}) at the encoder's last layer, and this "
            f"{autoencoder.kind} has no such layer with a gradient: take another method"
        )
    if run.discriminator.weight and run.discriminator.adaptive and autoencoder.layers.decoder_output is None:
        raise ValueError(
            f"the discriminator is weighted at the decoder's last layer, and this {autoencoder.kind} has no such "
            f"layer with a gradient: set discriminator.adaptive to False"
        )
    if run.compile and not autoencoder.layers.decoder_blocks:
        raise ValueError(f"this {autoencoder.kind} has no network `decoder` of several layers to compile: leave it out")
    if run.network.pretrained and not run.losses.perceptual:
        logger.warning(
            "losses.perceptual is 0: most autoencoders were trained with LPIPS, and without it reconstructions become "
            "smoother; give losses.perceptual_weights and losses.perceptual"
        )


def check_diffusion_run(run: DiffusionRun) -> None:
    """Check a run as far as that needs no data.

    Raises:
        ValueError: for settings that make no sense, on their own or together.
    """
    validate(run)
    if run.objective.weighting == "min_snr" and not run.objective.gamma:
        raise ValueError("objective.gamma must be positive for min_snr, got 0")
    path_of(run)
    times_of(run)
    run.source.check()
    choice = run.alignment
    if choice.weight:
        filter_of(choice)
        deepest = n_blocks(run.denoiser.name, run.denoiser.depth)
        if choice.tap > deepest:
            raise ValueError(f"alignment.tap is {choice.tap}, and {run.denoiser.name} has blocks 1 to {deepest}")
    elif choice != AlignmentChoice():
        raise ValueError("alignment.weight is 0, so that nothing else of alignment would be used: give it a weight")
    _check_used(run)


def _check_used(run: DiffusionRun) -> None:
    """Check that no option is set that nothing uses: the record of the run would hold it all the same."""
    given, plain = ({key: value for key, value, _ in flat_settings(each)} for each in (run, DiffusionRun()))
    for option, users in USERS.items():
        is_used = any(given[key] in values if values else given[key] is not None for key, values in users.items())
        if not is_used and given[option] != plain[option]:
            said = " or ".join(" ".join([key, " or ".join(values)]).rstrip() for key, values in users.items())
            raise ValueError(
                f"{option} is {given[option]!r}, which only {said} uses: leave it at {plain[option]!r}, or set what "
                f"uses it"
            )


def check_size(run: AutoencoderRun, state: AutoencoderState) -> tuple[Shape, ...]:
    """Check that images of the run's shapes fit the autoencoder, the method, the discriminator and the losses.

    Returns:
        The shapes of the run's aspect ratios: height and width in pixels.

    Raises:
        ValueError: for the first of them that they do not fit.
    """
    autoencoder, size, method = state.autoencoder, run.data.size, state.reconstructor.method
    teacher = state.reconstructor.teacher
    factor, multiple, ratios = autoencoder.factor, autoencoder.multiple, run.data.aspect_ratios
    if autoencoder.size and size != autoencoder.size:
        raise ValueError(f"data.size is {size}, and this {autoencoder.kind} takes images of {autoencoder.size} alone")
    if size % multiple:
        what = "the autoencoder's factor" if multiple == factor else "what the autoencoder divides"
        raise ValueError(f"data.size is {size}, expected a multiple of {what} {multiple}")
    if size < SSIM_WINDOW:
        raise ValueError(f"data.size is {size}, expected at least {SSIM_WINDOW}, the window of SSIM")
    if set(ratios) != {1.0} and (alone := autoencoder.size or (teacher and teacher.autoencoder.size)):
        raise ValueError(f"the autoencoder takes images of {alone} x {alone} pixels alone: {SQUARES}")
    generator = seeded("check")
    method.draw(generator, (size // factor, size // factor))  # squares alone are measured at the end

    def is_legal(shape: Shape) -> bool:
        try:
            return bool(method.draw(generator, (shape[0] // factor, shape[1] // factor)))
        except ValueError:
            return False

    step = math.lcm(multiple, teacher.autoencoder.multiple if teacher else 1)
    shapes = bucket_shapes(ratios, size, step, is_legal)
    for shape in shapes:
        _check_smallest(run, state, shape)
    return shapes


def _check_smallest(run: AutoencoderRun, state: AutoencoderState, shape: Shape) -> None:
    """Check that the smallest images that the method makes of those of a shape fit the discriminator and the losses."""
    factor, method = state.autoencoder.factor, state.reconstructor.method
    grid = shape[0] // factor, shape[1] // factor
    latents, generator = torch.empty(1, 1, *grid), seeded("check")
    # Transforms may shrink the images; so many draws include the smallest.
    draws = {method.draw(generator, grid) for _ in range(256)}
    smallest = factor * min(min(draw.shared(draw.before(latents)).shape[-2:]) for draw in draws)
    added = [factor * min(draw.added(latents).shape[-2:]) for draw in draws if draw.added is not None]
    needs = {"losses.perceptual": (SMALLEST_LPIPS if run.losses.perceptual else 0, min([smallest, *added]))}
    needs["the discriminator"] = (state.discriminator.smallest if state.discriminator else 0, smallest)
    for name, (least, given) in needs.items():
        if given < least:
            raise ValueError(
                f"{name} needs images of {least} pixels and method {method.name} gives it {given}; raise data.size "
                f"({run.data.size}) or lower discriminator.depth ({run.discriminator.depth})"
            )


def check_curriculum(run: DiffusionRun, shape: tuple[int, int, int]) -> None:
    """Check that the curriculum's low-passes fit latents (c, h, w).

    Raises:
        ValueError: where they do not.
    """
    if run.curriculum.keep:
        SpectralMask(run.curriculum.keep, run.curriculum.block).draw(torch.Generator(), shape[1:])
