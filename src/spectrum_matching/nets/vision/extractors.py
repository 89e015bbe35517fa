"""Feature extractors by name: what turns images into the vectors whose distributions are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...files.digests import digest_files, digest_lines, digest_weights
from .features import checked, load_features

NO_RESIZE = "none: the extractor takes images as they are"


class Extracted(NamedTuple):
    """Of one batch: features (b, d), and where the extractor has them spatial features (b, s) and logits (b, k)."""

    features: Tensor
    spatial: Tensor | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class Extractor:
    """Called, gives the features (b, d) of images (b, 3, H, W) in [-1, 1].

    digest: 16 hexadecimal digits of SHA-256 over the files of its weights; for a user's Python over its code, and its
    weights where it is a module. resizer: how images reach its own size, and what is done to their values.
    """

    name: str
    digest: str
    resizer: str
    extract: Callable[[Tensor], Extracted]

    def __call__(self, images: Tensor) -> Tensor:
        return self.extract(images).features


def open_extractor(spec: str, device: torch.device | str = "cpu") -> Extractor:
    """`inception:PATH`, `dinov2:FOLDER` (or `…:hub:owner/name`), a TorchScript file, or `python:FILE.py:FACTORY`.

    `dinov2` alone is that of the hub; Inception's weights are on no hub repository of their makers, so that `inception`
    alone says what to download. ValueError in one line for whatever does not open.
    """
    name, _, source = spec.partition(":")
    if name == "inception":
        return _inception(source, device)
    if name == "dinov2":
        return _dinov2(source, device)
    return _own(spec, device)


def _own(spec: str, device: torch.device | str) -> Extractor:
    is_python = spec.startswith("python:")
    path = Path(spec.removeprefix("python:").rpartition(":")[0] if is_python else spec).expanduser()
    if not path.is_file():
        raise ValueError(
            f"no feature extractor {spec!r}: give inception:PATH, dinov2:FOLDER, a TorchScript file that exists, or "
            f"python:FILE.py:FACTORY"
        )
    extract = load_features(spec if is_python else str(path), device)
    digest = digest_files([path])
    if is_python and isinstance(extract, nn.Module):
        digest = digest_lines([digest, digest_weights(extract)])
    features = checked(extract, spec, device)
    return Extractor(path.name, digest, NO_RESIZE, lambda images: Extracted(features(images)))


def _inception(source: str, device: torch.device | str) -> Extractor:
    from .inception import RESIZER, WEIGHTS, Inception, weights_file

    if not source:
        raise ValueError(
            f"inception needs weights: download {WEIGHTS} (the release fid_weights of mseitzer/pytorch-fid on GitHub) "
            f"and give inception:PATH"
        )
    path = weights_file(source)
    network = Inception.from_weights(path).to(device)

    def extract(images: Tensor) -> Extracted:
        with torch.inference_mode():
            found = network(images.to(device))
        return Extracted(_finite(found.features, "inception"), found.spatial, found.logits)

    return Extractor("inception", digest_files([path]), RESIZER, extract)


def _dinov2(source: str, device: torch.device | str) -> Extractor:
    from .dinov2 import FILES, NAME, RESIZER, DINOv2, weights_folder

    folder = weights_folder(source or f"hub:{NAME}")
    network = DINOv2.from_weights(folder).to(device)

    def extract(images: Tensor) -> Extracted:
        with torch.inference_mode():
            return Extracted(_finite(network(images.to(device)), "dinov2"))

    files = [folder / name for name in FILES if (folder / name).is_file()]
    return Extractor("dinov2", digest_files(files), RESIZER, extract)


def _finite(features: Tensor, name: str) -> Tensor:
    if not features.isfinite().all():
        raise ValueError(f"{name} returned features that are not finite: look at its weights")
    return features
