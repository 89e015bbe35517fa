"""The verb `sample`: images from a trained diffusion model, as a grid, a folder of PNG files, or one .npz."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from accelerate import Accelerator, InitProcessGroupKwargs
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from .data.pictures import to_bytes
from .diffusion_model import DiffusionModel, open_model
from .diffusion_runs import SamplerName, SamplingChoice
from .files.atomic import writing
from .generate import check_sampling, generate_batch, sampling_record
from .sample_files import (
    begin_parts,
    drop_parts,
    is_there,
    join_parts,
    missing,
    parts_of,
    refuse_what_is_not_samples,
    write_part,
)


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


def write_samples(
    model: DiffusionModel,
    choice: SamplingChoice,
    n_images: int,
    out: Path,
    accelerator: Accelerator,
    console: Console,
) -> None:
    """Images 0 to n_images − 1 to `out`, with their `Sampling` beside them; what a kill left half done goes on.

    Samples that are there are replaced by others; ValueError where `out` is anything else, or cannot be written.
    """
    record = sampling_record(model, choice, n_images)
    refuse_what_is_not_samples(out)
    parts = parts_of(out)
    if is_there(out, record):
        said = f"{escape(str(out))} is there already, made by this very command"
        console.print(said, highlight=False, soft_wrap=True)
        drop_parts(parts)
        return
    accelerator.wait_for_everyone()  # until all know what is there
    if accelerator.is_main_process:
        with writing(f"samples to {out}"):
            begin_parts(parts, record)
    accelerator.wait_for_everyone()
    todo = missing(parts, n_images, choice.batch_size)
    accelerator.wait_for_everyone()  # until all know what is missing
    if n_there := n_images - sum(map(len, todo)):
        console.print(f"going on: {n_there} of {n_images} images are there", highlight=False)
    with Progress(console=console, disable=console.quiet) as bar:
        for indices in bar.track(todo[accelerator.process_index :: accelerator.num_processes], description="sampling"):
            pixels = to_bytes(generate_batch(model, choice, indices, accelerator.device)).numpy()
            with writing(f"samples to {out}"):
                write_part(parts, indices, pixels)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        with writing(f"samples to {out}"):
            join_parts(parts, n_images, out, record)
    accelerator.wait_for_everyone()
