"""Trackers: where the numbers of a training are sent beside its log."""

import importlib.util
import logging
import re
import secrets
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..files.atomic import write_text_atomically
from ..files.settings import flat_settings
from .autoencoder_config import Tracking
from .optimization import Run

WANDB_ID = "wandb-id.txt"

logger = logging.getLogger(__name__)


def require_trackers(run: Run) -> None:
    """Check that the run's trackers are installed, and that they use what is said of them.

    Raises:
        ValueError: otherwise, with what to do.
    """
    for tracker in run.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"trackers: {tracker} is not installed; pip install 'spectrum-matching[track]'")
    if run.tracking != Tracking() and not run.trackers:
        raise ValueError("tracking is given, and no tracker that would use it: name one by trackers")
    if (run.tracking.entity or run.tracking.name) and "wandb" not in run.trackers:
        raise ValueError("tracking.entity and tracking.name are of wandb, which is not among the trackers")


def start_trackers(accelerator: Accelerator, run: Run) -> None:
    """Start the run's trackers, in the main process, and give them its settings."""
    if not run.trackers:
        return
    settings = ((key, value) for key, value, _ in flat_settings(run))  # trackers take numbers and strings alone
    plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in settings}
    tracking = run.tracking
    wandb: dict[str, Any] = {"entity": tracking.entity, "name": tracking.name or run.name, "dir": run.out}
    if "wandb" in run.trackers and accelerator.is_main_process:
        wandb |= {"id": wandb_id(Path(run.out)), "resume": "allow"}
    accelerator.init_trackers(tracking.project, config=plain, init_kwargs={"wandb": wandb})


def wandb_id(directory: Path) -> str:
    """Return the id of a run directory's run on wandb, so that a resumed training goes on in it; kept in a file."""
    file = directory / WANDB_ID
    if file.is_file():
        known = file.read_text(errors="replace").strip()
        if re.fullmatch(r"[0-9a-f]{16}", known):
            return known
        logger.warning("%s is damaged: the training goes on as another run of wandb", file)
    made = secrets.token_hex(8)
    write_text_atomically(file, f"{made}\n")
    return made
