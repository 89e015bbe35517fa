"""From a run to its directory: checks before any work, training with resume, then the export."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.markup import escape

from . import checkpoints
from .autoencoder_state import TrainingState, averaged, build_state
from .data.images import ImageSet, open_images
from .data.order import fixed_batches, image_batches
from .export import finish, write_preview, writing
from .loop import Log, drain
from .nets.perceptual import LPIPS
from .run_checks import check, check_batch, check_grid, refuse_other_run
from .run_files import to_yaml
from .runs import AutoencoderRun
from .train_autoencoder import StepRecord, train_autoencoder

N_PREVIEW = 8


def run_autoencoder(run: AutoencoderRun, title: str | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint on; returns the exported autoencoder's folder.

    ValueError, before any work, for whatever cannot be trained. SystemExit after a signal, with a checkpoint written.
    """
    method = check(run)
    accelerator = Accelerator(mixed_precision="no", log_with=list(run.trackers) or None, project_dir=run.out)
    console = Console(quiet=not accelerator.is_main_process, stderr=True)
    directory = Path(run.out)
    check_batch(run, accelerator.num_processes)
    refuse_other_run(run, directory)
    state = build_state(run, method, accelerator.device)
    check_grid(run, method, state)
    perceptual = load_perceptual(run, accelerator.device)
    resumed = checkpoints.latest(directory / "checkpoints")
    if resumed is not None:
        load(state, resumed)
        if state.step > run.steps:
            raise ValueError(f"steps is {run.steps}, but {directory} is at step {state.step} already; ask for more")
        console.print(f"going on from step {state.step} ({escape(str(resumed))})", highlight=False)
    training, held_out = open_both(run)
    for bad in training.bad:  # of the whole source, so those of held_out as well
        console.print(f"[yellow]skipped[/] {escape(f'{bad.name}: {bad.reason}')}", highlight=False)
    counts = f"{len(training)} images to train on, {len(held_out)} held out"
    console.print(f"{counts} ({escape(run.data.path)})", highlight=False)
    if accelerator.is_main_process:
        for name in ("samples", "checkpoints"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        checkpoints.write_text_aside(directory / "run.yaml", to_yaml(run))
    accelerator.wait_for_everyone()
    if run.trackers:
        accelerator.init_trackers("spectrum-matching", config=_flat(dataclasses.asdict(run)))

    log = Log(directory / "log.jsonl", state.step) if accelerator.is_main_process else None
    previewed = next(fixed_batches(held_out, N_PREVIEW, N_PREVIEW)).images
    start = state.step
    batches = image_batches(
        training,
        run.batch_size,
        run.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        start=start,
        end=run.steps,
        workers=run.data.workers,
    )

    def preview(step: int) -> None:
        if accelerator.is_main_process:
            with averaged(state):
                write_preview(state, previewed.to(accelerator.device), directory / "samples" / f"{step:07d}.png")

    def checkpoint(step: int) -> None:
        if accelerator.is_main_process:
            with writing(f"the checkpoint of step {step} under {directory / 'checkpoints'}"):
                checkpoints.save(
                    directory / "checkpoints",
                    step,
                    lambda folder: torch.save(state.state_dict(), folder / "state.pt"),
                    run.cadence.keep_last,
                    run.cadence.keep_every,
                )
        accelerator.wait_for_everyone()

    records = train_autoencoder(run, state, batches, accelerator, perceptual)
    finished = drain(
        naming_bad_files(records, directory, console),
        title=title or run.name,
        start=start,
        steps=run.steps,
        batch_size=run.batch_size,
        log=log,
        log_every=run.cadence.log,
        actions=((run.cadence.checkpoint, checkpoint), (run.cadence.preview, preview)),
        accelerator=accelerator,
        console=console,
    )
    del records, batches  # ends the processes that read images
    if log is not None:
        log.close()
    if finished and accelerator.is_main_process:
        with averaged(state):
            finish(run, state, training, held_out, directory, console)
    accelerator.wait_for_everyone()
    if run.trackers:
        accelerator.end_training()  # ends the process group as well
    if not finished:
        raise SystemExit(f"stopped at step {state.step}; the same command goes on from there")
    return directory / "export"


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


def load(state: TrainingState, checkpoint: Path) -> None:
    """Bring the state to a checkpoint; ValueError naming it if it cannot be read."""
    try:
        state.load_state_dict(torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(
            f"{checkpoint} cannot be read ({type(error).__name__}); remove it to go on from the checkpoint before"
        ) from error


def naming_bad_files(records: Iterator[StepRecord], directory: Path, console: Console) -> Iterator[StepRecord]:
    """Pass the records on; name each bad file once, on the screen and in bad_files.jsonl."""
    path = directory / "bad_files.jsonl"
    seen = {json.loads(line)["name"] for line in path.read_text().splitlines()} if path.exists() else set()
    for record in records:
        for bad in record.bad_files:
            if bad.name not in seen:
                seen.add(bad.name)
                text = escape(f"{bad.name}: {bad.reason} ({len(seen)} so far)")
                console.print(f"[yellow]skipped[/] {text}", highlight=False)
                with path.open("a") as file:
                    file.write(json.dumps({"step": record.step, "name": bad.name, "reason": bad.reason}) + "\n")
        yield record


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Trackers take numbers and strings under one level of keys."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat
