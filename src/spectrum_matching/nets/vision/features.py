"""A feature extractor for distances between sets of images, from a file of the user's."""

from collections.abc import Callable

import torch
from torch import Tensor

Features = Callable[[Tensor], Tensor]


def open_features(spec: str, device: torch.device | str = "cpu") -> Features:
    """Images (b, 3, H, W) in [-1, 1] → features (b, d), from a TorchScript file or `python:FILE.py:FACTORY`.

    The factory takes no arguments and returns the function; a module is put into eval mode on `device`. ValueError in
    one line for a file that does not open and, when called, for images that it fails on (its first line of complaint)
    and for anything but finite features (b, d).
    """
    return checked(load_features(spec, device), spec, device)


def load_features(spec: str, device: torch.device | str = "cpu") -> Features:
    """What `open_features` calls, as the file gives it: a module in eval mode on `device`, or a function."""
    extract = _from_python(spec) if spec.startswith("python:") else _from_torchscript(spec, device)
    return extract.to(device).eval() if isinstance(extract, torch.nn.Module) else extract


def checked(extract: Features, spec: str, device: torch.device | str) -> Features:
    """`extract` on `device`, its complaints and whatever else than finite features (b, d) turned into one line."""

    def features(images: Tensor) -> Tensor:
        try:
            with torch.inference_mode():
                found = extract(images.to(device))
        except Exception as error:  # the code behind is the user's: it may raise anything
            raise ValueError(f"features {spec} failed on images {tuple(images.shape)}: {_last_line(error)}") from error
        if not isinstance(found, Tensor):
            raise ValueError(f"features {spec} returned {type(found).__name__}, expected a tensor (b, d)")
        if found.ndim != 2 or len(found) != len(images) or not found.is_floating_point():
            raise ValueError(
                f"features {spec} returned {found.dtype} {tuple(found.shape)} for {len(images)} images, "
                f"expected floats ({len(images)}, d)"
            )
        if not found.isfinite().all():
            raise ValueError(f"features {spec} returned values that are not finite")
        return found

    return features


def _from_torchscript(path: str, device: torch.device | str) -> Features:
    try:
        module: Features = torch.jit.load(path, map_location=device)
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} is no TorchScript file that can be read: give one saved by torch.jit.save, "
            f"or python:FILE.py:FACTORY"
        ) from error
    return module


def _from_python(spec: str) -> Features:
    from ..autoencoder.custom import from_file  # needs diffusers, which features do not

    extract = from_file(spec)
    if not callable(extract):
        raise ValueError(f"{spec} returned {type(extract).__name__}, expected a function of images")
    made: Features = extract
    return made


def _last_line(error: Exception) -> str:
    """TorchScript prints its traceback first and the reason last."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
