"""A trained diffusion model in a folder: the denoiser in diffusers' format, and all that sampling needs beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import __version__
from ..diffusion import Path as DiffusionPath
from ..files.atomic import write_folder_atomically
from ..files.digests import digest_weights
from ..latent_space import LatentSpace
from ..nets.autoencoder import Autoencoder, open_autoencoder
from ..nets.denoiser.build import n_classes_of, open_denoiser
from ..records.provenance import commit

CARD = "specmatch.json"


@dataclass(frozen=True)
class Card:
    """What a model was trained as. shape (c, h, w) of its samples; is_pixels: which are images, that nothing decodes.

    autoencoder: what decodes them otherwise, "" where it is not known. autoencoder_digest: of its weights during
    training, "" where they were not read.
    """

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
    is_pixels: bool = False
    autoencoder_digest: str = ""


class Decoder(NamedTuple):
    """What makes images of latents: an autoencoder, its name, and the digest of its weights."""

    name: str
    autoencoder: Autoencoder
    digest: str


@dataclass(frozen=True)
class DiffusionModel:
    """A denoiser ready to sample from; decoder: None for pixels, and where what decodes the latents is not known."""

    source: str
    card: Card
    denoiser: nn.Module
    denoiser_digest: str
    decoder: Decoder | None

    @property
    def n_classes(self) -> int:
        """0 for an unconditional model."""
        return n_classes_of(self.denoiser)

    @torch.no_grad()
    def decode(self, units: Tensor) -> Tensor:
        """Images (b, 3, H, W) in [-1, 1] of unit-scale latents, or of pixels."""
        assert self.decoder is not None or self.card.is_pixels
        raw = self.card.latent_space.denormalise(units)
        images = raw if self.decoder is None else self.decoder.autoencoder.decode(raw).float()
        return images.clamp(-1, 1)


def write_model(folder: Path, denoiser: nn.Module, card: Card) -> None:
    """Write weights and card to a folder, atomically; OSError if they cannot be written."""

    def write(folder: Path) -> None:
        denoiser.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
        content = {**asdict(card), "version": __version__, "commit": commit()}
        (folder / CARD).write_text(json.dumps(content, indent=1) + "\n")

    write_folder_atomically(folder, write)


def open_model(source: str | Path, device: torch.device, autoencoder: str | Decoder | None = None) -> DiffusionModel:
    """A run directory or its export; `autoencoder`, a name or opened, decodes in place of the one it was trained with.

    ValueError in one line for a folder that holds none, or an autoencoder that is not named, not there or does not fit.
    """
    folder = Path(source)
    folder = folder / "export" if (folder / "export").is_dir() else folder
    card = read_card(folder)
    denoiser = open_denoiser(folder).to(device).eval().requires_grad_(False)
    config: Any = denoiser.config
    if (config.channels, *config.grid) != card.shape:
        raise ValueError(f"{folder} is damaged: {CARD} speaks of {card.shape}, and its network of other latents")
    decoder = None
    if card.is_pixels and autoencoder:
        raise ValueError(f"{source} makes pixels, which {autoencoder} does not decode: leave --autoencoder out")
    if not card.is_pixels:
        autoencoder = autoencoder or card.autoencoder
        if not autoencoder:
            raise ValueError(f"{source} does not say what decodes its latents; name it by --autoencoder")
        try:
            decoder = open_decoder(card, autoencoder, device)
        except ValueError as error:
            raise ValueError(f"{error}; name another by --autoencoder") from error
    return DiffusionModel(str(source), card, denoiser, digest_weights(denoiser), decoder)


def open_decoder(card: Card, decoder: str | Decoder, device: torch.device) -> Decoder:
    """ValueError for an autoencoder that is not there, or does not decode such latents."""
    if isinstance(decoder, str):
        try:
            autoencoder = open_autoencoder(decoder, device)
        except ValueError as error:
            raise ValueError(f"the latents' autoencoder does not open: {error}") from error
        decoder = Decoder(decoder, autoencoder, digest_weights(autoencoder))
    packed = decoder.autoencoder.channels * card.latent_space.patch**2
    if packed != card.shape[0]:
        raise ValueError(f"the model's latents have {card.shape[0]} channels, and {decoder.name} decodes {packed}")
    return decoder


def read_card(folder: Path) -> Card:
    """ValueError where the folder holds no diffusion model of ours."""
    from pydantic import TypeAdapter, ValidationError

    path = folder / CARD
    try:
        content: Mapping[str, Any] = json.loads(path.read_text())
        return TypeAdapter(Card).validate_python(content)
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / "checkpoints").is_dir():
            raise ValueError(f"{folder} is not trained to its end: the same train-diffusion command goes on") from error
        raise ValueError(
            f"{folder} holds no trained diffusion model: expected the run directory of `specmatch train-diffusion`, or "
            f"the export in it"
        ) from error
    except (OSError, ValueError, ValidationError) as error:
        raise ValueError(
            f"{path} describes no diffusion model: expected what `specmatch train-diffusion` exports"
        ) from error
