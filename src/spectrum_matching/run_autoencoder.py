"""From a run to its directory: checks before any work, training with resume, final numbers, export."""

import dataclasses
import importlib.util
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.markup import escape
from safetensors import SafetensorError
from torch import Tensor

from . import __version__, checkpoints
from .autoencoder_state import TrainingState, averaged, build_state
from .data.images import ImageSet, open_images
from .data.order import fixed_batches, image_batches
from .data.seeding import seeded
from .loop import Log, drain
from .methods.method import Method
from .metrics.pixels import SSIM_WINDOW, psnr, ssim
from .nets.perceptual import LPIPS
from .provenance import commit
from .run_files import differences, override, read_mapping, to_yaml
from .runs import AutoencoderRun
from .train_autoencoder import StepRecord, train_autoencoder

# What may change from one command to the next on the same run directory.
FREE = ("name", "out", "steps", "precision", "max_bad_steps", "trackers", "data.workers", "optimizer.lr", "cadence.")
N_PREVIEW, N_EVALUATED, N_SCALED, N_AT_ONCE = 8, 256, 1024, 16
SMALLEST_LPIPS = 16


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
    if log is not None:
        log.close()
    if finished and accelerator.is_main_process:
        with averaged(state):
            finish(run, state, training, held_out, directory)
    accelerator.wait_for_everyone()
    if run.trackers:
        accelerator.end_training()  # ends the process group as well
    if not finished:
        raise SystemExit(f"stopped at step {state.step}; the same command goes on from there")
    return directory / "export"


def check(run: AutoencoderRun) -> Method:
    """The run's method, once its numbers make sense; ValueError naming the first that does not."""
    for key in ("steps", "batch_size", "accumulation", "max_bad_steps", "cadence.checkpoint", "data.size"):
        if _value(run, key) < 1:
            raise ValueError(f"{key} must be at least 1, got {_value(run, key)}")
    for key in (
        "losses.l1",
        "losses.l2",
        "losses.perceptual",
        "adversary.weight",
        "adversary.start",
        "optimizer.lr",
        "optimizer.clip",
    ):
        if not 0 <= _value(run, key) < math.inf:
            raise ValueError(f"{key} must not be negative, got {_value(run, key)}")
    for key in ("optimizer.warmup", "cadence.log", "cadence.preview", "cadence.keep_every", "data.workers"):
        if _value(run, key) < 0:
            raise ValueError(f"{key} must not be negative, got {_value(run, key)}")
    if not run.losses.l1 and not run.losses.l2 and not run.losses.perceptual:
        raise ValueError("losses.l1, losses.l2 and losses.perceptual are all 0: nothing would be reconstructed")
    if not 0 <= run.optimizer.ema < 1:
        raise ValueError(f"optimizer.ema must lie in [0, 1), got {run.optimizer.ema}")
    for tracker in run.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"trackers: {tracker} is not installed; pip install 'spectrum-matching[track]'")
    return run.method.build()


def check_batch(run: AutoencoderRun, n_processes: int) -> None:
    """ValueError unless every process and micro-batch has equally many images."""
    if run.batch_size % (run.accumulation * n_processes):
        raise ValueError(
            f"batch_size is {run.batch_size}, expected a multiple of accumulation ({run.accumulation}) "
            f"times processes ({n_processes})"
        )


def refuse_other_run(run: AutoencoderRun, directory: Path) -> None:
    """ValueError if the directory holds another run, or cannot hold one."""
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"out: {directory} is a file, expected a folder for the run")
    above = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"out: {directory} cannot be made, since {above} is no folder that can be written to")
    there = directory / "run.yaml"
    if there.exists():
        old = override(AutoencoderRun(), read_mapping(there), str(there))
        changed = [line for line in differences(old, run) if not line.startswith(FREE)]
        if changed:
            raise ValueError(
                f"{directory} holds another run: {', '.join(changed)}; choose another out or the same values"
            )


def open_both(run: AutoencoderRun) -> tuple[ImageSet, ImageSet]:
    """The images to train on, and those held out."""
    data = run.data
    shared: dict[str, Any] = {"held_out": data.held_out, "seed": run.seed, "on_bad": data.on_bad}
    training = open_images(data.path, data.size, split="train", crop=data.crop, flip=data.flip, **shared)
    return training, open_images(data.path, data.size, split="held_out", **shared)


def check_grid(run: AutoencoderRun, method: Method, state: TrainingState) -> None:
    """ValueError if images of this size do not fit the autoencoder, the method or the critic."""
    size, factor = run.data.size, state.autoencoder.factor
    if size % factor:
        raise ValueError(f"data.size is {size}, expected a multiple of the autoencoder's factor {factor}")
    if size < SSIM_WINDOW:
        raise ValueError(f"data.size is {size}, expected at least {SSIM_WINDOW}, the window of SSIM")
    cells = torch.empty(1, 1, size // factor, size // factor)
    generator = seeded("check")
    # Moves may shrink the images; so many draws meet the smallest.
    moves = [method.shared.draw(generator, (size // factor, size // factor)) for _ in range(256)]
    smallest = factor * min(min(move(cells).shape[-2:]) for move in set(moves))
    if state.critic is not None and smallest < state.critic.smallest:
        raise ValueError(
            f"the critic needs images of {state.critic.smallest} pixels and method {method.name} gives it {smallest}; "
            f"raise data.size ({size}) or lower adversary.depth ({run.adversary.depth})"
        )
    if run.losses.perceptual and smallest < SMALLEST_LPIPS:
        raise ValueError(
            f"losses.perceptual needs images of {SMALLEST_LPIPS} pixels and method {method.name} gives it {smallest}; "
            f"raise data.size ({size})"
        )


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


@torch.no_grad()
def write_preview(state: TrainingState, images: Tensor, path: Path) -> None:
    """A PNG: the images above, their reconstructions from posterior means below."""
    from PIL import Image

    decoded = state.autoencoder.decode(state.autoencoder.encode(images).mean).float()
    rows = torch.cat([torch.cat(tuple(row), dim=-1) for row in (images, decoded)], dim=-2)
    pixels = ((rows.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path)


@torch.no_grad()
def finish(run: AutoencoderRun, state: TrainingState, training: ImageSet, held_out: ImageSet, directory: Path) -> None:
    """Write metrics.json (held-out images) and the export with the latents' measured scale."""
    autoencoder = state.autoencoder
    device = autoencoder.last_layer.device
    quality: list[Tensor] = []
    for batch in fixed_batches(held_out, N_AT_ONCE, N_EVALUATED):
        images = batch.images.to(device)
        decoded = autoencoder.decode(autoencoder.encode(images).mean).float()
        quality.append(torch.stack([psnr(decoded, images), ssim(decoded, images)]).cpu())
    scores = torch.cat(quality, dim=1).double().mean(1)

    latents: list[Tensor] = []
    for i, batch in enumerate(fixed_batches(training, N_AT_ONCE, N_SCALED)):
        posterior = autoencoder.encode(batch.images.to(device))
        drawn = posterior.sample(seeded("scale", run.seed, i)) if run.sample_posterior else posterior.mean
        latents.append(drawn.cpu())
    std = float(torch.cat(latents).double().std())
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
    checkpoints.write_text_aside(directory / "metrics.json", json.dumps(numbers, indent=1) + "\n")
    origin = {
        "run": run.name,
        "method": {k: v for k, v in dataclasses.asdict(run.method).items() if v is not None},
        "step": state.step,
        "data": {"source": run.data.path, "size": run.data.size, "held_out": run.data.held_out, "seed": run.seed},
        "version": __version__,
        "commit": commit(),
    }

    def write(folder: Path) -> None:
        autoencoder.save_pretrained(folder, scaling_factor=1 / std)
        (folder / "specmatch.json").write_text(json.dumps(origin, indent=1) + "\n")

    with writing(f"the export under {directory}"):
        checkpoints.write_aside(directory / "export", write)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Say in one line that a write failed."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as RuntimeError
        why = " ".join(str(error).split())
        raise ValueError(f"cannot write {what}: {why}; make room, then the same command goes on") from error


def _value(run: AutoencoderRun, key: str) -> Any:
    value: Any = run
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Trackers take numbers and strings under one level of keys."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat
