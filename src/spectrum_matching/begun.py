"""On which data, and at which scale of them, a run directory was begun; others are refused."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from .diffusion_data import LearnedData
from .files.atomic import write_text_aside
from .latent_space import LatentSpace

NAME = "data.json"


@dataclass(frozen=True)
class Begun:
    """digest, shape, latent_space: as of LearnedData."""

    digest: str
    shape: tuple[int, int, int]
    latent_space: LatentSpace


def begun_on(data: LearnedData) -> Begun:
    """What a run that begins on these data keeps."""
    return Begun(data.digest, data.shape, data.latent_space)


def write_begun(directory: Path, data: LearnedData) -> None:
    """Into a run directory."""
    write_text_aside(directory / NAME, json.dumps(asdict(begun_on(data))) + "\n")


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
