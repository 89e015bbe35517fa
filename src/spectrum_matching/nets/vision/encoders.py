"""Vision encoders, as targets to align with: images → tokens on a known grid, by transformers' models or by none.

Tokens are the last block's after the model's own norm, as REPA (arXiv 2410.06940) takes DINOv2's. CLIP's norm has seen
class tokens alone, so CLIP's are taken before it, as in REPA's code.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...files.digests import digest_files, digest_lines
from ...spectrum.filters import Resampler
from ..hub import download
from .gradients import CELL, VERSION, WIDTH, gradient_grid, gradient_map
from .pretrained import IMAGENET_MEAN, IMAGENET_STD, load_pretrained, standardised

RGB = tuple[float, float, float]
CONFIG, PREPROCESSING, INDEX = "config.json", "preprocessor_config.json", "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")  # as save_pretrained names them


class VisionTokens(NamedTuple):
    """tokens (b, n, d), float32, row by row; grid (h, w), n = h · w."""

    tokens: Tensor
    grid: tuple[int, int]

    @property
    def field(self) -> Tensor:
        """(b, d, h, w)"""
        return self.tokens.mT.unflatten(2, self.grid)


@dataclass(frozen=True)
class VisionEncoder:
    """Called, gives the tokens of square images (b, 3, H, W) in [-1, 1], on its device; ValueError for any others.

    Frozen, outside every graph, in float32 also under autocast. name: the spec it was opened by. digest: 16 hexadecimal
    digits of SHA-256 over the files that decide its tokens, size apart; without weights, over its formula and settings.
    width: d. resizer: how images reach its own size, and what is done to their values. device, cells (side → grid) and
    encode (images → tokens) are what it is made of.
    """

    name: str
    digest: str
    width: int
    resizer: str
    device: torch.device
    cells: Callable[[int], tuple[int, int]]
    encode: Callable[[Tensor], Tensor]

    def grid(self, side: int) -> tuple[int, int]:
        """(h, w) of square images of `side` pixels; ValueError where they do not fit."""
        return self.cells(side)

    def __call__(self, images: Tensor) -> VisionTokens:
        """ValueError unless images are floating, (b, 3, H, H), and fit."""
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"{self.name} got images {tuple(images.shape)}, expected square ones (b, 3, H, H)")
        if not images.is_floating_point():
            raise ValueError(f"{self.name} got images of {images.dtype}, expected floats in [-1, 1]")
        grid = self.grid(images.shape[-1])
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return VisionTokens(self.encode(images.to(self.device, torch.float32)), grid)


class _Kind(NamedTuple):
    """One of transformers' models: its class, and what it expects of pixels where the folder does not say.

    n_class: tokens before the registers, which the configuration counts. interpolates: position embeddings follow
    another size only when asked to. size: None for the configuration's image_size.
    """

    model: str
    resample: Resampler
    mean: RGB
    std: RGB
    n_class: int = 1
    interpolates: bool = False
    size: int | None = None


_CLIP = _Kind(
    "CLIPVisionModel",
    "bicubic",
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
    interpolates=True,
)
_SIGLIP = _Kind("SiglipVisionModel", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), n_class=0, interpolates=True)

# By the model_type of a folder's configuration. DINOv2 declares 518 pixels; REPA, iREPA and VA-VAE show it 224, and
# iREPA shows DINOv3 256: both then have 16 x 16 patches.
KINDS = {
    "dinov2": _Kind("Dinov2Model", "bicubic", IMAGENET_MEAN, IMAGENET_STD, size=224),
    "dinov2_with_registers": _Kind("Dinov2WithRegistersModel", "bicubic", IMAGENET_MEAN, IMAGENET_STD, size=224),
    "dinov3_vit": _Kind("DINOv3ViTModel", "bilinear", IMAGENET_MEAN, IMAGENET_STD, size=256),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
}

# PIL's numbers, as preprocessor_config.json has them.
_RESAMPLERS: dict[Any, Resampler] = {2: "bilinear", 3: "bicubic"}


def open_vision(spec: str, device: torch.device | str = "cpu", size: int | None = None) -> VisionEncoder:
    """`gradients` or `gradients:CELL` (pixels on a side, 8), a folder in transformers' format, or `hub:owner/name`.

    size: pixels on a side that the encoder sees; 224 for DINOv2, 256 for DINOv3, else what its configuration declares,
    rounded down to a multiple of its patch. Gradients see images as they are. ValueError in one line for whatever does
    not open.
    """
    name, _, cell = spec.partition(":")
    if name == "gradients":
        if size is not None:
            raise ValueError(f"{spec} sees images at their own size: leave size {size} out, or give gradients:CELL")
        return _gradients(spec, cell if ":" in spec else str(CELL), torch.device(device))
    return _pretrained(spec, torch.device(device), size)


def canonical(spec: str) -> str:
    """The same name for whatever opens the same encoder: the default cell and the whole path of a folder in full."""
    if spec == "gradients":
        return f"gradients:{CELL}"
    folder = Path(spec).expanduser()
    return str(folder.resolve()) if folder.exists() else spec


def _gradients(spec: str, text: str, device: torch.device) -> VisionEncoder:
    if not (text.isdecimal() and int(text)):
        raise ValueError(f"{spec!r}: the cell must be a whole number of pixels, as in gradients:{CELL}")
    cell = int(text)
    return VisionEncoder(
        name=spec,
        digest=digest_lines([f"gradients {VERSION} {cell}"]),
        width=WIDTH,
        resizer="none: images as they are",
        device=device,
        cells=lambda side: gradient_grid(side, side, cell),
        encode=lambda images: gradient_map(images, cell).flatten(2).mT,
    )


def _pretrained(spec: str, device: torch.device, size: int | None) -> VisionEncoder:
    folder = _folder(spec)
    kind = _kind(folder)
    resample, mean, std = _preprocessing(folder, kind)
    weights = sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))
    if not weights:
        raise ValueError(f"no {WEIGHTS[0]} in {folder}: pickled weights are not opened, save them as safetensors")
    model = load_pretrained(kind.model, folder, "a folder that save_pretrained wrote")
    patch = _side(model.config.patch_size, folder)
    shown = _shown(spec, size, patch, kind.size or _side(model.config.image_size, folder))
    model = model.to(device)
    n_leading = kind.n_class + getattr(model.config, "num_register_tokens", 0)
    options = {"interpolate_pos_encoding": True} if kind.interpolates else {}
    colours = [torch.tensor(colour, device=device).view(3, 1, 1) for colour in (mean, std)]

    def encode(images: Tensor) -> Tensor:
        tokens: Tensor = model(standardised(images, shown, resample, *colours), **options).last_hidden_state
        return tokens[:, n_leading:]

    files = [folder / CONFIG, folder / PREPROCESSING, *weights]
    return VisionEncoder(
        name=spec,
        digest=digest_files(file for file in files if file.is_file()),
        width=model.config.hidden_size,
        resizer=f"{resample} to {shown}, antialiased; mean {mean}, deviation {std}",
        device=device,
        cells=lambda side: (shown // patch, shown // patch),
        encode=encode,
    )


def _folder(spec: str) -> Path:
    if spec.startswith("hub:"):
        return download(spec.removeprefix("hub:"), (CONFIG, PREPROCESSING, INDEX, *WEIGHTS))
    folder = Path(spec).expanduser()
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{spec} is no folder with {CONFIG} of transformers: give that of a vision encoder, hub:owner/name, "
            f"or gradients, which needs no weights"
        )
    return folder


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{file} is not a JSON object: the download or copy is damaged")
    return found


def _kind(folder: Path) -> _Kind:
    model_type = _read(folder / CONFIG).get("model_type")
    if not isinstance(model_type, str) or model_type not in KINDS:
        raise ValueError(f"{folder} holds a model of type {model_type}: known vision encoders are {', '.join(KINDS)}")
    return KINDS[model_type]


def _preprocessing(folder: Path, kind: _Kind) -> tuple[Resampler, RGB, RGB]:
    """Resampler, mean and deviation: what the folder says, else the kind's."""
    file = folder / PREPROCESSING
    own = _read(file) if file.is_file() else {}
    number = own.get("resample")
    if number is not None and not (isinstance(number, int) and number in _RESAMPLERS):
        raise ValueError(f"{file} resamples by PIL's {number}: known are 2 (bilinear) and 3 (bicubic)")
    if (
        own.get("do_normalize") is False
        or own.get("do_rescale") is False
        or own.get("rescale_factor", 1 / 255) != 1 / 255
    ):
        raise ValueError(f"{file} asks for pixels that are not brought to 0 … 1 and normalised: no known encoder does")
    mean, std = (own.get(key) or value for key, value in (("image_mean", kind.mean), ("image_std", kind.std)))
    if not (_is_colour(mean) and _is_colour(std)):
        raise ValueError(f"{file} has image_mean {mean} and image_std {std}: expected three numbers each")
    return kind.resample if number is None else _RESAMPLERS[number], tuple(mean), tuple(std)


def _is_colour(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(each, int | float) for each in value)


def _side(declared: Any, folder: Path) -> int:
    """A configuration may give one number, or height and width."""
    sides = set(declared) if isinstance(declared, list | tuple) else {declared}
    if len(sides) > 1:
        raise ValueError(f"{folder} wants images or patches of {declared} pixels: only square ones are known")
    return int(sides.pop())


def _shown(spec: str, size: int | None, patch: int, declared: int) -> int:
    """Pixels on a side; ValueError unless they are a multiple of the patch, two patches at least."""
    shown = declared - declared % patch if size is None else size
    if shown % patch or shown < 2 * patch:
        below = max(shown // patch, 2) * patch
        nearest = f"{below} or {below + patch}" if shown > below else f"{below}"
        raise ValueError(f"{spec} has patches of {patch} pixels, which size {shown} does not fit: give size {nearest}")
    return shown
