"""Trackers: where the numbers of a training are sent beside its log."""

import importlib.util

from accelerate import Accelerator

from ..files.settings import flat_settings
from .autoencoder_config import Tracking
from .optimization import Run


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
    wandb = {"entity": tracking.entity, "name": tracking.name or run.name, "dir": run.out}
    accelerator.init_trackers(tracking.project, config=plain, init_kwargs={"wandb": wandb})
