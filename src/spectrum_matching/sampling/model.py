"""A trained diffusion model in a folder: the denoiser in diffusers' format, and what sampling needs beside it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import __version__
from ..diffusion import Path as DiffusionPath
from ..files.atomic import write_folder_atomically
from ..files.digests import digest_weights
from ..files.documents import read_json, require_equal_lengths
from ..files.run_folders import RECORD, exported
from ..files.settings import explain_problem
from ..latent_space import LatentSpace
from ..latents.encoded_by import require_encoded_by
from ..nets.autoencoder import Autoencoder, open_autoencoder
from ..nets.denoiser.build import n_classes_of, open_denoiser
from ..records.provenance import commit


@dataclass(frozen=True)
class Card:
    """Record of how an exported denoiser was trained.

    shape: (c, h, w) of its samples. class_counts: how many images of each class it learned; the embedding of a class
    without any is as it was initialised. learned_none: whether it learned images without a class, as guidance needs it.
    is_pixels: whether its samples are images, which nothing decodes. autoencoder: what decodes them otherwise, "" if
    unknown; decoder_digest: its digest in training, "" if it was not opened. autoencoder_digest: of what encoded the
    latents, "" if unknown.
    """

    run: str
    step: int
    averaged: bool
    path: DiffusionPath
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    learned_none: bool
    latent_space: LatentSpace
    autoencoder: str
    data: str
    data_digest: str
    is_pixels: bool = False
    autoencoder_digest: str = ""
    decoder_digest: str = ""

    def __post_init__(self) -> None:
        require_equal_lengths(self, "classes", "class_counts")

    @property
    def learned_classes(self) -> tuple[int, ...]:
        """Numbers of the classes that it learned images of; none for an unconditional model."""
        return tuple(label for label, count in enumerate(self.class_counts) if count)


class Decoder(NamedTuple):
    """An autoencoder that decodes latents, its name and its digest."""

    name: str
    autoencoder: Autoencoder
    digest: str


@dataclass(frozen=True)
class DiffusionModel:
    """A denoiser ready to sample from; decoder: None for pixels, and if what decodes the latents is unknown."""

    source: str
    card: Card
    denoiser: nn.Module
    denoiser_digest: str
    decoder: Decoder | None

    @torch.no_grad()
    def decode(self, units: Tensor) -> Tensor:
        """Return the images (b, 3, H, W) in [-1, 1] of unit-scale latents, or of pixels."""
        assert self.decoder is not None or self.card.is_pixels
        raw = self.card.latent_space.from_unit(units)
        images = raw if self.decoder is None else self.decoder.autoencoder.decode(raw).float()
        return images.clamp(-1, 1)


def write_model(folder: Path, denoiser: nn.Module, card: Card) -> None:
    """Write weights and card to a folder, atomically.

    Raises:
        OSError: if they cannot be written.
    """

    def write(folder: Path) -> None:
        denoiser.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
        content = {**asdict(card), "version": __version__, "commit": commit()}
        (folder / RECORD).write_text(json.dumps(content, indent=1) + "\n")

    write_folder_atomically(folder, write, keep_others=True)


def open_model(
    source: str | Path, device: torch.device, autoencoder: str | Decoder | None = None, *, tiling: bool = False
) -> DiffusionModel:
    """Open a run directory or its export.

    autoencoder: a name, or a decoder that is open; in place of the autoencoder that the model was trained with. tiling:
    decode in its own tiles.

    Raises:
        ValueError: in one line, for a folder that holds no model, for an autoencoder that is unknown, missing or of
            other latents, and for tiling without tiles.
    """
    folder = exported(source)
    card = read_card(folder)
    denoiser = open_denoiser(folder).to(device).eval().requires_grad_(False)
    config: Any = denoiser.config
    if (shape := (config.channels, *config.grid)) != card.shape:
        raise ValueError(f"{folder} is damaged: {RECORD} declares samples of {card.shape}, but its network has {shape}")
    if (n_classes := n_classes_of(denoiser)) != len(card.classes):
        declared = f"{RECORD} declares {len(card.classes)} classes"
        raise ValueError(f"{folder} is damaged: {declared}, but its network has {n_classes}")
    decoder = None
    if card.is_pixels and tiling:
        raise ValueError(f"{source} samples pixels, which nothing decodes: leave out --tiling")
    if card.is_pixels and autoencoder:
        raise ValueError(f"{source} samples pixels, which {autoencoder} does not decode: leave out --autoencoder")
    if not card.is_pixels:
        if not (autoencoder or card.autoencoder):
            raise ValueError(f"{source} does not record what decodes its latents; name it by --autoencoder")
        try:
            decoder = open_decoder(card, autoencoder, device, tiling=tiling)
        except ValueError as error:
            raise ValueError(f"{error}; name another by --autoencoder") from error
    return DiffusionModel(str(source), card, denoiser, digest_weights(denoiser), decoder)


def open_decoder(card: Card, decoder: str | Decoder | None, device: torch.device, *, tiling: bool = False) -> Decoder:
    """Open what decodes the samples of a model; tiling: in its own tiles, tried once, where it is not open yet.

    decoder: in place of the card's own.

    Raises:
        ValueError: for an autoencoder that does not open, decodes other latents, or not in tiles; for the card's own,
            where it is neither what encoded the latents nor what the training was told to decode them by.
    """
    opened = decoder if isinstance(decoder, Decoder) else _opened(decoder or card.autoencoder, device, tiling)
    packed = opened.autoencoder.channels * card.latent_space.patch**2
    if packed != card.shape[0]:
        raise ValueError(f"the model's latents have {card.shape[0]} channels, but {opened.name} decodes {packed}")
    if tiling:
        with torch.no_grad():  # tiles of some classes fail, and hours of sampling come first
            opened.autoencoder.decode(card.latent_space.from_unit(torch.zeros(1, *card.shape, device=device)))
    if opened is not decoder:
        known, remedy = card.autoencoder_digest, "restore it, or cache and train again"
        is_chosen = decoder is not None or opened.digest == card.decoder_digest
        require_encoded_by("the model's latents are", known, opened.name, opened.digest, remedy, is_chosen=is_chosen)
    return opened


def _opened(name: str, device: torch.device, tiling: bool) -> Decoder:
    autoencoder = open_autoencoder(name, device, tiling=tiling)
    return Decoder(name, autoencoder, autoencoder.digest)


def read_card(folder: Path) -> Card:
    """Read what a model was trained as.

    Raises:
        ValueError: in one line, for a folder that holds no model of `specmatch train-diffusion`.
    """
    from pydantic import TypeAdapter, ValidationError

    path, command = folder / RECORD, "`specmatch train-diffusion`"
    if not path.is_file():
        why = f"{folder} holds no trained diffusion model: expected the run directory of {command}, or the export in it"
        raise ValueError(why)
    content = read_json(path, f"copy what {command} exported again")
    try:
        return TypeAdapter(Card).validate_python(content)
    except ValidationError as error:
        why = explain_problem(error)
        raise ValueError(f"{path} describes no diffusion model ({why}): expected what {command} exports") from error
