"""From a run of latent diffusion to its directory: checks before any work, training with resume, then the export."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from ..data.pictures import write_grid
from ..files.atomic import explain_write_errors, write_text_atomically
from ..files.digests import digest_weights
from ..records.provenance import commit
from ..sampling.generate import check_sampling, generate_batch
from ..sampling.model import Card, DiffusionModel, open_decoder, write_model
from .checks import check_curriculum, check_diffusion_run, check_targets
from .diffusion_config import DiffusionRun
from .diffusion_data import DiffusionBatch, LearnedData, in_full, open_learned
from .optimization import ema_weights
from .run_directory import (
    begin,
    drive,
    end,
    open_accelerator,
    read_begun,
    refuse_other_data,
    refuse_other_run,
    resume,
    write_begun,
)
from .train_diffusion import DiffusionState, build_diffusion_state, path_of, train_diffusion

UNIT = (0.8, 1.25)  # standard deviations that pass for 1


CENTRED = 0.5  # means that pass for 0


N_PREVIEW = 16


def run_diffusion(run: DiffusionRun, title: str | None = None) -> Path:
    """Train as the run says, from its directory's latest checkpoint on; returns the exported model's folder.

    ValueError, before any work, for whatever cannot be trained. SystemExit after a signal, with a checkpoint written.
    """
    check_diffusion_run(run)
    accelerator = open_accelerator(run)
    console = Console(quiet=not accelerator.is_main_process, stderr=True)
    refuse_other_run(run, fixed=("steps",) if run.curriculum.keep else ())  # a curriculum is spread over the steps
    begun = read_begun(Path(run.out))
    data = open_learned(run, accelerator.device, begun.latent_space if begun else None)
    refuse_other_data(Path(run.out), begun, data)
    check_curriculum(run, data.shape)
    width = data.target_shape[0] if data.target_shape else None
    state = build_diffusion_state(run, data.shape, len(data.classes), accelerator.device, width)
    check_targets(data, state)
    previewed = preview_model(run, data, state, accelerator.device)
    decoder = previewed.decoder if previewed else None
    resume(run, state, console)
    batches = data.batches(accelerator.process_index, accelerator.num_processes, state.step, run.steps)
    for bad in data.bad:
        console.print(f"[yellow]skipped[/] {escape(f'{bad.name}: {bad.reason}')}", highlight=False)
    console.print(
        f"{data.n} to learn from, {' x '.join(map(str, data.shape))}, {len(data.classes) or 'no'} classes; "
        f"{run.denoiser.name} of {sum(p.numel() for p in state.denoiser.parameters()):,} parameters",
        highlight=False,
    )
    begin(run, accelerator)
    if accelerator.is_main_process:
        write_begun(Path(run.out), data)
    if not data.is_pixels:
        batches = watched(batches, console)

    def preview(path: Path) -> None:
        if previewed is not None:
            with ema_weights(state.ema, state.denoiser.parameters()):
                write_grid(path, generate_batch(previewed, run.preview, range(N_PREVIEW), accelerator.device))

    records = train_diffusion(run, state, batches, accelerator)
    finished = drive(run, state, records, preview, accelerator, console, title)
    del records, batches  # ends the processes that read images
    if finished and accelerator.is_main_process:
        with ema_weights(state.ema, state.denoiser.parameters()):
            finish(run, state, card(run, data, state.step, decoder.digest if decoder else ""))
    end(run, state, finished, accelerator)
    return Path(run.out) / "export"


def watched(batches: Iterator[DiffusionBatch], console: Console) -> Iterator[DiffusionBatch]:
    """The batches as they are; a warning where the first is far from unit scale."""
    for i, batch in enumerate(batches):
        if not i and (found := off_scale(batch.data)):
            console.print(
                f"[yellow]warning[/]: normalised latents have {found}; noise has that scale, and the model will learn "
                f"little: check source.statistics, or cache the latents again",
                highlight=False,
                soft_wrap=True,
            )
        yield batch


def preview_model(
    run: DiffusionRun, data: LearnedData, state: DiffusionState, device: torch.device
) -> DiffusionModel | None:
    """What previews are drawn from, the same noise and labels each time; None where nothing decodes the latents.

    ValueError for previews that cannot be drawn.
    """
    if not run.intervals.preview or not (data.is_pixels or data.autoencoder):
        return None
    described, decoder = card(run, data, 0, ""), None
    if not data.is_pixels:
        try:
            decoder = open_decoder(described, data.autoencoder, device)
        except ValueError as error:
            raise ValueError(f"{error}; name another by source.autoencoder, or set intervals.preview to 0") from error
    model = DiffusionModel(run.out, described, state.denoiser, "", decoder)
    check_sampling(model, run.preview)
    return model


def card(run: DiffusionRun, data: LearnedData, step: int, autoencoder_digest: str) -> Card:
    """What the model of this run is."""
    return Card(
        run=run.name,
        step=step,
        averaged=bool(run.optimizer.ema),
        path=path_of(run),
        shape=data.shape,
        classes=data.classes if run.denoiser.labels else (),
        latent_space=data.latent_space,
        autoencoder=in_full(data.autoencoder),
        data=in_full(run.source.latents or run.source.images or ""),
        data_digest=data.digest,
        is_pixels=data.is_pixels,
        autoencoder_digest=autoencoder_digest,
    )


def finish(run: DiffusionRun, state: DiffusionState, described: Card) -> None:
    """Write the export and metrics.json. ValueError, with neither written, if weights are not finite."""
    if not all(p.isfinite().all() for p in state.denoiser.parameters()):
        raise ValueError(
            f"at step {state.step} the weights are not finite: nothing is exported; train again with a lower "
            f"optimizer.lr"
        )
    directory = Path(run.out)
    with explain_write_errors(f"the export under {directory}"):
        write_model(directory / "export", state.denoiser, described)
    numbers = {
        "step": state.step,
        "latents": state.step * run.batch_size,
        "skipped_steps": state.skipped,
        "weights_digest": digest_weights(state.denoiser),
        "commit": commit(),
    }
    write_text_atomically(directory / "metrics.json", json.dumps(numbers, indent=1) + "\n")


def off_scale(data: Tensor) -> str:
    """In words, how far data (b, c, h, w) are from mean 0 and standard deviation 1; "" where they are near enough."""
    std, mean = (float(number) for number in torch.std_mean(data.float(), correction=0))
    if UNIT[0] <= std <= UNIT[1] and abs(mean) <= CENTRED:
        return ""
    return f"mean {mean:.3g} and standard deviation {std:.3g}, expected about 0 and 1"
