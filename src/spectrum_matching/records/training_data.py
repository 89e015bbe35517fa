"""The record `specmatch.json` beside an exported autoencoder: from what, how, and on which images it was trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.documents import Document
from ..files.run_folders import RECORD, exported


@dataclass(frozen=True)
class TrainingData:
    """Images that an autoencoder was trained on: all of `source` but a share `held_out`, chosen by the seed."""

    source: str
    held_out: float
    seed: int
    size: int


@dataclass(frozen=True)
class AutoencoderTraining:
    """Name of the run, options of its method, updates, images, version and commit.

    base: what was fine-tuned or distilled; "" for a new autoencoder. trained: "all", "decoder" at the latents of
    `base`, or "student" of which `base` is the teacher. padding: how its two-dimensional convolutions pad their inputs,
    in encoding and in decoding, which the format of the class does not say; "" for as that does.
    """

    run: str
    base: str
    trained: str
    padding: tuple[str, str]
    method: dict[str, Any]
    step: int
    data: TrainingData
    version: str
    commit: str


TRAINING = Document(AutoencoderTraining, "specmatch-autoencoder-2", "training", "train the autoencoder again")


def training(source: str | Path) -> AutoencoderTraining | None:
    """Return how the autoencoder in a folder was trained; None where the folder does not say.

    source: the folder, or python:FILE.py:FACTORY@FOLDER, by which an object of the user's own is opened from it.

    Raises:
        ValueError: where its record cannot be read.
    """
    if str(source).startswith("python:"):
        source = str(source).partition("@")[2]
        if not source:
            return None
    path = exported(source) / RECORD
    return TRAINING.read(path) if path.is_file() else None


def training_data(source: str) -> TrainingData | None:
    """Return the images that an autoencoder was trained on, of a source as for `training`.

    Raises:
        ValueError: where its record cannot be read.
    """
    origin = training(source)
    return None if origin is None else origin.data
