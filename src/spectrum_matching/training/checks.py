"""Checks of a run before any work is done for it; constraints on single settings stand at their fields."""

import torch

from ..files.settings import validate
from ..methods.shared_transforms import SpectralMask
from ..metrics.images.pixels import SSIM_WINDOW
from ..nets.denoiser.build import n_blocks
from ..nets.vision.encoders import VisionEncoder
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun
from .diffusion_config import AlignmentChoice, DiffusionRun
from .train_autoencoder import AutoencoderState
from .train_diffusion import filter_of, path_of, times_of

SMALLEST_LPIPS = 16


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
    if vision is not None:
        vision.grid(run.data.size)
    method = run.method.build(vision)
    on_latents = [term.name for term in method.terms if term.weight]
    if run.network.train == "decoder" and on_latents:
        raise ValueError(
            f"method {method.name} has a loss on the latents ({', '.join(on_latents)}), which training the decoder "
            f"alone cannot change; set its weight to 0 or network.train to all"
        )
    return vision


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


def check_size(run: AutoencoderRun, state: AutoencoderState) -> None:
    """Check that images of the run's size fit the autoencoder, the method, the discriminator and the losses.

    Raises:
        ValueError: for the first of them that they do not fit.
    """
    size, factor, method = run.data.size, state.autoencoder.factor, state.reconstructor.method
    if size % factor:
        raise ValueError(f"data.size is {size}, expected a multiple of the autoencoder's factor {factor}")
    if size < SSIM_WINDOW:
        raise ValueError(f"data.size is {size}, expected at least {SSIM_WINDOW}, the window of SSIM")
    latents = torch.empty(1, 1, size // factor, size // factor)
    generator = seeded("check")
    # Transforms may shrink the images; so many draws include the smallest.
    draws = {method.draw(generator, (size // factor, size // factor)) for _ in range(256)}
    smallest = factor * min(min(draw.shared(draw.before(latents)).shape[-2:]) for draw in draws)
    added = [factor * min(draw.added(latents).shape[-2:]) for draw in draws if draw.added is not None]
    needs = {"losses.perceptual": (SMALLEST_LPIPS if run.losses.perceptual else 0, min([smallest, *added]))}
    needs["the discriminator"] = (state.discriminator.smallest if state.discriminator else 0, smallest)
    for name, (least, given) in needs.items():
        if given < least:
            raise ValueError(
                f"{name} needs images of {least} pixels and method {method.name} gives it {given}; raise data.size "
                f"({size}) or lower discriminator.depth ({run.discriminator.depth})"
            )


def check_curriculum(run: DiffusionRun, shape: tuple[int, int, int]) -> None:
    """Check that the curriculum's low-passes fit latents (c, h, w).

    Raises:
        ValueError: where they do not.
    """
    if run.curriculum.keep:
        SpectralMask(run.curriculum.keep, run.curriculum.block).draw(torch.Generator(), shape[1:])
