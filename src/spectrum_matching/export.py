"""What a training leaves behind: previews, final numbers on held-out images, the exported autoencoder."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from . import __version__
from .autoencoder_state import TrainingState
from .data.images import Batch, ImageSet
from .data.order import fixed_batches
from .files.atomic import write_aside, write_text_aside, writing
from .metrics.images.pixels import psnr, ssim
from .records.provenance import commit
from .runs import AutoencoderRun
from .seeding import seeded

N_MEASURED, N_AT_ONCE = 256, 16


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
    write_text_aside(directory / "metrics.json", json.dumps(numbers, indent=1, allow_nan=False) + "\n")
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

    with writing(f"the export under {directory}"):
        write_aside(directory / "export", write)


def _tracked(images: ImageSet, title: str, console: Console) -> Iterator[Batch]:
    n_batches = -(-min(len(images), N_MEASURED) // N_AT_ONCE)
    batches = fixed_batches(images, N_AT_ONCE, N_MEASURED)
    yield from track(batches, title, n_batches, console=console, disable=console.quiet)
