"""The directory of a training run: run.yaml, log, checkpoints, previews; started, resumed and run by both trainers."""

import logging
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..files.atomic import explain_write_errors, remove, remove_leftovers, require_creatable, write_text_atomically
from ..files.checkpoints import read_checkpoint, write_checkpoint
from ..files.json_lines import append_json_line, keep_json_lines, read_json_lines
from ..files.names import printable
from ..files.outputs import first_content
from ..files.run_folders import EXPORT, RUN
from ..files.settings import Rule, as_line, differences, validate
from ..files.signals import Stopped, noted
from ..files.yaml_files import override, read_mapping, to_yaml
from ..nets.precision import require_precision
from ..processes import agreed, in_all, in_main, open_accelerator, require_alike
from .data_fingerprint import DataFingerprint, write_fingerprint
from .optimization import Run, StepRecord, TrainingState, ema_weights
from .sharding import gathered
from .trackers import require_trackers, start_trackers

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Takes the step and the number of steps."""

Action = tuple[int, Callable[[int], None]]
"""Every how many steps a function of the step is called; 0: never."""

OWN_FOLDERS = ("samples", "checkpoints", EXPORT)
ECHO = 10.0  # seconds within which torchrun passes on what its processes have received already
DIGITS = 7  # of the step, in names of checkpoints and previews


def accelerator_of(run: Run) -> Accelerator:
    """Return the accelerator of a run, with its trackers.

    Raises:
        ValueError: for what `require_startable` refuses.
    """
    with agreed():
        validate(run)
        require_trackers(run)  # before accelerate warns of what is missing
    accelerator = open_accelerator(log_with=list(run.trackers) or None, project_dir=run.out)
    in_all(accelerator, lambda: require_startable(run, accelerator.num_processes, accelerator.device))
    return accelerator


def require_startable(run: Run, n_processes: int, device: torch.device) -> None:
    """Check that so many processes can share the run on such a device, and that what it names is installed.

    Raises:
        ValueError: for settings out of range, where a tracker is not installed, where the device lacks the precision,
            or batch_size does not give every process and micro-batch equally many items.
    """
    validate(run)
    require_precision(run.precision, device)
    require_trackers(run)
    if run.batch_size % (run.accumulation * n_processes):
        raise ValueError(
            f"batch_size is {run.batch_size}, expected a multiple of accumulation ({run.accumulation}) times "
            f"processes ({n_processes})"
        )


def require_same_run(run: Run, fixed: tuple[str, ...] = ()) -> None:
    """Check that the run's directory can be written to and holds no other run.

    fixed: keys that may not change either, although the rules of their fields let them.

    Raises:
        ValueError: otherwise, naming the settings in which the runs differ.
    """
    directory = Path(run.out)
    require_creatable(directory)
    file = directory / RUN
    if file.exists():
        old = override(type(run)(), read_mapping(file), str(file))
        free = differences(old, run)
        changed = differences(old, run, ignore=Rule.CHANGEABLE) | {key: free[key] for key in fixed if key in free}
        if changed:
            raise ValueError(
                f"{directory} holds another run: {as_line(changed)}; choose another out or the same values"
            )
    elif (path := first_content(directory)) is not None:
        raise ValueError(
            f"out: {directory} holds {path.relative_to(directory)} and no run.yaml: it is not a run; choose another out"
        )
    for name in OWN_FOLDERS:
        if (directory / name).is_symlink():
            raise ValueError(f"out: {directory / name} is a link, which is not followed: remove it")


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
    remedy = f"delete {checkpoint} to resume from the checkpoint before it"
    content = read_checkpoint(checkpoint, remedy)
    try:
        state.load_state_dict(content)
    except Exception as error:  # each part compares names, shapes and types in its own way
        raise ValueError(f"{checkpoint} holds the state of another run ({type(error).__name__}); {remedy}") from error


@dataclass(frozen=True)
class PreparedTraining:
    """A training that is checked and built up to its first step; nothing is written yet.

    started_on: what data.json will say. records: the trainer. preview, which takes the file that it writes, and export
    are called with averaged weights, in all processes, of which the main one writes.
    """

    accelerator: Accelerator
    started_on: DataFingerprint
    state: TrainingState
    records: Iterator[StepRecord]
    preview: Callable[[Path], None]
    export: Callable[[], None]


def train_in_directory(run: Run, prepared: PreparedTraining, progress: Progress | None = None) -> Path:
    """Run a trainer, with log, checkpoints and previews, then export its model; return the folder of the export.

    Raises:
        ValueError: before the first step, where the processes do not start alike; at the end, where no update was
            finite, so that nothing was learned.
        Stopped: after a signal, with a checkpoint written.
    """
    accelerator, state, started_on = prepared.accelerator, prepared.state, prepared.started_on
    told_apart = {"labels": started_on.labels, "gain": str(started_on.gain)}
    require_alike(accelerator, {"step": state.step, **told_apart, **started_on.networks, **started_on.data})
    directory, is_main = Path(run.out), accelerator.is_main_process
    kept = run.intervals.keep_last, run.intervals.keep_every
    if is_main:
        directory.mkdir(parents=True, exist_ok=True)
        write_text_atomically(directory / RUN, to_yaml(run))  # first: it makes the folder ours
        write_fingerprint(directory, prepared.started_on)
        for name in ("samples", "checkpoints"):
            (directory / name).mkdir(exist_ok=True)
            remove_leftovers(directory / name)
        discard_checkpoints(directory / "checkpoints", *kept)  # those that a kill kept from it
        keep_json_lines(directory / "bad_files.jsonl", name=str)
        keep_json_lines(directory / "log.jsonl", lambda line: line["step"] <= state.step, step=int)
    accelerator.wait_for_everyone()
    place = directory.stat()

    def require_place() -> None:
        try:
            if os.path.samestat(place, directory.stat()) and (directory / RUN).exists():
                return
        except FileNotFoundError:
            pass
        raise ValueError(f"{directory} has been removed or replaced during the training")

    start_trackers(accelerator, run)

    def preview_of(step: int) -> Path:
        return directory / "samples" / f"{step:0{DIGITS}d}.png"

    def write_preview(step: int) -> None:
        if is_main:
            require_place()
        with ema_weights(state):
            prepared.preview(preview_of(step))

    def checkpoint(step: int) -> None:
        content = gathered(state.state_dict())
        if is_main:
            require_place()
            save_checkpoint(directory / "checkpoints", step, content)
            discard_checkpoints(directory / "checkpoints", *kept)
        accelerator.wait_for_everyone()

    log = directory / "log.jsonl" if is_main else None
    has_lost = in_main(accelerator, lambda: not preview_of(state.step).exists())
    if has_lost and is_due(run, run.intervals.preview, state.step):
        write_preview(state.step)  # which a kill after the checkpoint has cost
    actions = ((run.intervals.checkpoint, checkpoint), (run.intervals.preview, write_preview))
    stopped_by = run_loop(run, report_bad_files(prepared.records, directory), log, actions, accelerator, progress)
    if not stopped_by and state.skipped == state.step:
        raise ValueError(
            f"none of {state.step} steps was finite, so that nothing was learned: nothing is exported; remove "
            f"{directory} and train again with a lower optimizer.lr or precision fp32"
        )
    if not stopped_by:
        in_main(accelerator, require_place)
        with ema_weights(state):
            prepared.export()
        in_main(accelerator, require_place)
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()
    if stopped_by:
        raise Stopped(stopped_by, f"stopped at step {state.step}; rerun the same command to resume")
    return directory / EXPORT


def report_bad_files(records: Iterator[StepRecord], directory: Path) -> Iterator[StepRecord]:
    """Yield the records; report each bad file once, as a message and in bad_files.jsonl."""
    path = directory / "bad_files.jsonl"
    seen = {line["name"] for line in read_json_lines(path, name=str)}
    for record in records:
        for bad in record.bad_files:
            name, reason = map(printable, bad)
            if name not in seen:
                seen.add(name)
                logger.warning("skipped %s: %s (%d so far)", name, reason, len(seen))
                append_json_line(path, {"step": record.step, "name": name, "reason": reason})
        yield record


def save_checkpoint(folder: Path, step: int, content: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step.

    Raises:
        ValueError: where it cannot be written.
    """
    with explain_write_errors(f"the checkpoint of step {step} under {folder}"):
        write_checkpoint(folder / f"{step:0{DIGITS}d}", content)


def discard_checkpoints(folder: Path, keep_last: int, keep_every: int) -> None:
    """Delete all checkpoints but the newest `keep_last` and multiples of `keep_every`."""
    by_step = {int(path.name): path for path in checkpoints(folder)}
    kept = kept_steps(list(by_step), keep_last, keep_every)
    for step, path in by_step.items():
        if step not in kept:
            remove(path)


def kept_steps(steps: Sequence[int], keep_last: int, keep_every: int) -> list[int]:
    """Return, of the steps of checkpoints in order, the newest `keep_last` and multiples of `keep_every` (0: none)."""
    return [step for step in steps[:-keep_last] if keep_every and step % keep_every == 0] + list(steps[-keep_last:])


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a folder, by step."""
    complete = (path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit())
    return sorted(complete, key=lambda path: int(path.name))


def run_loop(
    run: Run,
    records: Iterator[StepRecord],
    log: Path | None,
    actions: Sequence[Action],
    accelerator: Accelerator,
    progress: Progress | None = None,
) -> int:
    """Run a trainer to its last step; return the signal that stopped it early, at the end of a step, or 0.

    log: JSONL file of the main process, None in the others. actions: called in every process, in order; all of them are
    due at the last step. progress: takes the step and the number of steps.
    """
    log_every = run.intervals.log
    window: deque[StepRecord] = deque(maxlen=max(log_every, 1))
    with noted(ECHO if accelerator.num_processes > 1 else 0.0) as signalled:
        for record in records:
            window.append(record)
            is_last = record.step == run.steps
            if record.skipped:
                scaled = f" at a loss scale of {record.loss_scale:g}" if record.loss_scale > 1 else ""
                logger.warning("step %d was not finite%s and changed nothing", record.step, scaled)
            if log_every and (record.step % log_every == 0 or is_last or record.skipped):
                _log_step(run, window, log, accelerator)
            if progress is not None:
                progress(record.step, run.steps)
            must_stop = bool(signalled.number)
            if accelerator.num_processes > 1:
                flag = torch.tensor(float(must_stop), device=accelerator.device)
                must_stop = bool(accelerator.reduce(flag, "sum"))
            for every, action in actions:
                if is_due(run, every, record.step) or (every and must_stop):
                    action(record.step)
            if must_stop and not is_last:
                return signalled.number or signal.SIGTERM  # another process's
    return 0


def is_due(run: Run, every: int, step: int) -> bool:
    """Return whether what is done every so many steps, 0 for never, is done after this one: always after the last."""
    return bool(every and step) and (step % every == 0 or step == run.steps)


def _log_step(run: Run, window: Sequence[StepRecord], log: Path | None, accelerator: Accelerator) -> None:
    """Write the last step to the log, the trackers and the messages; window: the steps since the last written."""
    record = window[-1]
    stacked = torch.stack([value.float() for value in record.losses.values()])
    means = accelerator.reduce(stacked, "mean").tolist()
    # JSON has neither infinities nor NaN.
    losses = {name: mean if math.isfinite(mean) else None for name, mean in zip(record.losses, means, strict=True)}
    seconds = sum(r.seconds for r in window)
    rate, waiting = len(window) * run.batch_size / seconds, sum(r.data_time for r in window) / seconds
    line = {
        "step": record.step,
        "images": record.step * run.batch_size,
        **losses,
        "transform": record.transform,
        "lr": record.lr,
        "gradient_norm": record.gradient_norm if math.isfinite(record.gradient_norm) else None,
        "skipped": record.skipped,
        **({"loss_scale": record.loss_scale} if run.precision == "fp16" else {}),
        "images_per_second": round(rate, 2),
        "waiting": round(waiting, 4),
        "time": round(time.time(), 1),
    }
    if log is not None:
        append_json_line(log, line)
    accelerator.log({k: v for k, v in line.items() if isinstance(v, float)}, step=record.step)
    left = timedelta(seconds=round((run.steps - record.step) * run.batch_size / rate))
    shown = [f"{name} {value:.4g}" for name, value in losses.items() if value is not None]
    shown += [f"{rate:.1f} images/s", f"{waiting:.0%} waiting for data", f"{left} left"]
    logger.info("step %d of %d: %s", record.step, run.steps, ", ".join(shown))
