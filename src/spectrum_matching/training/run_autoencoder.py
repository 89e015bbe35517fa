"""Run the training of an autoencoder in its directory: checks before any work, training with resume, export."""

import dataclasses
import json
import logging
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__
from ..data.images import ImageSet, open_images
from ..data.order import PositionedBatches, fixed_batches, image_batches
from ..data.pictures import grid, to_bytes, write_png
from ..files.atomic import explain_write_errors, write_folder_atomically, write_text_atomically
from ..files.digests import digest_weights
from ..latents.statistics import measure_latent_space
from ..metrics.images.pixels import psnr, ssim
from ..nets.autoencoder import Autoencoder
from ..nets.vision.perceptual import LPIPS
from ..processes import exclusive_output, in_main
from ..records.provenance import commit
from ..records.training_data import FILE, TRAINING, AutoencoderTraining, TrainingData
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun
from .checks import check_autoencoder_run, check_size
from .data_fingerprint import DataFingerprint, require_same_data
from .run_directory import PreparedTraining, Progress, accelerator_of, require_same_run, resume, train_in_directory
from .train_autoencoder import AutoencoderState, build_state, open_autoencoder, train_autoencoder

N_MEASURED, BATCH_SIZE = 256, 16  # held-out images, spread over all, that metrics.json is measured on
N_PREVIEW = 8

logger = logging.getLogger(__name__)


def run_autoencoder(run: AutoencoderRun, progress: Progress | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint; return the folder of the exported autoencoder.

    Raises:
        ValueError: before any work, where the run cannot be trained; at the end, where its result is not finite.
        SystemExit: after a signal, with a checkpoint written.
    """
    run = dataclasses.replace(run, method=run.method.resolved())
    with exclusive_output(accelerator_of(run), Path(run.out)):
        return train_in_directory(run, prepare_autoencoder(run), progress)


def prepare_autoencoder(run: AutoencoderRun) -> PreparedTraining:
    """Check a run and build everything up to its first step, writing nothing.

    Raises:
        ValueError: where the run cannot be trained.
    """
    accelerator = accelerator_of(run)
    vision = check_autoencoder_run(run, accelerator.device)
    in_main(accelerator, lambda: require_same_run(run))
    autoencoder = open_autoencoder(run)
    # The autoencoder's weights are sampled from the seed itself.
    method = run.method.build(vision, autoencoder.channels, seeded("feature match", run.seed).initial_seed())
    state = build_state(run, autoencoder, method, accelerator.device)
    check_size(run, state)
    perceptual = None
    if run.losses.perceptual:
        perceptual = LPIPS.from_weights(str(run.losses.perceptual_weights)).to(accelerator.device)
    data = run.data
    training = open_images(
        data.path,
        data.size,
        held_out=data.held_out,
        seed=run.seed,
        crop=data.crop,
        flip=data.flip,
        on_bad=data.on_bad,
        labels=False,
    )
    held_out = training.part("held_out")
    contents = {"training images": training, "held-out images": held_out}
    digests = {"vision encoder": vision.digest} if vision else {}
    started_on = DataFingerprint({name: images.fingerprint for name, images in contents.items()}, digests)
    require_same_data(Path(run.out), started_on, contents)
    resume(run, state)
    for bad in training.bad:  # of the whole source, so those of held_out as well
        logger.warning("skipped %s: %s", bad.name, bad.reason)
    logger.info("%d images to train on, %d held out (%s)", len(training), len(held_out), data.path)
    examples = next(fixed_batches(held_out, N_PREVIEW, N_PREVIEW)).images.to(accelerator.device)
    ranks = accelerator.process_index, accelerator.num_processes
    order = PositionedBatches(len(training), run.batch_size, run.seed, *ranks, state.step, run.steps)
    return PreparedTraining(
        accelerator=accelerator,
        started_on=started_on,
        state=state,
        records=train_autoencoder(run, state, image_batches(training, order, data.workers), accelerator, perceptual),
        preview=partial(write_preview, state.autoencoder, examples),
        export=partial(export, run, state, training, held_out),
    )


@torch.no_grad()
def write_preview(autoencoder: Autoencoder, images: Tensor, path: Path) -> None:
    """Write a PNG: the images above, their reconstructions from posterior means below."""
    reconstructions = autoencoder.decode(autoencoder.encode(images).mean).float()
    write_png(path, to_bytes(grid(torch.cat([images, reconstructions]), len(images)))[0])


@torch.no_grad()
def export(run: AutoencoderRun, state: AutoencoderState, training: ImageSet, held_out: ImageSet) -> None:
    """Write metrics.json, measured on held-out images, and the export, whose scaling factor is measured too.

    Raises:
        ValueError: with neither written, where the numbers are not finite.
    """
    autoencoder, directory = state.autoencoder, Path(run.out)
    device = next(autoencoder.parameters()).device
    quality = []
    for batch in fixed_batches(held_out, BATCH_SIZE, N_MEASURED):
        images = batch.images.to(device)
        reconstructions = autoencoder.decode(autoencoder.encode(images).mean).float()
        quality.append(torch.stack([psnr(reconstructions, images), ssim(reconstructions, images)]).cpu())
    scores = torch.cat(quality, dim=1).double()
    means = scores.mean(1)
    if not means.isfinite().all():
        raise ValueError(f"the PSNR is {means[0]:.4g}: nothing is exported; train again with a lower optimizer.lr")
    (std,) = measure_latent_space(autoencoder, training, device, seed=run.seed, workers=run.data.workers).std
    versions = {"version": __version__, "commit": commit()}
    metrics = {
        "step": state.step,
        "images": state.step * run.batch_size,
        "skipped_steps": state.skipped,
        "held_out": {
            "n_images": scores.shape[1],
            "n_total": len(held_out),
            "psnr": float(means[0]),
            "ssim": float(means[1]),
        },
        "latent_std": std,
        "weights_digest": digest_weights(autoencoder),
        **versions,
    }
    write_text_atomically(directory / "metrics.json", json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    # A path is written in full, so that `analyze` finds the images from any working directory.
    source = str(Path(run.data.path).resolve()) if Path(run.data.path).exists() else run.data.path
    data = TrainingData(source, run.data.held_out, run.seed, run.data.size)
    method = {key: value for key, value in dataclasses.asdict(run.method).items() if value is not None}
    origin = AutoencoderTraining(run=run.name, method=method, step=state.step, data=data, **versions)

    def write(folder: Path) -> None:
        autoencoder.save_pretrained(folder, scaling_factor=1 / std)
        TRAINING.write(folder / FILE, origin)

    with explain_write_errors(f"the export under {directory}"):
        write_folder_atomically(directory / "export", write, keep_others=True)
