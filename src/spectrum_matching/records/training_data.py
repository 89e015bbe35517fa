"""The record `specmatch.json` beside an exported autoencoder: how, and on which images, it was trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.documents import Document

FILE = "specmatch.json"


@dataclass(frozen=True)
class TrainingData:
    """Images that an autoencoder was trained on: all of `source` but a share `held_out`, chosen by the seed."""

    source: str
    held_out: float
    seed: int
    size: int


@dataclass(frozen=True)
class AutoencoderTraining:
    """Name of the run, options of its method that differ from the defaults, updates, images, version and commit."""

    run: str
    method: dict[str, Any]
    step: int
    data: TrainingData
    version: str
    commit: str


TRAINING = Document(AutoencoderTraining, "specmatch-autoencoder-1", "training", "train the autoencoder again")


def training_data(source: str) -> TrainingData | None:
    """Return the images that the autoencoder in a folder was trained on; None where the folder does not say.

    Raises:
        ValueError: where its record cannot be read.
    """
    path = Path(source).expanduser() / FILE
    return TRAINING.read(path).data if path.is_file() else None
