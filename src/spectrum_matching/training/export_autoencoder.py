"""Export a trained autoencoder: in its own format with its measured scale, metrics.json, a card, and the hub."""

import dataclasses
import json
import logging
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from .. import __version__
from ..data.images import ImageSet
from ..data.order import fixed_batches
from ..files.atomic import explain_write_errors, write_folder_atomically, write_text_atomically
from ..files.digests import digest_weights
from ..files.manifest import MANIFEST
from ..files.run_folders import RECORD
from ..latent_space import LatentSpace
from ..latents.statistics import measure_as_declared
from ..metrics.images.pixels import psnr, ssim
from ..nets.autoencoder import Autoencoder, eval_mode
from ..nets.autoencoder.padding import padding_of
from ..processes import AgreedError, agreed, in_all, in_main
from ..records.provenance import commit
from ..records.training_data import TRAINING, AutoencoderTraining, TrainingData
from .autoencoder_config import AutoencoderRun
from .distillation import measure_distillation
from .model_card import Exported, Quality, last_part, model_card, write_card
from .train_autoencoder import AutoencoderState, open_autoencoder

N_MEASURED, BATCH_SIZE = 256, 16  # held-out images, spread over all, that metrics.json is measured on

logger = logging.getLogger(__name__)


def export(
    run: AutoencoderRun, state: AutoencoderState, training: ImageSet, held_out: ImageSet, accelerator: Accelerator
) -> None:
    """Write the export, with a card, and metrics.json beside it, measured on held-out images.

    The scale of the latents is measured on training images, unless the decoder alone was trained, or a student: then it
    is the original's, as the latents are, or the teacher's unit scale. All processes share the measuring, and the main
    one writes.

    Raises:
        ValueError: in all processes, with nothing written, where the numbers are not finite.
    """
    after = measure_quality(state.autoencoder, held_out, accelerator)
    if not torch.tensor(after).isfinite().all():
        raise AgreedError(f"the PSNR is {after.psnr:.4g}: nothing is exported; train again with a lower optimizer.lr")
    before, space = _quality_before(run, held_out, accelerator), None
    if state.reconstructor.teacher is None and run.network.train == "all":
        options = {"seed": run.seed, "workers": run.data.workers, "accelerator": accelerator}
        with agreed():
            space = measure_as_declared(state.autoencoder, training, accelerator.device, **options)
    in_main(accelerator, partial(_write, run, state, held_out, space, before, after))


def _write(
    run: AutoencoderRun,
    state: AutoencoderState,
    held_out: ImageSet,
    measured: LatentSpace | None,
    before: Quality | None,
    after: Quality,
) -> None:
    """Write what `export` has measured."""
    autoencoder, directory, teacher = state.autoencoder, Path(run.out), state.reconstructor.teacher
    trained = "student" if teacher else run.network.train
    distilled = measure_distillation(autoencoder, teacher, held_out, run.distillation.bins) if teacher else None
    space = measured or autoencoder.latent_space
    versions = {"version": __version__, "commit": commit()}
    metrics = {
        "step": state.step,
        "images": state.step * run.batch_size,
        "skipped_steps": state.skipped,
        "held_out": after._asdict(),
        "held_out_before": None if before is None else before._asdict(),
        "distillation": distilled,
        "latent_space": {"convention": space.convention, "mean": space.mean, "std": space.std, "patch": space.patch},
        "latent_space_is_measured": measured is not None,
        "weights_digest": digest_weights(autoencoder),
        **versions,
    }
    # A path is written in full, so that `analyze` finds the images from any working directory.
    source = str(Path(run.data.path).resolve()) if Path(run.data.path).exists() else run.data.path
    data = TrainingData(source, run.data.held_out, run.seed, run.data.size)
    options = {key: value for key, value in dataclasses.asdict(run.method).items() if value is not None}
    origin = AutoencoderTraining(
        run=run.name,
        base=run.distillation.teacher or run.network.pretrained or "",
        trained=trained,
        padding=padding_of(autoencoder.model),
        method=options,
        step=state.step,
        data=data,
        **versions,
    )
    card = model_card(run, Exported(autoencoder, origin, state.reconstructor.method, space, before, after, distilled))

    def write(folder: Path) -> None:
        autoencoder.save_pretrained(folder, measured)
        TRAINING.write(folder / RECORD, origin)

    folder = directory / "export"
    with explain_write_errors(f"the export under {directory}"):
        write_text_atomically(directory / "metrics.json", json.dumps(metrics, indent=1, allow_nan=False) + "\n")
        write_folder_atomically(folder, write, keep_others=True)
        if not write_card(folder, card):
            logger.info("%s is not ours, or was edited, and is kept", folder / "README.md")
    if run.push_to_hub:
        push(folder, run.push_to_hub)


def measure_quality(autoencoder: Autoencoder, images: ImageSet, accelerator: Accelerator) -> Quality:
    """Measure reconstructions from posterior means; all processes must call it, and share the images."""
    ranks = {"rank": accelerator.process_index, "world": accelerator.num_processes}
    scores = [torch.empty(2, 0)]
    with eval_mode(autoencoder, None):
        for batch in fixed_batches(images, BATCH_SIZE, N_MEASURED, **ranks):
            originals = batch.images.to(accelerator.device)
            reconstructions = autoencoder.decode(autoencoder.encode(originals).mean).float()
            scores.append(torch.stack([psnr(reconstructions, originals), ssim(reconstructions, originals)]).cpu())
    joined = torch.cat(gather_object([torch.cat(scores, dim=1)]), dim=1).double()
    return Quality(joined.shape[1], len(images), *joined.mean(1).tolist())


def _quality_before(run: AutoencoderRun, images: ImageSet, accelerator: Accelerator) -> Quality | None:
    """Measure what was fine-tuned; None of a new autoencoder, and of one that cannot be opened any more."""
    if not run.network.pretrained:
        return None
    try:
        original = in_all(accelerator, lambda: open_autoencoder(run).to(accelerator.device))
    except ValueError as error:
        logger.warning("no numbers from before the training: %s", error)
        return None
    return measure_quality(original, images, accelerator)


def check_hub(repository: str | None) -> None:
    """Check that the export can be uploaded at the end: that the hub is reached, and knows who uploads.

    Raises:
        ValueError: with the remedy.
    """
    if repository is None:
        return
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        is_full = repository.count("/") == 1
    except HFValidationError:
        is_full = False
    if not is_full:
        raise ValueError(f"push_to_hub is {repository!r}, no name of a repository: give OWNER/NAME")
    try:
        HfApi().whoami()
    except Exception as error:  # the client, its transport and the token's lookup each raise their own
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"push_to_hub: the hub cannot be used ({why}): run `hf auth login` where there is network, or leave it out "
            f"and upload the export later, `hf upload {repository} EXPORT`"
        ) from error


def push(folder: Path, repository: str) -> None:
    """Upload an export to a repository of the hub, which is created, private, if it is not there.

    The record of its training goes without the paths on this machine, and so the manifest, which names it, stays here.

    Raises:
        ValueError: naming the command that uploads it later, for whatever the hub says.
    """
    from huggingface_hub import HfApi

    origin = TRAINING.read(folder / RECORD)
    data = dataclasses.replace(origin.data, source=last_part(origin.data.source))
    public = dataclasses.replace(origin, base=last_part(origin.base), data=data)
    try:
        HfApi().create_repo(repository, exist_ok=True, private=True)
        HfApi().upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=[RECORD, MANIFEST])
        HfApi().upload_file(repo_id=repository, path_in_repo=RECORD, path_or_fileobj=TRAINING.to_json(public).encode())
    except Exception as error:
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{folder} is complete, but was not uploaded ({why}): run `hf upload {repository} {folder}`"
        ) from error
    logger.info("uploaded %s to %s", folder, repository)
