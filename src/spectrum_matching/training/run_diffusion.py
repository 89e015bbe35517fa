"""Run the training of a diffusion model in its directory: checks before any work, training with resume, export."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from ..data.pictures import write_grid
from ..files.atomic import explain_write_errors, write_text_atomically
from ..files.digests import digest_weights
from ..files.names import listed
from ..processes import exclusive_output, in_all, in_main
from ..records.provenance import commit
from ..sampling.generate import check_sampling, generate_batch
from ..sampling.model import Card, DiffusionModel, open_decoder, write_model
from .checks import check_curriculum, check_diffusion_run
from .data_fingerprint import DataFingerprint, read_fingerprint, require_same_data
from .diffusion_config import DiffusionRun
from .diffusion_data import DiffusionBatch, LearnedData, open_learned
from .run_directory import PreparedTraining, Progress, accelerator_of, require_same_run, resume, train_in_directory
from .sharding import whole_network
from .train_diffusion import DiffusionState, build_diffusion_state, path_of, train_diffusion

UNIT = (0.8, 1.25)  # standard deviations that pass for 1
CENTRED = 0.5  # means that pass for 0
N_PREVIEW = 16
N_NAMED = 10  # classes without images that are named

logger = logging.getLogger(__name__)


def run_diffusion(run: DiffusionRun, progress: Progress | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint; return the folder of the exported model.

    Raises:
        ValueError: before any work, where the run cannot be trained; at the end, where its weights are not finite.
        Stopped: after a signal, with a checkpoint written.
    """
    with exclusive_output(accelerator_of(run), Path(run.out)):
        return train_in_directory(run, prepare_diffusion(run), progress)


def prepare_diffusion(run: DiffusionRun) -> PreparedTraining:
    """Check a run and build everything up to its first step, writing nothing.

    Raises:
        ValueError: where the run cannot be trained.
    """
    accelerator = accelerator_of(run)
    fixed = ("steps",) if run.curriculum.keep else ()
    in_main(accelerator, lambda: require_same_run(run, fixed))  # a curriculum is spread over the steps
    return in_all(accelerator, lambda: _prepare(run, accelerator))


def _prepare(run: DiffusionRun, accelerator: Accelerator) -> PreparedTraining:
    """Do what `prepare_diffusion` does in each process by itself."""
    check_diffusion_run(run)
    device, directory = accelerator.device, Path(run.out)
    data = open_learned(run, device, read_fingerprint(directory))
    started_on = DataFingerprint(
        {name: contents.fingerprint for name, contents in data.contents.items()},
        data.networks,
        data.shape,
        data.latent_space,
        data.labels_digest,
        data.gain,
    )
    require_same_data(directory, started_on, data.contents)
    if data.gain.is_given and not run.source.is_given:
        said = "latents are %s, as %s records; --source.flatten 0 leaves them as they are"
        logger.info(said, data.gain, run.source.latents)
    check_curriculum(run, data.shape)
    state = build_diffusion_state(run, data.shape, len(data.info.classes), device, data.target_shape)
    classes, counts = (data.info.classes, data.class_counts) if run.denoiser.labels else ((), ())
    described = Card(
        run=run.name,
        step=0,
        averaged=bool(run.optimizer.ema),
        path=path_of(run),
        shape=data.shape,
        classes=classes,
        class_counts=counts,
        learned_none=bool(run.objective.label_dropout) or sum(counts) < data.n,
        latent_space=data.latent_space,
        autoencoder=_in_full(data.info.autoencoder),
        data=_in_full(run.source.latents or run.source.images or ""),
        data_digest=data.digest,
        is_pixels=data.is_pixels,
        autoencoder_digest=data.info.autoencoder_digest,
        decoder_digest=data.decoder.digest if data.decoder else "",
    )
    model = preview_model(run, described, data, state, device)
    resume(run, state)
    batches = data.batches(accelerator.process_index, accelerator.num_processes, state.step, run.steps)
    for bad in data.info.bad:
        logger.warning("skipped %s: %s", bad.name, bad.reason)
    shape, n_parameters = " x ".join(map(str, data.shape)), sum(p.numel() for p in state.denoiser.parameters())
    logger.info("%d to learn from, %s, %s classes", data.n, shape, len(data.info.classes) or "no")
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count]:
        more = f", and {len(empty) - N_NAMED} more" if len(empty) > N_NAMED else ""
        logger.warning(
            "no training data for these classes, and `sample` leaves them out: %s%s", listed(empty[:N_NAMED]), more
        )
    logger.info("%s of %s parameters", run.denoiser.name, f"{n_parameters:,}")

    def preview(path: Path) -> None:
        if model is not None and (run.shard or accelerator.is_main_process):
            images = generate_batch(model, run.preview, range(N_PREVIEW), device)
            if accelerator.is_main_process:
                write_grid(path, images)

    def finish() -> None:
        card = replace(described, step=state.step)
        in_main(accelerator, partial(export, run, state, whole_network(state.denoiser), card))

    return PreparedTraining(
        accelerator=accelerator,
        started_on=started_on,
        state=state,
        records=train_diffusion(run, state, batches if data.is_pixels else warn_if_off_scale(batches), accelerator),
        preview=preview,
        export=finish,
    )


def warn_if_off_scale(batches: Iterator[DiffusionBatch]) -> Iterator[DiffusionBatch]:
    """Yield the batches; warn where the first is far from unit scale."""
    for first in batches:
        std, mean = (float(number) for number in torch.std_mean(first.data.float(), correction=0))
        if not UNIT[0] <= std <= UNIT[1] or abs(mean) > CENTRED:
            logger.warning(
                f"normalised latents have mean {mean:.3g} and standard deviation {std:.3g}, expected about 0 and 1; "
                f"noise has that scale, and the model will learn little: check source.statistics, or cache again"
            )
        yield first
        break
    yield from batches


def preview_model(
    run: DiffusionRun, described: Card, data: LearnedData, state: DiffusionState, device: torch.device
) -> DiffusionModel | None:
    """Return the model that samples previews; None without previews, and where nothing decodes the latents.

    Raises:
        ValueError: for previews that cannot be sampled.
    """
    if not run.intervals.preview or not (data.is_pixels or data.info.autoencoder):
        return None
    decoder = None
    if not data.is_pixels:
        try:
            decoder = open_decoder(described, data.decoder, device)
            decoder.autoencoder.to(device)
        except ValueError as error:
            raise ValueError(f"{error}; name another by source.autoencoder, or set intervals.preview to 0") from error
    model = DiffusionModel(run.out, described, state.denoiser, "", decoder)
    check_sampling(model, run.preview)
    return model


def _in_full(name: str) -> str:
    """Return a path from the root, so that it is found from any working directory; any other name as it is."""
    return os.path.abspath(name) if name and Path(name).exists() else name


def export(run: DiffusionRun, state: DiffusionState, denoiser: nn.Module, described: Card) -> None:
    """Write the export of the state's whole denoiser, and metrics.json.

    Raises:
        ValueError: with neither written, where weights are not finite.
    """
    if not all(p.isfinite().all() for p in denoiser.parameters()):
        raise ValueError("the weights are not finite: nothing is exported; train again with a lower optimizer.lr")
    directory = Path(run.out)
    with explain_write_errors(f"the export under {directory}"):
        write_model(directory / "export", denoiser, described)
    numbers = {
        "step": state.step,
        "latents": state.step * run.batch_size,
        "skipped_steps": state.skipped,
        "weights_digest": digest_weights(denoiser),
        "commit": commit(),
    }
    write_text_atomically(directory / "metrics.json", json.dumps(numbers, indent=1) + "\n")
