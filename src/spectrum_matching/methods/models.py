"""Autoencoders as users hold them: wrapped, and with whatever their `encode` and `decode` return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

T = TypeVar("T")

LOGVAR_RANGE = (-30.0, 20.0)
"""The clamp of every sampler in this family, which also keeps log 0 finite."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A diagonal Gaussian over latents: mean and logvar of one shape, in float32 or wider.

    is_certain: it has no variance; its samples are its mean, and its logvar is -30. own: the `sample` of the object
    that these moments were read from, where it has one of its own.
    """

    mean: Tensor
    logvar: Tensor
    is_certain: bool = False
    own: Callable[[torch.Generator | None], Tensor] | None = None

    @property
    def std(self) -> Tensor:
        """The standard deviation, of the latents' shape."""
        return (0.5 * self.logvar).exp()

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample latents. The noise is sampled on the generator's device, then moved."""
        if self.is_certain:
            return self.mean
        if self.own is not None:
            return self.own(generator)
        device = self.mean.device if generator is None else generator.device
        noise = torch.randn(self.mean.shape, generator=generator, device=device, dtype=self.mean.dtype)
        return self.mean + self.std * noise.to(self.mean.device)


def posterior_of(encoded: Any, name: str = "encode()") -> Gaussian:
    """Return what an encoder gave as a Gaussian in float32 or wider. name: the encoder's, for the message.

    Read are latents; a tuple (mean, logvar) of one shape; an object or dict with `mean` (or `mu`) and `logvar` (or
    `log_var`), which is broadcast to the mean; one with `latent_dist`, `latents` or `latent`, as diffusers has them; a
    `torch.distributions.Normal`, also in an `Independent`; a tuple of one of these; and (latents, loss, …), as VQ
    autoencoders give it, whose loss is left out. Latents alone make a posterior without variance.

    An object with mean and logvar samples by its own `sample(generator)`, where it has one. A `sample` that takes no
    generator, as latent diffusion has it, cannot be repeated: the object is then taken for the Gaussian that it names.
    Caches and analyses hold mean and logvar, and sample that Gaussian.

    Raises:
        ValueError: for anything else.
    """
    match encoded:
        case Gaussian():
            return encoded
        case Tensor():
            return certain(_wide(encoded, name))
        case Independent(base_dist=Normal() as normal) | (Normal() as normal):
            return _gaussian(normal.loc, 2 * normal.scale.log(), name)
    mean, logvar = _held(encoded, "mean", "mu"), _held(encoded, "logvar", "log_var")
    if isinstance(mean, Tensor) and isinstance(logvar, Tensor):
        # diffusers wraps latents as a distribution, with a variance that means nothing.
        if _held(encoded, "deterministic"):
            return certain(_wide(mean, name))
        return replace(_gaussian(mean, logvar, name), own=_own_sample(encoded, name))
    if (inner := _held(encoded, "latent_dist", "latents", "latent")) is not None:
        return posterior_of(inner, name)
    match encoded if isinstance(encoded, tuple) else None:
        case (only,):
            return posterior_of(only, name)
        case (Tensor() as latents, Tensor(ndim=0), *_):
            return posterior_of(latents, name)
        case (Tensor() as mean, Tensor() as logvar) if mean.shape == logvar.shape:
            return _gaussian(mean, logvar, name)
    raise ValueError(f"{name} gave {_described(encoded)}, {EXPECTED_OF_ENCODE}")


EXPECTED_OF_ENCODE = (
    "expected latents (b, c, h, w) in floating point, or mean and logvar, as a pair of one shape or by name"
)


def images_of(decoded: Any, name: str = "decode()") -> Tensor:
    """Return what a decoder gave as images. name: the decoder's, for the message.

    Read are images; an object or dict with `sample`, as diffusers has it; and a tuple that begins with one of these.

    Raises:
        ValueError: for anything else.
    """
    images = decoded[0] if isinstance(decoded, tuple) and decoded else decoded
    images = images if isinstance(images, Tensor) else _held(images, "sample")
    if not isinstance(images, Tensor):
        raise ValueError(f"{name} gave {_described(decoded)}, expected images (b, 3, H, W), or an object with sample")
    return images


def certain(latents: Tensor) -> Gaussian:
    """Return a posterior without variance."""
    return Gaussian(latents, torch.full_like(latents, LOGVAR_RANGE[0]), is_certain=True)


def require_autoencoder(model: object) -> None:
    """Check that a model has what an autoencoder needs.

    Raises:
        ValueError: naming its class and what it lacks.
    """
    for verb in ("encode", "decode"):
        if not callable(getattr(model, verb, None)):
            kind = type(model).__name__
            raise ValueError(f"{kind} has no {verb}(): an autoencoder has encode(images) and decode(latents)")


def unwrap(model: Any) -> Any:
    """Return the model inside wrappers that compile it or distribute it, such as DistributedDataParallel."""
    while (inner := _inner(model, "_orig_mod", "module")) is not None:
        model = inner
    return model


def within_forward(model: Any, function: Callable[[Any, Tensor], T], images: Tensor) -> T:
    """Return function(unwrap(model), images), called within the forward pass of the wrappers.

    DistributedDataParallel averages gradients only of what its forward computed; calling `encode` and `decode` of the
    model inside would leave each process to its own gradients.

    Raises:
        ValueError: for DataParallel over several devices, whose replicas cannot be called this way.
    """
    while (inner := _inner(model, "_orig_mod")) is not None:
        model = inner
    held = model
    while (inner := _inner(held, "module")) is not None:
        held = inner
    if held is model:
        return function(unwrap(held), images)
    if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
        raise ValueError("DataParallel over several devices: use DistributedDataParallel, or pass its .module")
    own = vars(held).get("forward")  # Accelerate puts one there

    def restore() -> None:
        if own is None:
            vars(held).pop("forward", None)
        else:
            held.forward = own

    def forward(images: Tensor) -> T:
        restore()
        return function(unwrap(held), images)

    held.forward = forward
    try:
        result: T = model(images)
        return result
    finally:
        restore()


def _inner(model: Any, *names: str) -> nn.Module | None:
    """Return the module that a wrapper holds by one of these names; None for a model with an `encode` of its own."""
    if not isinstance(model, nn.Module) or hasattr(type(model), "encode"):
        return None
    if "encode" in vars(model) or "encode" in model._modules:
        return None
    # Of its own: a compiled module hands on the attributes of the model inside.
    own = [name for name in names if name in model._modules or hasattr(type(model), name)]
    return next((inner for name in own if isinstance(inner := getattr(model, name), nn.Module)), None)


def _own_sample(posterior: Any, name: str) -> Callable[[torch.Generator | None], Tensor] | None:
    """Return the `sample` of a posterior of a user's own that takes a generator; None for none, and for diffusers'."""
    sample = getattr(posterior, "sample", None)
    if not callable(sample) or type(posterior).__module__.startswith("diffusers."):
        return None
    parameters = inspect.signature(sample).parameters
    if "generator" not in parameters:
        return None
    return lambda generator: _wide(sample(generator=generator), name)


def _gaussian(mean: Tensor, logvar: Tensor, name: str) -> Gaussian:
    try:
        logvar = logvar.expand_as(mean)
    except RuntimeError:
        shapes = f"a mean of {tuple(mean.shape)} with a logvar of {tuple(logvar.shape)}"
        raise ValueError(f"{name} gave {shapes}, expected one shape") from None
    return Gaussian(_wide(mean, name), _wide(logvar, name).clamp(*LOGVAR_RANGE))


def _wide(moments: Tensor, name: str) -> Tensor:
    """Return moments in float32 or wider: in bf16, as under autocast, samples, KL and spectra would lose digits."""
    if not moments.is_floating_point():
        raise ValueError(f"{name} gave {moments.dtype}, {EXPECTED_OF_ENCODE}")
    return moments.to(torch.promote_types(moments.dtype, torch.float32))


def _held(record: Any, *names: str) -> Any:
    """Return the first of these entries of a dict, or attributes of an object; None for none."""
    values = (record.get(name) if isinstance(record, Mapping) else getattr(record, name, None) for name in names)
    return next((value for value in values if value is not None), None)


def _described(output: Any) -> str:
    """Return a type, and the shapes or the keys of what it holds."""
    if isinstance(output, tuple):
        parts = (str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in output)
        return f"a tuple of {', '.join(parts) or 'nothing'}"
    keys = f" of {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    return f"{type(output).__name__}{keys}"
