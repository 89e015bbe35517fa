"""A trained diffusion model in a folder: the denoiser in diffusers' format, and all that sampling needs beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import __version__
from .checkpoints import write_aside
from .diffusion import Path as DiffusionPath
from .diffusion_data import open_autoencoder
from .diffusion_state import n_classes_of
from .latent_space import LatentSpace
from .nets.autoencoder import Autoencoder
from .nets.denoisers import open_denoiser
from .provenance import commit, weights_digest

CARD = "specmatch.json"


@dataclass(frozen=True)
class Card:
    """What a model was trained as. shape (c, h, w); autoencoder: what decodes its samples, "" for pixels."""

    run: str
    step: int
    averaged: bool
    path: DiffusionPath
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    latent_space: LatentSpace
    autoencoder: str
    data: str
    data_digest: str


@dataclass(frozen=True)
class DiffusionModel:
    """A denoiser ready to sample from; autoencoder: None for pixels. digests: of the weights, "" without them."""

    source: str
    card: Card
    denoiser: nn.Module
    denoiser_digest: str
    autoencoder: Autoencoder | None
    autoencoder_digest: str

    @property
    def n_classes(self) -> int:
        """0 for an unconditional model."""
        return n_classes_of(self.denoiser)

    @torch.no_grad()
    def decode(self, units: Tensor) -> Tensor:
        """Images (b, 3, H, W) in [-1, 1] of unit-scale latents, or of pixels."""
        raw = self.card.latent_space.denormalise(units)
        images = raw if self.autoencoder is None else self.autoencoder.decode(raw).float()
        return images.clamp(-1, 1)


def write_model(folder: Path, denoiser: nn.Module, card: Card) -> None:
    """Weights and card, complete or not at all. OSError where they cannot be written."""

    def write(aside: Path) -> None:
        denoiser.save_pretrained(aside, safe_serialization=True)  # type: ignore[operator]
        content = {**asdict(card), "version": __version__, "commit": commit()}
        (aside / CARD).write_text(json.dumps(content, indent=1) + "\n")

    write_aside(folder, write)


def open_model(source: str | Path, device: torch.device, autoencoder: str | None = None) -> DiffusionModel:
    """A run directory or its export; `autoencoder` decodes in place of the one it was trained with.

    ValueError in one line for a folder that holds none, or an autoencoder that is not there or does not fit.
    """
    folder = Path(source)
    folder = folder / "export" if (folder / "export").is_dir() else folder
    card = read_card(folder)
    denoiser = open_denoiser(folder).to(device).eval().requires_grad_(False)
    decoder = None
    if name := autoencoder or card.autoencoder:
        try:
            decoder = open_autoencoder(name, device)
        except ValueError as error:
            raise ValueError(
                f"{folder} was trained on latents of {name}: {error}; name another by --autoencoder"
            ) from error
        packed = decoder.channels * card.latent_space.patch**2
        if packed != card.shape[0]:
            raise ValueError(f"{folder} makes latents of {card.shape[0]} channels and {name} decodes {packed}")
    digest = "" if decoder is None else weights_digest(decoder)
    return DiffusionModel(str(source), card, denoiser, weights_digest(denoiser), decoder, digest)


def read_card(folder: Path) -> Card:
    """ValueError where the folder holds no diffusion model of ours."""
    from pydantic import TypeAdapter, ValidationError

    path = folder / CARD
    try:
        content: Mapping[str, Any] = json.loads(path.read_text())
        return TypeAdapter(Card).validate_python(content)
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} holds no trained diffusion model: expected the run directory of `specmatch train-diffusion`, or "
            f"the export in it"
        ) from error
    except (OSError, ValueError, ValidationError) as error:
        raise ValueError(f"{path} describes no diffusion model ({str(error).splitlines()[0]})") from error
