"""The verb `sample`: images from a trained diffusion model, as a grid, a folder of PNG files, or one .npz."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from accelerate import Accelerator, InitProcessGroupKwargs
from rich.console import Console
from rich.markup import escape

from ..sampling.generate import SamplerName, SamplingChoice, check_sampling
from ..sampling.model import open_model
from ..sampling.samples import refuse_what_is_not_samples, write_samples


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
    """Draw images; image i is the same whatever the batch size or number of processes. The same command resumes.

    Args:
        model: Run directory of train-diffusion, or the export in it.
        out: X.png for a grid, X.npz for uint8 arr_0 (ADM's format), else a folder of PNG files.
        num_images: How many.
        sampler: ODE: euler, heun, dpm_solver; SDE: euler_maruyama.
        steps: Steps of the sampler; heun calls the network twice in each.
        guidance: Scale of classifier-free guidance; 1 is none.
        guidance_interval: The t in which guidance acts; 0 is data, 1 is noise.
        labels: balanced (classes in turn), random, none, or a class by number.
        seed: Image i depends on it and on i alone.
        batch_size: Images at once in a process; kernels round by it, so that now and then a byte differs by one.
        precision: Of the network; the sampler is in float32.
        autoencoder: Decodes in place of the one that the model was trained with.
    """
    choice = SamplingChoice(sampler, steps, guidance, guidance_interval, labels, seed, batch_size, precision)
    # One process may end hours after another; none of them talk in between.
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))])
    console = Console(stderr=True, quiet=not accelerator.is_main_process)
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected at least 1")
    refuse_what_is_not_samples(out)
    opened = open_model(model, accelerator.device, autoencoder)
    check_sampling(opened, choice)
    then = opened.card.autoencoder_digest
    if opened.decoder and then and then != opened.decoder.digest and not autoencoder:
        console.print(
            f"[yellow]warning[/]: the weights of {escape(opened.decoder.name)} have changed since {escape(model)} was "
            f"trained on its latents",
            highlight=False,
            soft_wrap=True,
        )
    write_samples(opened, choice, num_images, out, accelerator, console)
    return out
