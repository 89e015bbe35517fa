"""The layers that training tells apart, for each class of autoencoder that can be trained and exported."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn


class Layers(NamedTuple):
    """The parts of an autoencoder's network that are frozen, compiled or compared in training.

    encoder, quant_conv (or None): all that makes the posterior. encoder_output, decoder_output: the weights of the last
    layers, at which gradients are compared. encoder_blocks, decoder_blocks: the modules before these layers.
    """

    encoder: nn.Module
    quant_conv: nn.Module | None
    encoder_output: Tensor
    decoder_output: Tensor
    encoder_blocks: tuple[nn.Module, ...]
    decoder_blocks: tuple[nn.Module, ...]


def layers_of(kind: str, model: Any) -> Layers:
    """Return the layers of a model of the class `kind`.

    Raises:
        ValueError: if the class cannot be trained and exported.
    """
    if kind not in TRAINABLE:
        raise ValueError(f"this is {kind}: only {', '.join(TRAINABLE)} can be trained and exported")
    return TRAINABLE[kind](model)


def _kl_layers(model: Any) -> Layers:
    encoder, decoder = model.encoder, model.decoder
    return Layers(
        encoder=encoder,
        quant_conv=model.quant_conv,
        encoder_output=encoder.conv_out.weight,
        decoder_output=decoder.conv_out.weight,
        encoder_blocks=(*encoder.down_blocks, encoder.mid_block),
        decoder_blocks=(decoder.mid_block, *decoder.up_blocks),
    )


TRAINABLE: dict[str, Callable[[Any], Layers]] = {"AutoencoderKL": _kl_layers}
"""By the name of a class of diffusers."""
