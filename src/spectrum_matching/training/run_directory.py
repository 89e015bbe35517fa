"""What any training keeps in its directory: run.yaml, log, checkpoints, previews; begun, resumed and driven alike."""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape

from ..files.atomic import explain_write_errors, remove, write_folder_atomically, write_text_atomically
from ..files.settings import Rule, differences, flat_settings
from ..files.yaml_files import override, read_mapping, to_yaml
from ..latent_space import LatentSpace
from .autoencoder_config import Intervals
from .diffusion_data import LearnedData
from .loop import Log, drain
from .optimization import StepRecord

NAME = "data.json"


@dataclass(frozen=True)
class Begun:
    """digest, shape, latent_space: as of LearnedData."""

    digest: str
    shape: tuple[int, int, int]
    latent_space: LatentSpace


WIDTH = 7


class Run(Protocol):
    """What every training is told, whatever it trains."""

    @property
    def name(self) -> str: ...
    @property
    def out(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def accumulation(self) -> int: ...
    @property
    def trackers(self) -> tuple[str, ...]: ...
    @property
    def intervals(self) -> Intervals: ...


class State(Protocol):
    """What a training advances: all that a checkpoint must hold."""

    step: int

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def open_accelerator(run: Run) -> Accelerator:
    """Return the accelerator of a run, with its trackers.

    Raises:
        ValueError: where a tracker is not installed, or batch_size does not give every process and micro-batch equally
            many items.
    """
    for tracker in run.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"trackers: {tracker} is not installed; pip install 'spectrum-matching[track]'")
    accelerator = Accelerator(mixed_precision="no", log_with=list(run.trackers) or None, project_dir=run.out)
    if run.batch_size % (run.accumulation * accelerator.num_processes):
        raise ValueError(
            f"batch_size is {run.batch_size}, expected a multiple of accumulation ({run.accumulation}) times "
            f"processes ({accelerator.num_processes})"
        )
    return accelerator


def refuse_other_run(run: Run, fixed: tuple[str, ...] = ()) -> None:
    """Check that the run's directory can hold it: that it is writable, and holds no other run.

    fixed: keys that may not change either, although the rules of their fields let them.

    Raises:
        ValueError: where it cannot, naming the settings in which the runs differ.
    """
    directory = Path(run.out)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"out: {directory} is a file, expected a folder for the run")
    above = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"out: {directory} cannot be made, since {above} is no folder that can be written to")
    there = directory / "run.yaml"
    if there.exists():
        old = override(type(run)(), read_mapping(there), str(there))
        free = differences(old, run)
        changed = differences(old, run, ignore=Rule.CHANGEABLE) | {key: free[key] for key in fixed if key in free}
        if changed:
            listed = ", ".join(f"{key} ({before!r} there, {now!r} now)" for key, (before, now) in changed.items())
            raise ValueError(f"{directory} holds another run: {listed}; choose another out or the same values")


def resume(run: Run, state: State, console: Console) -> None:
    """Bring the state to the directory's latest checkpoint, if there is one; ValueError if it is past the run's end."""
    directory = Path(run.out)
    resumed = latest_checkpoint(directory / "checkpoints")
    if resumed is None:
        return
    load_checkpoint(state, resumed)
    if state.step > run.steps:
        raise ValueError(f"steps is {run.steps}, but {directory} is at step {state.step} already; ask for more")
    console.print(f"going on from step {state.step} ({escape(str(resumed))})", highlight=False)


def load_checkpoint(state: State, checkpoint: Path) -> None:
    """Bring the state to a checkpoint; ValueError naming it if it cannot be read."""
    try:
        state.load_state_dict(torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(
            f"{checkpoint} cannot be read ({type(error).__name__}); remove it to go on from the checkpoint before"
        ) from error


def begin(run: Run, accelerator: Accelerator) -> None:
    """Make the directory and write run.yaml; start the trackers."""
    directory = Path(run.out)
    if accelerator.is_main_process:
        for name in ("samples", "checkpoints"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        write_text_atomically(directory / "run.yaml", to_yaml(run))
    accelerator.wait_for_everyone()
    if run.trackers:
        # Trackers take numbers and strings alone.
        plain = {
            key: value if isinstance(value, int | float | str | bool) else str(value)
            for key, value, _ in flat_settings(run)
        }
        accelerator.init_trackers("spectrum-matching", config=plain)


def drive(
    run: Run,
    state: State,
    records: Iterator[StepRecord],
    preview: Callable[[Path], None],
    accelerator: Accelerator,
    console: Console,
    title: str | None = None,
) -> bool:
    """Drain a trainer into the directory; False if a signal stopped it early, with a checkpoint written.

    preview: called in the main process with the file that it writes.
    """
    directory = Path(run.out)
    log = Log(directory / "log.jsonl", state.step) if accelerator.is_main_process else None

    def show(step: int) -> None:
        if accelerator.is_main_process:
            preview(directory / "samples" / f"{step:07d}.png")

    def checkpoint(step: int) -> None:
        if accelerator.is_main_process:
            with explain_write_errors(f"the checkpoint of step {step} under {directory / 'checkpoints'}"):
                save_checkpoint(
                    directory / "checkpoints",
                    step,
                    lambda folder: torch.save(state.state_dict(), folder / "state.pt"),
                    run.intervals.keep_last,
                    run.intervals.keep_every,
                )
        accelerator.wait_for_everyone()

    finished = drain(
        naming_bad_files(records, directory, console),
        title=title or run.name,
        start=state.step,
        steps=run.steps,
        batch_size=run.batch_size,
        log=log,
        log_every=run.intervals.log,
        actions=((run.intervals.checkpoint, checkpoint), (run.intervals.preview, show)),
        accelerator=accelerator,
        console=console,
    )
    if log is not None:
        log.close()
    return finished


def end(run: Run, state: State, finished: bool, accelerator: Accelerator) -> None:
    """Wait for all processes, end the trackers; SystemExit where a signal stopped the training."""
    accelerator.wait_for_everyone()
    if run.trackers:
        accelerator.end_training()  # ends the process group as well
    if not finished:
        raise SystemExit(f"stopped at step {state.step}; the same command goes on from there")


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


def begun_on(data: LearnedData) -> Begun:
    """What a run that begins on these data keeps."""
    return Begun(data.digest, data.shape, data.latent_space)


def write_begun(directory: Path, data: LearnedData) -> None:
    """Into a run directory."""
    write_text_atomically(directory / NAME, json.dumps(asdict(begun_on(data))) + "\n")


def read_begun(directory: Path) -> Begun | None:
    """None for a run that has not begun. ValueError for a record that cannot be read."""
    path = directory / NAME
    if not path.exists():
        return None
    try:
        return TypeAdapter(Begun).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: choose another out, or remove {directory} to train anew") from error


def refuse_other_data(directory: Path, begun: Begun | None, data: LearnedData) -> None:
    """ValueError where a run that has begun would go on with other data, or at another scale."""
    now = begun_on(data)
    if begun is None or begun == now:
        return
    if (begun.digest, begun.shape) != (now.digest, now.shape):
        raise ValueError(
            f"{directory} was begun on other data ({begun.shape}, digest {begun.digest}; now {now.shape}, "
            f"{now.digest}): choose another out, or bring the data back"
        )
    raise ValueError(
        f"{directory} was begun on latents of another scale (std {begun.latent_space.std}; now "
        f"{now.latent_space.std}): choose another out, or bring back what declares the scale"
    )


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of the largest step in a folder, if there is one."""
    return max(_complete_checkpoints(folder), key=lambda path: int(path.name), default=None)


def save_checkpoint(folder: Path, step: int, write: Callable[[Path], None], keep_last: int, keep_every: int) -> Path:
    """Write a step's checkpoint, then drop all but the newest `keep_last` and those at multiples of `keep_every`."""
    target = folder / f"{step:0{WIDTH}d}"
    write_folder_atomically(target, write)
    older = sorted(_complete_checkpoints(folder), key=lambda path: int(path.name))[:-keep_last]
    for path in older:
        if not keep_every or int(path.name) % keep_every:
            remove(path)
    return target


def _complete_checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit()] if folder.is_dir() else []
