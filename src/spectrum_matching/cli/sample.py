"""The command `sample`: images from a trained diffusion model, as a grid, a folder of PNG files, or one .npz."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Literal

from accelerate import Accelerator, InitProcessGroupKwargs

from ..sampling.generate import SamplerName, SamplingChoice, check_sampling
from ..sampling.model import open_model
from ..sampling.samples import check_out, write_samples
from .progress import progress_bar

log = logging.getLogger(__name__)


def sample(
    model: str,
    /,
    *,
    out: Path,
    num_images: int = 16,
    sampler: SamplerName = "euler",
    steps: int = 50,
    guidance: float = 1.0,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    labels: str = "balanced",
    seed: int = 0,
    batch_size: int = 64,
    precision: Literal["fp32", "bf16"] = "fp32",
    autoencoder: str | None = None,
) -> Path:
    """Sample images; image i does not depend on batch size or number of processes. Rerun the same command to resume.

    Args:
        model: Run directory of train-diffusion, or the export in it.
        out: X.png for a grid, X.npz for uint8 arr_0 (ADM's format), else a folder of PNG files.
        num_images: Number of images.
        sampler: ODE: euler, heun, dpm_solver; SDE: euler_maruyama.
        steps: Steps of the sampler; heun calls the network twice in each.
        guidance: Scale of classifier-free guidance; 1 is none.
        guidance_interval: Range of t in which guidance acts; 0 is data, 1 is noise.
        labels: balanced (classes in turn), random, none, or a class by number.
        seed: Image i depends on the seed and on i alone.
        batch_size: Images at once in a process; rounding depends on it, so that a byte may differ by one.
        precision: Of the network; the sampler is in float32.
        autoencoder: Decodes in place of the autoencoder that the model was trained with.
    """
    choice = SamplingChoice(sampler, steps, guidance, guidance_interval, labels, seed, batch_size, precision)
    # One process may end hours after another, without communicating in between.
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))])
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected at least 1")
    check_out(out)
    opened = open_model(model, accelerator.device, autoencoder)
    check_sampling(opened, choice)
    digest = opened.card.autoencoder_digest
    if opened.decoder and digest and digest != opened.decoder.digest and not autoencoder:
        name = opened.decoder.name
        log.warning("the weights of %s have changed since %s was trained on its latents", name, model)
    with progress_bar("sampling") as progress:
        write_samples(opened, choice, num_images, out, accelerator, progress)
    return out
