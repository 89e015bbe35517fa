"""The scale of latents that a model of diffusers declares, read and written in its configuration or buffers."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...latent_space import Convention, LatentSpace


class Declaration(NamedTuple):
    """Where a class keeps the scale of its latents: read(model) and write(model, latent_space), in place."""

    read: Callable[[Any], LatentSpace]
    write: Callable[[Any, LatentSpace], None]


def _read_configuration(model: Any) -> LatentSpace:
    """Return (latents − shift) · scale, or (latents − mean) · scale / std, as in the pipelines of diffusers."""
    scale, shift = scale_of(model), float(model.config.get("shift_factor") or 0.0)
    mean, std = model.config.get("latents_mean"), model.config.get("latents_std")
    if mean is not None and std is not None:
        return per_channel(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64) / scale)
    if shift:
        return LatentSpace("shift and scale", (shift,), (1 / scale,))
    return LatentSpace() if scale == 1 else LatentSpace("scale", (0.0,), (1 / scale,))


def _write_configuration(model: Any, space: LatentSpace) -> None:
    if space.convention == "per channel":
        scale = scale_of(model)
        _configure(model, latents_mean=list(space.mean), latents_std=[std * scale for std in space.std])
    else:
        shift = {"shift_factor": space.mean[0]} if space.convention == "shift and scale" else {}
        _configure(model, scaling_factor=1 / space.std[0], **shift)


def _read_buffers(model: Any) -> LatentSpace:
    return per_channel(model.latents_mean, model.latents_std.double() / scale_of(model))


def _write_buffers(model: Any, space: LatentSpace) -> None:
    with torch.no_grad():
        model.latents_mean.copy_(torch.tensor(space.mean))
        model.latents_std.copy_(torch.tensor(space.std) * scale_of(model))


def _read_first_frame(model: Any) -> LatentSpace:
    """Return the first frame's of Cosmos' means and deviations, which are by channel and latent frame."""
    if model.config["latents_mean"] is None:
        return LatentSpace()
    mean, std = _by_frame(model)
    return per_channel(mean[:, 0], std[:, 0])


def _write_first_frame(model: Any, space: LatentSpace) -> None:
    if space.convention == "per channel":
        mean, std = _by_frame(model)
        mean[:, 0], std[:, 0] = torch.tensor(space.mean), torch.tensor(space.std)
        _configure(model, latents_mean=mean.flatten().tolist(), latents_std=std.flatten().tolist())


def _by_frame(model: Any) -> tuple[Tensor, ...]:
    shape = model.config["latent_channels"], -1
    names = "latents_mean", "latents_std"
    return tuple(torch.tensor(model.config[name], dtype=torch.float64).view(shape) for name in names)


def read_batch_norm(model: Any, eps: float | None = None) -> LatentSpace:
    """Return the running statistics of 2 × 2 packed positions, as in FLUX.2."""
    std = (model.bn.running_var.double() + (model.config["batch_norm_eps"] if eps is None else eps)).sqrt()
    return per_channel(model.bn.running_mean, std, model.config["patch_size"][0])


def _write_batch_norm(model: Any, space: LatentSpace) -> None:
    with torch.no_grad():
        model.bn.running_mean.copy_(torch.tensor(space.mean))
        model.bn.running_var.copy_(torch.tensor(space.std).square() - model.config["batch_norm_eps"])


def read_without_scale(model: Any) -> LatentSpace:
    """Return (latents − mean) / std, without the scaling factor of the configuration."""
    mean, std = (torch.tensor(model.config[f"latents_{name}"], dtype=torch.float64) for name in ("mean", "std"))
    return per_channel(mean, std)


def read_without_shift(model: Any) -> LatentSpace:
    """Return latents · scale, without the shift of the configuration."""
    return LatentSpace("scale", (0.0,), (1 / scale_of(model),))


def per_channel(mean: Tensor, std: Tensor, patch: int = 1) -> LatentSpace:
    """Return the normalisation of each channel, of packed ones for a patch above 1."""
    name: Convention = "per channel" if patch == 1 else "packed"
    return LatentSpace(name, tuple(mean.double().tolist()), tuple(std.double().tolist()), patch)


def scale_of(model: Any) -> float:
    """Return the scaling factor of the configuration; 1 for none."""
    return float(model.config.get("scaling_factor") or 1.0)


def _configure(model: Any, **values: Any) -> None:
    """Set those entries of the configuration that the class has; others would be lost when it is opened."""
    known = inspect.signature(type(model).__init__).parameters
    model.register_to_config(**{name: value for name, value in values.items() if name in known})


IN_CONFIGURATION = Declaration(_read_configuration, _write_configuration)
IN_BUFFERS = Declaration(_read_buffers, _write_buffers)
OF_FIRST_FRAME = Declaration(_read_first_frame, _write_first_frame)
BATCH_NORM = Declaration(read_batch_norm, _write_batch_norm)
APPLIED_INSIDE = Declaration(lambda model: LatentSpace(), lambda model, space: None)
