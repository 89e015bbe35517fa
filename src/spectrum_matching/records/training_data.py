"""The record `specmatch.json` beside an autoencoder's weights: which images it was trained on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainingData:
    """What an autoencoder was trained on, as its trainer wrote it beside the weights."""

    source: str
    held_out: float
    seed: int
    size: int


def training_data(source: str) -> TrainingData | None:
    """What specmatch.json in an autoencoder's folder says, if there is one; ValueError if it says something else."""
    path = Path(source).expanduser() / "specmatch.json"
    if not path.is_file():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text())["data"]
        return TrainingData(str(data["source"]), float(data["held_out"]), int(data["seed"]), int(data["size"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what the trainer writes ({type(error).__name__}: {error})") from error
