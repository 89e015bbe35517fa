"""A user-defined autoencoder: any object with `encode` and `decode`, live or from a Python file.

encode(images (b, 3, H, W)) returns latents (b, c, h, w), or whatever else `posterior_of` reads; decode(latents) returns
images, or whatever else `images_of` reads. Optional attributes:
`image_range`, (-1, 1) or (0, 1); `image_channels`, 3 for RGB; `multiple`, a divisor of the sides of its images;
`latent_space`, a LatentSpace, or `scaling_factor` and `shift_factor`, with which (latents - shift) · scale has unit
scale. To be trained it has `save_pretrained(folder)`, which writes it in a format of its own.
"""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...latent_space import LatentSpace
from ...methods.models import Gaussian, images_of, posterior_of, require_autoencoder
from ..python_files import explain_user_errors
from .interface import Adapter, eval_mode, still, still_posterior

TRIAL_SIZE = 64


def modules_of(model: object) -> nn.ModuleDict:
    """Return the networks that an object holds, so that they are moved and counted with it."""
    return nn.ModuleDict({name: part for name, part in _held(model) if isinstance(part, nn.Module)})


def tensors_of(model: object) -> dict[str, Tensor]:
    """Return the tensors that an object holds outside its networks."""
    return {name: part for name, part in _held(model) if isinstance(part, Tensor)}


def _held(model: object) -> Iterator[tuple[str, object]]:
    """Yield an object's attributes, and what is in those that are lists, tuples or dictionaries, each once, by name."""
    waiting, seen = deque(getattr(model, "__dict__", {}).items()), set()
    while waiting:
        name, value = waiting.popleft()
        if isinstance(value, dict | list | tuple):
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            new = id(value) not in seen
            waiting += [(f"{name}:{key}".replace(".", ":"), each) for key, each in inside if new]
            seen.add(id(value))
        else:
            yield name, value


def adapter_of(model: Any, modules: nn.Module, image_channels: int = 3) -> Adapter:
    """Return how an object is called, from one trial on a grey image.

    image_channels: of the trial's image, unless the object has an attribute of this name. The trial leaves random
    generators and `modules`, the networks in the object, as they were.

    Raises:
        ValueError: naming the class and the remedy, for what does not fit.
    """
    kind = type(model).__name__
    require_autoencoder(model)
    image_range = getattr(model, "image_range", (-1, 1))
    if image_range not in ((-1, 1), (0, 1), [-1, 1], [0, 1]):
        raise ValueError(f"{kind}.image_range is {image_range!r}, expected (-1, 1) or (0, 1)")
    low, high = image_range
    multiple = getattr(model, "multiple", None)
    if multiple is not None and not (isinstance(multiple, int) and multiple > 0):
        raise ValueError(f"{kind}.multiple is {multiple!r}, expected a whole number of pixels")
    n_channels = getattr(model, "image_channels", image_channels)
    if not (isinstance(n_channels, int) and n_channels > 0):
        raise ValueError(f"{kind}.image_channels is {n_channels!r}, expected a whole number, such as 3 for RGB")
    space = _latent_space(model, kind)

    side = -(-TRIAL_SIZE // (multiple or 1)) * (multiple or 1)
    weight = next((p for p in modules.parameters() if p.is_floating_point()), torch.empty(0))
    grey = torch.full((2, n_channels, side, side), (low + high) / 2, dtype=weight.dtype, device=weight.device)
    with eval_mode(modules, None):
        posterior = _encode(model, grey, "; if it needs other sizes, set `multiple`, other channels, `image_channels`")
        latents = posterior.mean
        if latents.ndim != 4 or len(latents) != 2 or not 0 < latents.shape[2] == latents.shape[3]:
            raise ValueError(
                f"{kind}.encode gave latents {tuple(latents.shape)} for images {tuple(grey.shape)}, "
                f"expected (2, c, h, w) with the same factor in height and width"
            )
        factor, rest = divmod(side, latents.shape[2])
        if rest:
            raise ValueError(
                f"{kind}.encode gave {latents.shape[2]} positions for {side} pixels, not a whole factor: "
                f"pad inside, or set `multiple` to the divisor of the sides that it takes"
            )
        images = _decode(model, latents.to(weight.dtype))
        if images.shape != grey.shape:
            raise ValueError(f"{kind}.decode gave images {tuple(images.shape)}, expected {tuple(grey.shape)}")
    n_packed = latents.shape[1] * space.patch**2
    if not {len(space.mean), len(space.std)} <= {1, n_packed}:
        raise ValueError(
            f"{kind}.latent_space has {len(space.mean)} means and {len(space.std)} stds, expected 1 or {n_packed}, "
            f"one for each channel after packing {space.patch} x {space.patch} positions"
        )
    given = ("encode", latents), ("encode", posterior.logvar), ("decode", images)
    for what, values in given:
        if not values.isfinite().all():
            raise ValueError(f"{kind}.{what} gave values that are not finite for a grey image: check its weights")
    return Adapter(
        encode=_encode,
        decode=_decode,
        factor=factor,
        channels=latents.shape[1],
        multiple=math.lcm(multiple or factor, factor * space.patch),
        is_stochastic=not posterior.is_certain,
        image_range=(float(low), float(high)),
        latent_space=space,
        declare=_declare,
        declaration=_declaration,
        image_channels=n_channels,
    )


def _declare(model: Any, space: LatentSpace) -> None:
    """Set the attributes by which the object declares the scale of its latents, where it has them."""
    if isinstance(getattr(model, "latent_space", None), LatentSpace):
        model.latent_space = space
        return
    for name, value in (("scaling_factor", 1 / space.std[0]), ("shift_factor", space.mean[0])):
        if getattr(model, name, None) is not None:
            setattr(model, name, value)


def _declaration(model: Any, space: LatentSpace) -> str:
    has_space = isinstance(getattr(model, "latent_space", None), LatentSpace)
    if not has_space and space.convention in ("scale", "shift and scale"):
        shift = f", shift_factor = {space.mean[0]:.4g}" if space.mean[0] or getattr(model, "shift_factor", None) else ""
        return f"on the object: scaling_factor = {1 / space.std[0]:.4g}{shift}"
    mean, std = (f"({', '.join(f'{x:.3g}' for x in values)},)" for values in (space.mean, space.std))
    return f"on the object: latent_space = LatentSpace({space.convention!r}, {mean}, {std}, {space.patch})"


def _latent_space(model: Any, kind: str) -> LatentSpace:
    space = getattr(model, "latent_space", None)
    if isinstance(space, LatentSpace):
        if space != space.without_gain:
            raise ValueError(f"{kind}.latent_space has a gain or a rotation: diffusion takes one, source.flatten")
        return space
    if space is not None:
        raise ValueError(f"{kind}.latent_space is a {type(space).__name__}, expected a LatentSpace")
    scale, shift = (getattr(model, f"{name}_factor", None) for name in ("scaling", "shift"))
    if scale is None and shift is None:
        return LatentSpace()
    try:
        scale, shift = float(1.0 if scale is None else scale), float(0.0 if shift is None else shift)
        return LatentSpace("shift and scale" if shift else "scale", (shift,), (1 / scale,))
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError):  # RuntimeError: a tensor of several values
        said = " ".join(f"{kind} declares scaling {scale!r} and shift {shift!r}, expected two numbers".split())
        raise ValueError(said) from None


def _call(verb: str, model: Any, x: Tensor, hint: str = "") -> Any:
    with explain_user_errors(f"{type(model).__name__}.{verb} fails on {tuple(x.shape)}{hint}"):
        return getattr(model, verb)(x)


def _encode(model: Any, images: Tensor, hint: str = "") -> Gaussian:
    encoded = _call("encode", model, images, hint)
    return still_posterior(posterior_of(encoded, f"{type(model).__name__}.encode"))


def _decode(model: Any, latents: Tensor) -> Tensor:
    return still(images_of(_call("decode", model, latents), f"{type(model).__name__}.decode"))
