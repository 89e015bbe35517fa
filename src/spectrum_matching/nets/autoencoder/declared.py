"""The scale of latents that a model of diffusers declares, read and written in its configuration or buffers."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...latent_space import Convention, LatentSpace


class Declaration(NamedTuple):
    """Where a class keeps the scale of its latents: read(model) and write(model, latent_space), in place.

    say(model, latent_space): what `write` does, as a line of configuration or code. What was written is read alike
    by the class and by every pipeline in which it is read in another way.
    """

    read: Callable[[Any], LatentSpace]
    write: Callable[[Any, LatentSpace], None]
    say: Callable[[Any, LatentSpace], str]


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
    _configure(model, **_entries(space, shifts=bool(model.config.get("shift_factor"))))


def _entries(space: LatentSpace, shifts: bool) -> dict[str, Any]:
    """Return the entries of a configuration that declare a scale; shifts: it has a shift, which they replace."""
    if space.convention == "per channel":
        return {"latents_mean": list(space.mean), "latents_std": list(space.std), "scaling_factor": 1.0}
    shift = {"shift_factor": space.mean[0]} if space.convention == "shift and scale" or shifts else {}
    return {"scaling_factor": 1 / space.std[0], **shift}


def _say_configuration(model: Any, space: LatentSpace) -> str:
    entries = _entries(space, shifts=bool(model.config.get("shift_factor")))
    return "in config.json: " + ", ".join(f'"{name}": {listed(value)}' for name, value in entries.items())


def listed(values: float | Sequence[float]) -> str:
    """Return a number to four digits, or several to three as a list."""
    return f"[{', '.join(f'{x:.3g}' for x in values)}]" if isinstance(values, Sequence) else _four_digits(values)


def _four_digits(value: float) -> str:
    return repr(value) if value in (0.0, 1.0) else f"{value:.4g}"


def _read_buffers(model: Any) -> LatentSpace:
    return per_channel(model.latents_mean, model.latents_std.cpu().double() / scale_of(model))


def _write_buffers(model: Any, space: LatentSpace) -> None:
    with torch.no_grad():
        model.latents_mean.copy_(torch.tensor(space.mean))
        model.latents_std.copy_(torch.tensor(space.std) * scale_of(model))


def _say_buffers(model: Any, space: LatentSpace) -> str:
    std = [value * scale_of(model) for value in space.std]
    return f"vae.latents_mean[:] = torch.tensor({listed(space.mean)}); vae.latents_std[:] = torch.tensor({listed(std)})"


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


def _say_first_frame(model: Any, space: LatentSpace) -> str:
    return f"of the first frame, in config.json: latents_mean {listed(space.mean)}, latents_std {listed(space.std)}"


def _by_frame(model: Any) -> tuple[Tensor, ...]:
    shape = model.config["latent_channels"], -1
    names = "latents_mean", "latents_std"
    return tuple(torch.tensor(model.config[name], dtype=torch.float64).view(shape) for name in names)


def _read_batch_norm(model: Any, eps: float | None = None) -> LatentSpace:
    """Return the running statistics of 2 × 2 packed positions, as in FLUX.2."""
    std = (model.bn.running_var.cpu().double() + (model.config["batch_norm_eps"] if eps is None else eps)).sqrt()
    return per_channel(model.bn.running_mean, std, model.config["patch_size"][0])


def _write_batch_norm(model: Any, space: LatentSpace, eps: float | None = None) -> None:
    if eps is not None:
        _configure(model, batch_norm_eps=eps)
    with torch.no_grad():
        model.bn.running_mean.copy_(torch.tensor(space.mean))
        model.bn.running_var.copy_(torch.tensor(space.std).square() - model.config["batch_norm_eps"])


def _say_batch_norm(model: Any, space: LatentSpace) -> str:
    mean, variance = listed(space.mean), listed([std**2 - model.config["batch_norm_eps"] for std in space.std])
    return f"vae.bn.running_mean[:] = torch.tensor({mean}); vae.bn.running_var[:] = torch.tensor({variance})"


def _read_without_scale(model: Any) -> LatentSpace:
    """Return (latents − mean) / std, without the scaling factor of the configuration."""
    mean, std = (torch.tensor(model.config[f"latents_{name}"], dtype=torch.float64) for name in ("mean", "std"))
    return per_channel(mean, std)


def _read_without_shift(model: Any) -> LatentSpace:
    """Return latents · scale, without the shift of the configuration."""
    return LatentSpace("scale", (0.0,), (1 / scale_of(model),))


def per_channel(mean: Tensor, std: Tensor, patch: int = 1) -> LatentSpace:
    """Return the normalisation of each channel, of packed ones for a patch above 1."""
    name: Convention = "per channel" if patch == 1 else "packed"
    return LatentSpace(name, tuple(mean.cpu().double().tolist()), tuple(std.cpu().double().tolist()), patch)


def scale_of(model: Any) -> float:
    """Return the scaling factor of the configuration; 1 for none."""
    return float(model.config.get("scaling_factor") or 1.0)


def _configure(model: Any, **values: Any) -> None:
    """Set those entries of the configuration that the class has; others would be lost when it is opened."""
    known = inspect.signature(type(model).__init__).parameters
    model.register_to_config(**{name: value for name, value in values.items() if name in known})


IN_CONFIGURATION = Declaration(_read_configuration, _write_configuration, _say_configuration)
IN_BUFFERS = Declaration(_read_buffers, _write_buffers, _say_buffers)
OF_FIRST_FRAME = Declaration(_read_first_frame, _write_first_frame, _say_first_frame)
BATCH_NORM = Declaration(_read_batch_norm, _write_batch_norm, _say_batch_norm)
APPLIED_INSIDE = Declaration(
    lambda model: LatentSpace(), lambda model, space: None, lambda model, space: "normalise inside encode and decode"
)
WITHOUT_SCALE = IN_CONFIGURATION._replace(read=_read_without_scale)
WITHOUT_SHIFT = IN_CONFIGURATION._replace(read=_read_without_shift)
OF_ERNIE = BATCH_NORM._replace(read=partial(_read_batch_norm, eps=1e-5), write=partial(_write_batch_norm, eps=1e-5))
