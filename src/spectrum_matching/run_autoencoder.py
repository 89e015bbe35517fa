"""From a run to its directory: checks before any work, training with resume, then the export."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.markup import escape

from .autoencoder_state import build_state, open_autoencoder
from .data.images import ImageSet, open_images
from .data.order import fixed_batches, image_batches
from .export import finish, write_preview
from .nets.vision.perceptual import LPIPS
from .run_checks import check, check_batch, check_grid, check_method
from .run_directory import FREE, begin, drive, end, refuse_other_run, resume
from .runs import AutoencoderRun
from .seeding import seeded
from .train_autoencoder import train_autoencoder
from .updates import averaged

N_PREVIEW = 8


def run_autoencoder(run: AutoencoderRun, title: str | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint on; returns the exported autoencoder's folder.

    ValueError, before any work, for whatever cannot be trained. SystemExit after a signal, with a checkpoint written.
    """
    check(run)
    accelerator = Accelerator(mixed_precision="no", log_with=list(run.trackers) or None, project_dir=run.out)
    console = Console(quiet=not accelerator.is_main_process, stderr=True)
    check_batch(run, accelerator.num_processes)
    refuse_other_run(run, (*FREE, "data.workers"))
    vision = check_method(run, accelerator.device)
    autoencoder = open_autoencoder(run)
    # The autoencoder's weights are drawn from the seed itself.
    method = run.method.build(vision, autoencoder.channels, seeded("feature match", run.seed).initial_seed())
    state = build_state(run, autoencoder, method, accelerator.device)
    check_grid(run, state)
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
        with averaged(state.ema, state.autoencoder.parameters()):
            write_preview(state, previewed.to(accelerator.device), path)

    records = train_autoencoder(run, state, batches, accelerator, perceptual)
    finished = drive(run, state, records, preview, accelerator, console, title)
    del records, batches  # ends the processes that read images
    if finished and accelerator.is_main_process:
        with averaged(state.ema, state.autoencoder.parameters()):
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
