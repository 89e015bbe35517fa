"""Feature extractors by name: they turn images into the vectors whose distributions are compared."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...files.digests import digest_files, digest_lines, digest_weights
from ...files.os_errors import is_out_of_memory
from ...processes import usable_device
from ..python_files import PREFIX, digest_source, from_file, require_prefix
from .encoders import SHUFFLENET, open_vision
from .inception import REMEDY, RESIZER, Inception
from .weights import weight_files

DINOV2 = "facebook/dinov2-large"
"""The model of FD-DINOv2 (Stein et al., Exposing flaws of generative model evaluation metrics, arXiv 2306.04675)."""

NO_RESIZE = "none: the extractor takes images as they are"


class Extracted(NamedTuple):
    """The outputs for a batch: features (b, d); where there are any, spatial features (b, s) and logits (b, k)."""

    features: Tensor
    spatial: Tensor | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class Extractor:
    """A function from images (b, 3, H, W) in [-1, 1] to features (b, d).

    digest: of the files of its weights; for a user's Python, of its code, and of its weights if it is a module.
    resizer: how images are resized to its input size, and their values normalised.
    """

    name: str
    digest: str
    resizer: str
    extract: Callable[[Tensor], Extracted]

    def __call__(self, images: Tensor) -> Tensor:
        """Return features (b, d) of images (b, 3, H, W) in [-1, 1]."""
        return self.extract(images).features


def open_extractor(spec: str, device: torch.device | str = "cpu") -> Extractor:
    """Open `inception:SOURCE`, `dinov2[:SOURCE]`, `shufflenet:PATH`, a TorchScript file, or `python:FILE.py:FACTORY`.

    SOURCE is a file (a folder for DINOv2) or `hub:owner/name`; `dinov2` alone is that of the hub. The factory takes no
    arguments and returns a function of images; a module is put into eval mode on `device`.

    Raises:
        ValueError: in one line, if it does not open, or for a device that is not here. The extractor raises it too, for
            images on which a user's function fails, and for anything but finite features (b, d).
    """
    device = usable_device(device)
    name, _, source = spec.partition(":")
    return EXTRACTORS[name](source, device) if name in EXTRACTORS else _user_extractor(spec, device)


def _inception(source: str, device: torch.device | str) -> Extractor:
    if not source:
        raise ValueError(f"inception needs weights: {REMEDY}")
    network = Inception.from_weights(source).to(device)

    def extract(images: Tensor) -> Extracted:
        with torch.inference_mode():
            outputs = network(images.to(device))
        return Extracted(_finite(outputs.features, "inception"), outputs.spatial, outputs.logits)

    return Extractor("inception", digest_files(weight_files(source, REMEDY)), RESIZER, extract)


def _dinov2(source: str, device: torch.device | str) -> Extractor:
    remedy = f"give dinov2:FOLDER, a copy of {DINOV2}, as dinov2:hub:owner/name, or none for the hub's own"
    try:
        encoder = open_vision(source or f"hub:{DINOV2}", device)
    except ValueError as error:
        raise ValueError(f"dinov2 does not open: {error}; {remedy}") from error
    if encoder.model_type != "dinov2":
        raise ValueError(f"{source} holds a model of type {encoder.model_type}, not dinov2; {remedy}")
    return Extractor(
        "dinov2",
        encoder.digest,
        encoder.resizer,
        lambda images: Extracted(_finite(encoder.class_token(images), "dinov2")),
    )


def _shufflenet(source: str, device: torch.device | str) -> Extractor:
    encoder = open_vision(f"{SHUFFLENET}:{source}", device)
    return Extractor(
        SHUFFLENET,
        encoder.digest,
        encoder.resizer,
        lambda images: Extracted(_finite(encoder(images).tokens.mean(1), SHUFFLENET)),
    )


EXTRACTORS: dict[str, Callable[[str, torch.device | str], Extractor]] = {
    "inception": _inception,
    "dinov2": _dinov2,
    SHUFFLENET: _shufflenet,
}
"""Extractors by name; any other spec names a user's file."""


def _user_extractor(spec: str, device: torch.device | str) -> Extractor:
    require_prefix(spec)
    is_python = spec.startswith(PREFIX)
    path = Path(spec.removeprefix(PREFIX).rpartition(":")[0] if is_python else spec).expanduser()
    if not (is_python or path.is_file()):
        raise ValueError(
            f"no feature extractor {spec!r}: give inception:PATH, dinov2:FOLDER, shufflenet:PATH, a TorchScript file "
            f"that exists, or python:FILE.py:FACTORY"
        )
    function: Any = from_file(spec) if is_python else _torchscript(path, device)
    digest = digest_source(spec) if is_python else digest_files([path])
    if not callable(function):
        raise ValueError(f"{spec} returned {type(function).__name__}, expected a function of images")
    if isinstance(function, nn.Module):
        function = function.to(device).eval()
        digest = digest_lines([digest, digest_weights(function)]) if is_python else digest
        function = _channels_last(function) if torch.device(device).type == "cpu" else function

    def extract(images: Tensor) -> Extracted:
        try:
            with torch.inference_mode():
                features = function(images.to(device))
        except Exception as error:  # a user's code may raise anything; TorchScript puts the reason into the last line
            why = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise ValueError(f"features {spec} failed on images {tuple(images.shape)}: {why}") from error
        is_tensor, n = isinstance(features, Tensor), len(images)
        if not (is_tensor and features.ndim == 2 and len(features) == n and features.is_floating_point()):
            what = f"{features.dtype} {tuple(features.shape)}" if is_tensor else type(features).__name__
            raise ValueError(f"features {spec} returned {what} for {n} images, expected floats ({n}, d)")
        return Extracted(_finite(features, spec))

    return Extractor(path.name, digest, NO_RESIZE, extract)


def _torchscript(path: Path, device: torch.device | str) -> nn.Module:
    try:
        return torch.jit.load(str(path), map_location=device)
    except (RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            raise
        # The first sentence says why; the next ones guess at causes, or quote the file's code.
        text = re.sub(r"^\[enforce fail[^]]*\][ .]*", "", " ".join(str(error).split()))
        why = re.split(r"\. |\.$", text)[0]
        raise ValueError(
            f"{path} does not open as TorchScript ({why}): save it again by torch.jit.save, or open it by "
            f"python:FILE.py:FACTORY"
        ) from error


def _channels_last(network: nn.Module) -> Callable[[Tensor], Any]:
    """Run a network with channels last, in which convolutions are faster on CPUs (bench/how_fast_are_features.py)."""
    layout = torch.channels_last
    network.to(memory_format=layout)  # type: ignore[call-overload]  # the stubs leave it out

    def run(images: Tensor) -> Any:
        nonlocal layout
        try:
            return network(images.contiguous(memory_format=layout))
        except RuntimeError:
            if layout == torch.contiguous_format:
                raise
            # A network may take views that only the usual layout allows.
            layout = torch.contiguous_format
            network.to(memory_format=layout)  # type: ignore[call-overload]
            return run(images)

    return run


def _finite(features: Tensor, name: str) -> Tensor:
    if not features.isfinite().all():
        raise ValueError(f"features {name} returned values that are not finite: check its weights")
    return features
