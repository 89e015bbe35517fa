"""The verb `sample`: images from a trained diffusion model, as a grid, a folder of PNG files, or one .npz."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from .checkpoints import write_text_aside
from .diffusion_model import DiffusionModel, open_model
from .diffusion_runs import SamplerName, SamplingChoice
from .export import writing
from .generate import check_sampling, generate_batch, sampling_record
from .pictures import grid, to_bytes, write_png
from .scores import Sampling

FORMAT = "specmatch-samples-1"


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
        batch_size: Images at once in a process.
        precision: Of the network; the sampler is in float32.
        autoencoder: Decodes in place of the one that the model was trained with.
    """
    choice = SamplingChoice(sampler, steps, guidance, guidance_interval, labels, seed, batch_size, precision)
    accelerator = Accelerator()
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected at least 1")
    opened = open_model(model, accelerator.device, autoencoder)
    if opened.autoencoder is None and opened.card.shape[0] != 3:
        raise ValueError(f"{model} does not say what decodes its latents; name it by --autoencoder")
    check_sampling(opened, choice)
    console = Console(stderr=True, quiet=not accelerator.is_main_process)
    with writing(f"samples to {out}"):
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
    """Images 0 to n_images − 1 to `out`, with their `Sampling` beside them.

    Batches lie as files in a folder beside `out` until all are there, so that a kill loses none.
    """
    record = sampling_record(model, choice, n_images)
    sidecar = out.with_suffix(".json") if out.suffix in (".npz", ".png") else out / "samples.json"
    parts = out.with_name(f".{out.name}.parts")
    if accelerator.is_main_process:
        if out.exists() and read_sampling(sidecar) == record:
            console.print(f"{out} is there already, made by this very command", highlight=False)
        else:
            begin_parts(parts, record)
    accelerator.wait_for_everyone()
    if not parts.exists():
        return
    starts = list(range(0, n_images, choice.batch_size))
    own = starts[accelerator.process_index :: accelerator.num_processes]
    with Progress(console=console, disable=console.quiet) as bar:
        for start in bar.track(own, description="sampling"):
            part = parts / f"{start:08d}.npy"
            if not part.exists():
                indices = range(start, min(start + choice.batch_size, n_images))
                pixels = to_bytes(generate_batch(model, choice, indices, accelerator.device)).numpy()
                aside = part.with_suffix(".writing")
                with aside.open("wb") as stream:
                    np.save(stream, pixels, allow_pickle=False)
                aside.replace(part)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        join_parts(parts, starts, n_images, out)
        write_text_aside(sidecar, json.dumps({"format": FORMAT, "sampling": asdict(record)}, indent=1) + "\n")
        for leftover in parts.iterdir():
            leftover.unlink()
        parts.rmdir()
    accelerator.wait_for_everyone()


def begin_parts(parts: Path, record: Sampling) -> None:
    """A folder for this sampling's batches; those of another sampling are dropped, those of this one are kept."""
    parts.mkdir(parents=True, exist_ok=True)
    if read_sampling(parts / "samples.json") != record:
        for stale in parts.iterdir():
            stale.unlink()
        write_text_aside(parts / "samples.json", json.dumps({"format": FORMAT, "sampling": asdict(record)}) + "\n")


def join_parts(parts: Path, starts: list[int], n_images: int, out: Path) -> None:
    """The batches as what `out` asks for: a grid, an .npz or a folder of PNG files."""

    def pixels() -> Iterator[np.ndarray]:
        for start in starts:
            yield np.load(parts / f"{start:08d}.npy", allow_pickle=False)

    if out.suffix == ".png":
        images = torch.from_numpy(np.concatenate(list(pixels()))).permute(0, 3, 1, 2).float() / 127.5 - 1
        write_png(out, to_bytes(grid(images))[0])
    elif out.suffix == ".npz":
        write_npz(out, pixels(), n_images)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for start, batch in zip(starts, pixels(), strict=True):
            for i, image in enumerate(batch, start):
                write_png(out / f"{i:06d}.png", torch.from_numpy(image))


def write_npz(path: Path, batches: Iterator[np.ndarray], n_images: int) -> None:
    """uint8 (n, H, W, 3) as `arr_0`, written batch by batch: memory does not grow with their number."""
    aside = path.with_name(f".{path.name}.writing")
    with (
        zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive,
        archive.open("arr_0.npy", "w", force_zip64=True) as stream,
    ):
        for i, batch in enumerate(batches):
            if not i:
                header = {"descr": "|u1", "fortran_order": False, "shape": (n_images, *batch.shape[1:])}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(batch.tobytes())
    aside.replace(path)


def read_pixels(path: Path, batch_size: int) -> Iterator[Tensor]:
    """Images (b, 3, H, W) in [-1, 1] of an .npz that `write_npz` wrote, batch by batch."""
    with np.load(path, allow_pickle=False) as archive:
        pixels = torch.from_numpy(archive["arr_0"])
    for batch in pixels.split(batch_size):
        yield batch.permute(0, 3, 1, 2).float() / 127.5 - 1


def read_sampling(path: Path) -> Sampling | None:
    """The record in a sidecar; None where there is none that can be read."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Sampling).validate_python(json.loads(path.read_text())["sampling"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
