"""Run the training of an autoencoder in its directory: checks before any work, training with resume."""

import dataclasses
import logging
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.buckets import fill_buckets
from ..data.images import open_images
from ..data.order import PositionedBatches, fixed_batches, image_batches
from ..data.pictures import grid, to_bytes, write_png
from ..nets.autoencoder import Autoencoder, eval_mode
from ..nets.vision.perceptual import LPIPS
from ..processes import exclusive_output, in_all, in_main
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun
from .checks import check_autoencoder, check_autoencoder_run, check_size
from .data_fingerprint import DataFingerprint, require_same_data
from .distillation import check_student, open_teacher
from .export_autoencoder import check_hub, export
from .run_directory import PreparedTraining, Progress, accelerator_of, require_same_run, resume, train_in_directory
from .train_autoencoder import build_state, open_autoencoder, train_autoencoder

N_PREVIEW = 8

logger = logging.getLogger(__name__)


def run_autoencoder(run: AutoencoderRun, progress: Progress | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint; return the folder of the exported autoencoder.

    Raises:
        ValueError: before any work, where the run cannot be trained; at the end, where its result is not finite.
        Stopped: after a signal, with a checkpoint written.
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
    in_main(accelerator, lambda: require_same_run(run))
    in_main(accelerator, lambda: check_hub(run.push_to_hub))
    return in_all(accelerator, lambda: _prepare(run, accelerator))


def _prepare(run: AutoencoderRun, accelerator: Accelerator) -> PreparedTraining:
    """Do what `prepare_autoencoder` does in each process by itself."""
    vision = check_autoencoder_run(run, accelerator.device)
    teacher = open_teacher(run.distillation, accelerator.device)
    autoencoder = open_autoencoder(run, teacher)
    digests = {"vision encoder": vision.digest} if vision else {}
    digests |= {"teacher": teacher.autoencoder.digest} if teacher else {}
    digests |= {"pretrained network": autoencoder.digest} if run.network.pretrained else {}
    # The autoencoder's weights are sampled from the seed itself.
    method = run.method.build(vision, autoencoder.channels, seeded("feature match", run.seed).initial_seed())
    check_autoencoder(run, autoencoder, method)
    if teacher is not None:
        check_student(run, autoencoder, teacher)
    state = build_state(run, autoencoder, method, accelerator.device, teacher)
    shapes = check_size(run, state)
    perceptual = None
    if run.losses.perceptual:
        perceptual = LPIPS.from_weights(str(run.losses.perceptual_weights)).to(accelerator.device)
        digests["perceptual network"] = perceptual.digest
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
    started_on = DataFingerprint({name: images.fingerprint for name, images in contents.items()}, digests)
    require_same_data(Path(run.out), started_on, contents)
    resume(run, state)
    for bad in training.bad:  # of the whole source, so those of held_out as well
        logger.warning("skipped %s: %s", bad.name, bad.reason)
    logger.info("%d images to train on, %d held out (%s)", len(training), len(held_out), data.path)
    examples = next(fixed_batches(held_out, N_PREVIEW, N_PREVIEW)).images.to(accelerator.device)
    ranks = accelerator.process_index, accelerator.num_processes
    buckets = fill_buckets(training, shapes, run.batch_size)
    order = PositionedBatches(
        len(training), run.batch_size, run.seed, *ranks, state.step, run.steps, buckets.members, training.groups
    )
    batches = image_batches(training.in_buckets(buckets), order, data.workers)

    def preview(path: Path) -> None:
        if accelerator.is_main_process:
            write_preview(state.autoencoder, examples, path)

    return PreparedTraining(
        accelerator=accelerator,
        started_on=started_on,
        state=state,
        records=train_autoencoder(run, state, batches, accelerator, perceptual),
        preview=preview,
        export=partial(export, run, state, training, held_out, accelerator),
    )


def write_preview(autoencoder: Autoencoder, images: Tensor, path: Path) -> None:
    """Write a PNG: the images above, their reconstructions from posterior means below."""
    with eval_mode(autoencoder, None):
        reconstructions = autoencoder.decode(autoencoder.encode(images).mean).float()
    write_png(path, to_bytes(grid(torch.cat([images, reconstructions]), len(images)))[0])
