"""From a run to its directory: checks before any work, training with resume, final numbers, export."""

import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from . import __version__, checkpoints
from .autoencoder_state import TrainingState, averaged, build_state
from .data.images import ImageSet, open_images
from .data.order import fixed_batches, image_batches
from .data.seeding import seeded
from .loop import Log, drain
from .methods.method import Method
from .metrics.pixels import psnr, ssim
from .nets.perceptual import LPIPS
from .provenance import commit
from .run_files import differences, override, read_mapping, to_yaml
from .runs import AutoencoderRun
from .train_autoencoder import train_autoencoder

# What may change from one command to the next on the same run directory.
FREE = ("name", "out", "steps", "max_bad_steps", "trackers", "data.workers", "optimizer.lr", "cadence.")
N_PREVIEW, N_EVALUATED, N_SCALED = 8, 256, 1024


def run_autoencoder(run: AutoencoderRun, title: str | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint on; returns the exported autoencoder's folder.

    ValueError, before any work, for whatever cannot be trained. SystemExit after a signal, with a checkpoint written.
    """
    method = check(run)
    accelerator = Accelerator(mixed_precision="no", log_with=list(run.trackers) or None, project_dir=run.out)
    console = Console(quiet=not accelerator.is_main_process, stderr=True)
    directory = Path(run.out)
    refuse_other_run(run, directory)
    training, held_out = open_both(run)
    for bad in (*training.bad, *held_out.bad):
        console.print(f"[yellow]skipped[/] {bad.name}: {bad.reason}", highlight=False)
    console.print(f"{len(training)} images to train on, {len(held_out)} held out ({run.data.path})", highlight=False)

    state = build_state(run, method, accelerator.device)
    check_grid(run, method, state)
    perceptual = load_perceptual(run, accelerator.device)
    resumed = checkpoints.latest(directory / "checkpoints")
    if resumed is not None:
        load(state, resumed)
        console.print(f"going on from step {state.step} ({resumed})", highlight=False)
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
            try:
                checkpoints.save(
                    directory / "checkpoints",
                    step,
                    lambda folder: torch.save(state.state_dict(), folder / "state.pt"),
                    run.cadence.keep_last,
                    run.cadence.keep_every,
                )
            except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
                raise ValueError(
                    f"cannot write the checkpoint of step {step} under {directory / 'checkpoints'}: {error}; "
                    f"make room and run the same command again to go on from the checkpoint before"
                ) from error
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
        actions=((run.cadence.preview, preview), (run.cadence.checkpoint, checkpoint)),
        accelerator=accelerator,
    )
    if log is not None:
        log.close()
    if run.trackers:
        accelerator.end_training()
    if not finished:
        raise SystemExit(f"stopped at step {state.step}; the same command goes on from there")
    if accelerator.is_main_process:
        with averaged(state):
            finish(run, state, training, held_out, directory)
    accelerator.wait_for_everyone()
    return directory / "export"


def check(run: AutoencoderRun) -> Method:
    """The run's method, once its numbers make sense; ValueError naming the first that does not."""
    for key in ("steps", "batch_size", "accumulation", "max_bad_steps", "cadence.checkpoint", "data.size"):
        if _value(run, key) < 1:
            raise ValueError(f"{key} must be at least 1, got {_value(run, key)}")
    for key in ("losses.l1", "losses.l2", "losses.perceptual", "adversary.weight", "optimizer.lr", "optimizer.clip"):
        if not 0 <= _value(run, key) < math.inf:
            raise ValueError(f"{key} must not be negative, got {_value(run, key)}")
    if not run.losses.l1 and not run.losses.l2 and not run.losses.perceptual:
        raise ValueError("losses.l1, losses.l2 and losses.perceptual are all 0: nothing would be reconstructed")
    if not 0 <= run.optimizer.ema < 1:
        raise ValueError(f"optimizer.ema must lie in [0, 1), got {run.optimizer.ema}")
    for tracker in run.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"trackers: {tracker} is not installed; pip install 'spectrum-matching[track]'")
    return run.method.build()


def refuse_other_run(run: AutoencoderRun, directory: Path) -> None:
    """ValueError if the directory holds another run, or cannot hold one."""
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"out: {directory} is a file, expected a folder for the run")
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
    method.shared.draw(seeded("check"), (size // factor, size // factor))
    if state.critic is not None and size < state.critic.smallest:
        raise ValueError(f"data.size is {size}, the critic needs {state.critic.smallest}; lower adversary.depth")


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


def naming_bad_files(records: Any, directory: Path, console: Console) -> Any:
    """Pass the records on; name each bad file once, on the screen and in bad_files.jsonl."""
    seen: set[str] = set()
    for record in records:
        for bad in record.bad_files:
            if bad.name not in seen:
                seen.add(bad.name)
                console.print(f"[yellow]skipped[/] {bad.name}: {bad.reason} ({len(seen)} so far)", highlight=False)
                with (directory / "bad_files.jsonl").open("a") as file:
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
    for batch in fixed_batches(held_out, run.batch_size, N_EVALUATED):
        images = batch.images.to(device)
        decoded = autoencoder.decode(autoencoder.encode(images).mean).float()
        quality.append(torch.stack([psnr(decoded, images), ssim(decoded, images)]).cpu())
    scores = torch.cat(quality, dim=1).double().mean(1)

    latents = [
        autoencoder.encode(batch.images.to(device)).sample(seeded("scale", run.seed, i)).cpu()
        for i, batch in enumerate(fixed_batches(training, run.batch_size, N_SCALED))
    ]
    std = float(torch.cat(latents).double().std())
    numbers = {
        "step": state.step,
        "images": state.step * run.batch_size,
        "skipped_steps": state.skipped,
        "held_out": {
            "n_images": quality and sum(q.shape[1] for q in quality),
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

    checkpoints.write_aside(directory / "export", write)


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
