"""How the two-dimensional convolutions of an autoencoder pad their inputs, which no format of diffusers says.

A shared transform that scales or rotates latents asks for the same at borders as inside, and padding with zeros marks
borders; fine-tunings by EQ-VAE are therefore made and run with "reflect".
"""

from collections.abc import Iterable
from typing import Any, Literal

from torch import nn

from .layers import DECODING

Padding = Literal["zeros", "reflect", "replicate", "circular"]


def set_padding(model: Any, padding: tuple[str, str]) -> None:
    """Set how convolutions pad in encoding and in decoding; "" leaves them as they are.

    Raises:
        ValueError: if there is none to set.
    """
    for convolutions, mode in zip(_by_side(model), padding, strict=True):
        if mode and not convolutions:
            raise ValueError(f"{type(model).__name__} has no two-dimensional convolution that pads: leave padding out")
        for convolution in convolutions if mode else ():
            convolution.padding_mode = mode  # type: ignore[assignment]


def padding_of(model: Any) -> tuple[str, str]:
    """Return how convolutions pad in encoding and in decoding; "" for zeros, the default of all classes, or none."""
    modes = [{convolution.padding_mode for convolution in side} - {"zeros"} for side in _by_side(model)]
    encoding, decoding = ("" if len(found) != 1 else found.pop() for found in modes)
    return encoding, decoding


def _by_side(model: Any) -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
    parts = dict(model.named_children()) if isinstance(model, nn.Module) else {}
    sides = [[part for name, part in parts.items() if (name in DECODING) == decodes] for decodes in (False, True)]
    encoding, decoding = map(_that_pad, sides)
    return encoding, decoding


def _that_pad(parts: Iterable[nn.Module]) -> list[nn.Conv2d]:
    layers = (layer for part in parts for layer in part.modules())
    return [layer for layer in layers if isinstance(layer, nn.Conv2d) and any(layer.padding)]
