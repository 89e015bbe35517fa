"""The parts of an autoencoder's network that training tells apart, found by running it once on a grey image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

DECODING = ("decoder", "decoder_unet", "post_quant_conv")
"""Attributes of a model that only decoding runs. All else makes the latents, or what they mean."""


@dataclass(frozen=True)
class Layers:
    """What is frozen, compiled or compared in training.

    decoding: the networks that only decoding runs; none where a model does not name them as in `DECODING`. trained:
    the parameters that have a gradient from images that are decoded from means. variance: those that have one from the
    variance alone. decoder: those of `trained` in `decoding` and nowhere else, since a weight that the encoder shares
    makes latents too. encoder_output, decoder_output: the weights of the last layers that run, at which gradients are
    compared, the variance's own left out; None where those have no gradient. encoder_blocks, decoder_blocks: the
    networks of several layers before these.
    """

    decoding: tuple[nn.Module, ...]
    trained: tuple[nn.Parameter, ...]
    variance: tuple[nn.Parameter, ...]
    decoder: tuple[nn.Parameter, ...]
    encoder_output: Tensor | None
    decoder_output: Tensor | None
    encoder_blocks: tuple[nn.Module, ...]
    decoder_blocks: tuple[nn.Module, ...]


def find_layers(
    model: Any,
    network: nn.Module,
    encode: Callable[[], tuple[Tensor, Tensor | None]],
    decode: Callable[[Tensor], Tensor],
) -> Layers:
    """Find the layers of a model.

    network: holds all its weights. encode: returns mean and log-variance of the latents of one image, None for the
    latter where they have none. decode: returns a scalar that depends on all that decoding the mean trains. Both are
    called once, with gradients; nothing is changed.
    """
    encoder, decoder = _part(model, "encoder"), _part(model, "decoder")
    decoding = tuple(part for name in DECODING if (part := _part(model, name)) is not None)
    parameters = list(network.parameters())
    frozen = [p for p in parameters if not p.requires_grad]
    ran: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: ran.append(module))
        for module in network.modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.ndim > 1
    ]
    try:
        for p in frozen:
            p.requires_grad_(True)
        with torch.inference_mode(False), torch.enable_grad():
            mean, logvar = encode()
            n_encoding = len(ran)
            trained = _used(decode(mean), parameters)
            of_variance = () if logvar is None else _used(logvar.sum(), parameters)
    finally:
        for hook in hooks:
            hook.remove()
        for p in frozen:
            p.requires_grad_(False)
    known = {id(p) for p in trained}
    variance = tuple(p for p in of_variance if id(p) not in known)
    elsewhere = {id(p) for name, p in network.named_parameters(remove_duplicate=False) if not _decodes(name)}
    # What comes behind the encoder proper, such as quant_conv, is not counted, as in VA-VAE's code.
    variances = {id(p) for p in variance}
    encoder_last = _last([layer for layer in ran[:n_encoding] if id(layer.weight) not in variances], encoder, trained)
    decoder_last = _last(ran[n_encoding:], None, trained)
    return Layers(
        decoding=decoding,
        trained=trained,
        variance=variance,
        decoder=tuple(p for p in trained if id(p) not in elsewhere),
        encoder_output=None if encoder_last is None else encoder_last.weight,
        decoder_output=None if decoder_last is None else decoder_last.weight,
        encoder_blocks=() if encoder is None else tuple(_blocks(encoder, encoder_last)),
        decoder_blocks=() if decoder is None else tuple(_blocks(decoder, decoder_last)),
    )


def _used(scalar: Tensor, parameters: list[nn.Parameter]) -> tuple[nn.Parameter, ...]:
    """Return the parameters that have a gradient from a scalar, whose graph is kept."""
    if not scalar.requires_grad or not parameters:
        return ()
    gradients = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    return tuple(p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None)


def _decodes(name: str) -> bool:
    """Return whether a parameter of a network that holds a model, or its parts, is of a part that decodes."""
    return name.split(".")[1] in DECODING


def _part(model: Any, name: str) -> nn.Module | None:
    part = getattr(model, name, None)
    return part if isinstance(part, nn.Module) else None


def _last(ran: list[nn.Module], within: nn.Module | None, trained: tuple[nn.Parameter, ...]) -> Any:
    """Return the last of the layers that ran, within a network if there is one; None if it has no gradient."""
    inside = ran if within is None else [layer for layer in ran if any(layer is module for module in within.modules())]
    last = inside[-1] if inside else None
    return last if last is not None and any(last.weight is p for p in trained) else None


def _blocks(part: nn.Module, last: nn.Module | None) -> Iterator[nn.Module]:
    """Yield the largest networks of several layers within `part` that do not hold the layer `last`."""
    for child in part.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or any(module is last for module in child.modules()):
            yield from _blocks(child, last)
        elif next(child.children(), None) is not None:
            yield child
