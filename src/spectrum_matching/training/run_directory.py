"""The directory of a training run: run.yaml, log, checkpoints, previews; started, resumed and run by both trainers."""

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator

from ..files.atomic import explain_write_errors, remove, write_folder_atomically, write_text_atomically
from ..files.settings import Rule, as_line, differences, flat_settings
from ..files.yaml_files import override, read_mapping, to_yaml
from .loop import open_log, run_loop
from .optimization import Run, StepRecord, TrainingState, ema_weights

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Takes the step and the number of steps."""

DIGITS = 7  # of the step, in names of checkpoints and previews


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


def require_same_run(run: Run, fixed: tuple[str, ...] = ()) -> None:
    """Check that the run's directory can be written to and holds no other run.

    fixed: keys that may not change either, although the rules of their fields let them.

    Raises:
        ValueError: otherwise, naming the settings in which the runs differ.
    """
    directory = Path(run.out)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"out: {directory} is a file, expected a folder for the run")
    above = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"out: {directory} cannot be created, since {above} is no folder that can be written to")
    file = directory / "run.yaml"
    if file.exists():
        old = override(type(run)(), read_mapping(file), str(file))
        free = differences(old, run)
        changed = differences(old, run, ignore=Rule.CHANGEABLE) | {key: free[key] for key in fixed if key in free}
        if changed:
            raise ValueError(
                f"{directory} holds another run: {as_line(changed)}; choose another out or the same values"
            )


def resume(run: Run, state: TrainingState) -> None:
    """Load the directory's latest checkpoint, if there is one, into the state.

    Raises:
        ValueError: where it is past the run's end, or cannot be read.
    """
    for checkpoint in checkpoints(Path(run.out) / "checkpoints")[-1:]:
        load_checkpoint(state, checkpoint)
        if state.step > run.steps:
            raise ValueError(f"steps is {run.steps}, but {run.out} is at step {state.step} already; ask for more")
        logger.info("resuming from step %d (%s)", state.step, checkpoint)


def load_checkpoint(state: TrainingState, checkpoint: Path) -> None:
    """Load a checkpoint into the state.

    Raises:
        ValueError: naming the checkpoint, where it cannot be read.
    """
    try:
        state.load_state_dict(torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(
            f"{checkpoint} cannot be read ({type(error).__name__}); remove it to resume from the checkpoint before it"
        ) from error


def train_in_directory(
    run: Run,
    state: TrainingState,
    records: Iterator[StepRecord],
    preview: Callable[[Path], None],
    export: Callable[[], None],
    accelerator: Accelerator,
    progress: Progress | None = None,
) -> Path:
    """Run a trainer, with log, checkpoints and previews, then export its model; return the folder of the export.

    preview, which takes the file that it writes, and export are called in the main process, with averaged weights.

    Raises:
        SystemExit: after a signal, with a checkpoint written.
    """
    directory, is_main = Path(run.out), accelerator.is_main_process
    if is_main:
        for name in ("samples", "checkpoints"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        write_text_atomically(directory / "run.yaml", to_yaml(run))
    accelerator.wait_for_everyone()
    if run.trackers:  # they take numbers and strings alone
        settings = ((key, value) for key, value, _ in flat_settings(run))
        plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in settings}
        accelerator.init_trackers("spectrum-matching", config=plain)

    def write_preview(step: int) -> None:
        if is_main:
            with ema_weights(state):
                preview(directory / "samples" / f"{step:0{DIGITS}d}.png")

    def checkpoint(step: int) -> None:
        if is_main:
            save_checkpoint(directory / "checkpoints", state, run.intervals.keep_last, run.intervals.keep_every)
        accelerator.wait_for_everyone()

    log = open_log(directory / "log.jsonl", state.step) if is_main else None
    actions = ((run.intervals.checkpoint, checkpoint), (run.intervals.preview, write_preview))
    finished = run_loop(run, report_bad_files(records, directory), log, actions, accelerator, progress)
    if log is not None:
        log.close()
    if finished and is_main:
        with ema_weights(state):
            export()
    accelerator.wait_for_everyone()
    if run.trackers:
        accelerator.end_training()  # ends the process group as well
    if not finished:
        raise SystemExit(f"stopped at step {state.step}; rerun the same command to resume")
    return directory / "export"


def report_bad_files(records: Iterator[StepRecord], directory: Path) -> Iterator[StepRecord]:
    """Yield the records; report each bad file once, as a message and in bad_files.jsonl."""
    path = directory / "bad_files.jsonl"
    seen = {json.loads(line)["name"] for line in path.read_text().splitlines()} if path.exists() else set()
    for record in records:
        for bad in record.bad_files:
            if bad.name not in seen:
                seen.add(bad.name)
                logger.warning("skipped %s: %s (%d so far)", bad.name, bad.reason, len(seen))
                with path.open("a") as file:
                    file.write(json.dumps({"step": record.step, "name": bad.name, "reason": bad.reason}) + "\n")
        yield record


def save_checkpoint(folder: Path, state: TrainingState, keep_last: int, keep_every: int) -> None:
    """Write the state's checkpoint, then delete all but the newest `keep_last` and multiples of `keep_every`.

    Raises:
        ValueError: where it cannot be written.
    """
    with explain_write_errors(f"the checkpoint of step {state.step} under {folder}"):
        write_folder_atomically(
            folder / f"{state.step:0{DIGITS}d}", lambda path: torch.save(state.state_dict(), path / "state.pt")
        )
    for path in checkpoints(folder)[:-keep_last]:
        if not keep_every or int(path.name) % keep_every:
            remove(path)


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a folder, by step."""
    complete = (path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit())
    return sorted(complete, key=lambda path: int(path.name))
