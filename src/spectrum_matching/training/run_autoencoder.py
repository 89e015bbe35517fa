"""From a run to its directory: checks before any work, training with resume, then the export."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from .. import __version__
from ..data.images import ImageBatch, ImageSet, open_images
from ..data.order import fixed_batches, image_batches
from ..files.atomic import explain_write_errors, write_folder_atomically, write_text_atomically
from ..metrics.images.pixels import psnr, ssim
from ..nets.vision.perceptual import LPIPS
from ..records.provenance import commit
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun
from .checks import check_autoencoder_run, check_size
from .optimization import ema_weights
from .run_directory import begin, drive, end, open_accelerator, refuse_other_run, resume
from .train_autoencoder import TrainingState, build_state, open_autoencoder, train_autoencoder

N_MEASURED, N_AT_ONCE = 256, 16


N_PREVIEW = 8


def run_autoencoder(run: AutoencoderRun, title: str | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint on; returns the exported autoencoder's folder.

    ValueError, before any work, for whatever cannot be trained. SystemExit after a signal, with a checkpoint written.
    """
    accelerator = open_accelerator(run)
    console = Console(quiet=not accelerator.is_main_process, stderr=True)
    vision = check_autoencoder_run(run, accelerator.device)
    refuse_other_run(run)
    autoencoder = open_autoencoder(run)
    # The autoencoder's weights are drawn from the seed itself.
    method = run.method.build(vision, autoencoder.channels, seeded("feature match", run.seed).initial_seed())
    state = build_state(run, autoencoder, method, accelerator.device)
    check_size(run, state)
    perceptual = load_perceptual(run, accelerator.device)
    resume(run, state, console)
    training, held_out = open_both(run)
    for bad in training.bad:  # of the whole source, so those of held_out as well
        console.print(f"[yellow]skipped[/] {escape(f'{bad.name}: {bad.reason}')}", highlight=False)
    counts = f"{len(training)} images to train on, {len(held_out)} held out"
    console.print(f"{counts} ({escape(run.data.path)})", highlight=False)
    begin(run, accelerator)
    previewed = next(fixed_batches(held_out, N_PREVIEW, N_PREVIEW)).images
    batches = image_batches(
        training,
        run.batch_size,
        run.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        start=state.step,
        end=run.steps,
        workers=run.data.workers,
    )

    def preview(path: Path) -> None:
        with ema_weights(state.ema, state.autoencoder.parameters()):
            write_preview(state, previewed.to(accelerator.device), path)

    records = train_autoencoder(run, state, batches, accelerator, perceptual)
    finished = drive(run, state, records, preview, accelerator, console, title)
    del records, batches  # ends the processes that read images
    if finished and accelerator.is_main_process:
        with ema_weights(state.ema, state.autoencoder.parameters()):
            finish(run, state, training, held_out, Path(run.out), console)
    end(run, state, finished, accelerator)
    return Path(run.out) / "export"


def open_both(run: AutoencoderRun) -> tuple[ImageSet, ImageSet]:
    """The images to train on, and those held out."""
    data = run.data
    shared: dict[str, Any] = {"held_out": data.held_out, "seed": run.seed, "on_bad": data.on_bad}
    training = open_images(data.path, data.size, split="train", crop=data.crop, flip=data.flip, **shared)
    return training, open_images(data.path, data.size, split="held_out", **shared)


def load_perceptual(run: AutoencoderRun, device: torch.device) -> LPIPS | None:
    """LPIPS if its weight is not 0."""
    if not run.losses.perceptual:
        return None
    if run.losses.perceptual_weights is None:
        raise ValueError(
            "losses.perceptual needs losses.perceptual_weights, the path or hub:NAME of LPIPS's VGG weights"
        )
    return LPIPS.from_weights(run.losses.perceptual_weights).to(device)


@torch.no_grad()
def write_preview(state: TrainingState, images: Tensor, path: Path) -> None:
    """A PNG: the images above, their reconstructions from posterior means below."""
    from PIL import Image

    decoded = state.autoencoder.decode(state.autoencoder.encode(images).mean).float()
    rows = torch.cat([torch.cat(tuple(row), dim=-1) for row in (images, decoded)], dim=-2)
    pixels = ((rows.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path)


@torch.no_grad()
def finish(
    run: AutoencoderRun,
    state: TrainingState,
    training: ImageSet,
    held_out: ImageSet,
    directory: Path,
    console: Console,
) -> None:
    """Write metrics.json (held-out images) and the export with the latents' measured scale.

    ValueError, with neither written, if the numbers are not finite.
    """
    autoencoder = state.autoencoder
    device = autoencoder.last_layer.device
    quality: list[Tensor] = []
    for batch in _tracked(held_out, "measuring", console):
        images = batch.images.to(device)
        decoded = autoencoder.decode(autoencoder.encode(images).mean).float()
        quality.append(torch.stack([psnr(decoded, images), ssim(decoded, images)]).cpu())
    scores = torch.cat(quality, dim=1).double().mean(1)

    latents: list[Tensor] = []
    for i, batch in enumerate(_tracked(training, "scale of the latents", console)):
        posterior = autoencoder.encode(batch.images.to(device))
        drawn = posterior.sample(seeded("scale", run.seed, i)) if run.sample_posterior else posterior.mean
        latents.append(drawn.cpu())
    std = float(torch.cat(latents).double().std())
    if not (scores.isfinite().all() and 0 < std < math.inf):
        raise ValueError(
            f"at step {state.step} the PSNR is {scores[0]:.4g} and the latents' standard deviation {std:.4g}: nothing "
            f"is exported; train again with a lower optimizer.lr"
        )
    numbers = {
        "step": state.step,
        "images": state.step * run.batch_size,
        "skipped_steps": state.skipped,
        "held_out": {
            "n_images": sum(q.shape[1] for q in quality),
            "psnr": float(scores[0]),
            "ssim": float(scores[1]),
        },
        "latent_std": std,
        "version": __version__,
        "commit": commit(),
    }
    write_text_atomically(directory / "metrics.json", json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    # A path is written in full, so that `analyze` knows the images again from wherever it is called.
    source = str(Path(run.data.path).resolve()) if Path(run.data.path).exists() else run.data.path
    origin = {
        "run": run.name,
        "method": {k: v for k, v in dataclasses.asdict(run.method).items() if v is not None},
        "step": state.step,
        "data": {"source": source, "size": run.data.size, "held_out": run.data.held_out, "seed": run.seed},
        "version": __version__,
        "commit": commit(),
    }

    def write(folder: Path) -> None:
        autoencoder.save_pretrained(folder, scaling_factor=1 / std)
        (folder / "specmatch.json").write_text(json.dumps(origin, indent=1) + "\n")

    with explain_write_errors(f"the export under {directory}"):
        write_folder_atomically(directory / "export", write)


def _tracked(images: ImageSet, title: str, console: Console) -> Iterator[ImageBatch]:
    n_batches = -(-min(len(images), N_MEASURED) // N_AT_ONCE)
    batches = fixed_batches(images, N_AT_ONCE, N_MEASURED)
    yield from track(batches, title, n_batches, console=console, disable=console.quiet)
