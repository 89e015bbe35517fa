"""Vision encoders, from images to tokens on a grid: transformers' models, ShuffleNetV2, or histograms of gradients.

Tokens are the last block's after the model's own norm, as REPA (arXiv 2410.06940) takes DINOv2's. CLIP's norm is
trained on class tokens alone, so CLIP's tokens are taken before it, as in REPA's code.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ...files.digests import digest_files, digest_lines
from ...files.settings import validate
from ...processes import usable_device
from ...spectrum.filters import Resampler, resize
from ..folders import CONFIG, download, load_folder, read_config
from . import shufflenet
from .gradients import CELL, VERSION, WIDTH, gradient_grid, gradient_map
from .weights import weight_files

RGB = tuple[float, float, float]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU_BATCH = 8
"""Images that a network takes at once on a CPU: activations of more overflow its caches."""

PREPROCESSING, INDEX, WEIGHTS = "preprocessor_config.json", "model.safetensors.index.json", "model*.safetensors"


class VisionTokens(NamedTuple):
    """tokens (b, n, d), float32, row by row; grid (h, w), n = h · w."""

    tokens: Tensor
    grid: tuple[int, int]

    @property
    def field(self) -> Tensor:
        """The tokens as a field (b, d, h, w)."""
        return self.tokens.mT.unflatten(2, self.grid)


@dataclass(frozen=True)
class VisionEncoder:
    """A frozen function from square images (b, 3, H, H) in [-1, 1] to their tokens, on its device and without a graph.

    It computes in float32, also under autocast.

    name: the spec it was opened by. digest: of the files that decide its tokens, whatever its input size; without
    weights, of its formula and settings. width: d. resizer: how images are resized to its input size, and their values
    normalised. grid: from the side of an image in pixels to the grid (h, w) of its tokens; ValueError if it does not
    fit. encode: from images to all tokens, the first `n_leading` of which are class and register tokens. model_type:
    that of transformers' configuration, if any.
    """

    name: str
    digest: str
    width: int
    resizer: str
    device: torch.device
    grid: Callable[[int], tuple[int, int]]
    encode: Callable[[Tensor], Tensor]
    n_leading: int = 0
    model_type: str = ""

    def __call__(self, images: Tensor) -> VisionTokens:
        """Return the tokens of patches.

        Raises:
            ValueError: unless images are floating, (b, 3, H, H), and fit the grid.
        """
        return VisionTokens(self._all_tokens(images)[:, self.n_leading :], self.grid(images.shape[-1]))

    def class_token(self, images: Tensor) -> Tensor:
        """Return the first token (b, d): the class token of a model that has one."""
        return self._all_tokens(images)[:, 0]

    def _all_tokens(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"{self.name} got images {tuple(images.shape)}, expected square ones (b, 3, H, H)")
        if not images.is_floating_point():
            raise ValueError(f"{self.name} got images of {images.dtype}, expected floats in [-1, 1]")
        self.grid(images.shape[-1])
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.encode(images.to(self.device, torch.float32))


class _Kind(NamedTuple):
    """One of transformers' models: its class, and how pixels are prepared for it where the folder does not say.

    n_class: class tokens, to which the registers that the configuration counts are added. interpolates: whether the
    model has to be told to resize its position embeddings. size: None for the configuration's image_size.
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

# By the model_type of a folder's configuration. DINOv2 declares 518 pixels; REPA, iREPA and VA-VAE give it 224, and
# iREPA gives DINOv3 256: both then have 16 x 16 patches.
KINDS = {
    "dinov2": _Kind("Dinov2Model", "bicubic", IMAGENET_MEAN, IMAGENET_STD, size=224),
    "dinov2_with_registers": _Kind("Dinov2WithRegistersModel", "bicubic", IMAGENET_MEAN, IMAGENET_STD, size=224),
    "dinov3_vit": _Kind("DINOv3ViTModel", "bilinear", IMAGENET_MEAN, IMAGENET_STD, size=256),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
}


class Recipe(NamedTuple):
    """How a published code gives images in [-1, 1] to DINOv2; `normalises`: by ImageNet's mean and deviation first.

    Pixels are resampled without antialiasing and not clamped.
    """

    resample: Resampler
    normalises: bool


RECIPES = {"repa": Recipe("bicubic", normalises=True), "va_vae": Recipe("bilinear", normalises=False)}
"""REPA (arXiv 2410.06940), as iREPA; VA-VAE (arXiv 2501.01423), whose encoder sees values in [-1, 1]."""

SHUFFLENET = "shufflenet"

_RESAMPLERS: dict[int | None, Resampler] = {2: "bilinear", 3: "bicubic"}  # by PIL's numbers


@dataclass(frozen=True)
class _Preprocessing:
    """What preprocessor_config.json may say, where it says anything: pixels are scaled to 0 … 1 and normalised."""

    resample: Literal[2, 3] | None = None
    image_mean: RGB | None = None
    image_std: RGB | None = None
    do_normalize: Literal[True] | None = None
    do_rescale: Literal[True] | None = None
    rescale_factor: Annotated[float, Field(ge=1 / 255, le=1 / 255)] | None = None


def open_vision(spec: str, device: torch.device | str = "cpu", size: int | None = None) -> VisionEncoder:
    """Open `gradients[:CELL]`, `shufflenet:PATH`, a folder in transformers' format, or `hub:owner/name`.

    CELL: pixels on a side, 8. PATH: the file of ShuffleNetV2's weights. `repa:` or `va_vae:` before a DINOv2's folder
    or name prepares images as these codes do, and resamples the position embeddings once, antialiased, as timm does;
    see `RECIPES`.

    size: side of the encoder's input in pixels; 224 for DINOv2 and ShuffleNetV2, 256 for DINOv3, else that of its
    configuration, rounded down to a multiple of its patch. Gradients take images at their own size.

    Raises:
        ValueError: in one line, if it does not open, or for a device that is not here.
    """
    device = usable_device(device)
    name, _, rest = spec.partition(":")
    if name == "gradients":
        if size is not None:
            raise ValueError(f"{spec} takes images at their own size: leave size {size} out, or give gradients:CELL")
        return _gradients(spec, rest if ":" in spec else str(CELL), device)
    if name == SHUFFLENET:
        return _shufflenet(spec, rest, device, size)
    if name in RECIPES:
        return _pretrained(spec, device, size, spec.removeprefix(f"{name}:"), RECIPES[name])
    return _pretrained(spec, device, size, spec, None)


def canonical(spec: str) -> str:
    """Return one name for all specs of an encoder: with the default cell, and the full path of a folder or file."""
    if spec == "gradients":
        return f"gradients:{CELL}"
    before = next((f"{name}:" for name in (*RECIPES, SHUFFLENET) if spec.startswith(f"{name}:")), "")
    path = Path(spec.removeprefix(before)).expanduser()
    return f"{before}{path.resolve()}" if path.exists() else spec


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
        grid=lambda side: gradient_grid(side, side, cell),
        encode=lambda images: gradient_map(images, cell).flatten(2).mT,
    )


def _shufflenet(spec: str, path: str, device: torch.device, size: int | None) -> VisionEncoder:
    if not path:
        raise ValueError(f"{spec} needs weights: {shufflenet.REMEDY}")
    side = _input_side(spec, size, shufflenet.PATCH, shufflenet.SIDE)
    network = shufflenet.ShuffleNet.from_weights(path).to(device)
    if device.type == "cpu":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return VisionEncoder(
        name=spec,
        digest=digest_files(weight_files(path, shufflenet.REMEDY)),
        width=shufflenet.WIDTH,
        resizer=f"bilinear to {side}, antialiased; {shufflenet.PREPARATION}",
        device=device,
        grid=lambda _: (side // shufflenet.PATCH, side // shufflenet.PATCH),
        encode=_in_batches(lambda images: network(resize(images, (side, side), "bilinear")).flatten(2).mT),
    )


def _pretrained(spec: str, device: torch.device, size: int | None, source: str, recipe: Recipe | None) -> VisionEncoder:
    folder = _folder(source)
    model_type = read_config(folder / CONFIG).get("model_type")
    if not isinstance(model_type, str) or model_type not in KINDS:
        raise ValueError(f"{folder} holds a model of type {model_type}: known vision encoders are {', '.join(KINDS)}")
    kind, file = KINDS[model_type], folder / PREPROCESSING
    settings = validate(_Preprocessing(), read_config(file) if file.is_file() else {}, str(file))
    resample = _RESAMPLERS.get(settings.resample, kind.resample)
    mean, std = settings.image_mean or kind.mean, settings.image_std or kind.std
    model = _load(kind.model, folder)
    patch = _square_side(model.config.patch_size, folder)
    side = _input_side(spec, size, patch, kind.size or _square_side(model.config.image_size, folder))
    if recipe is not None:
        if not model_type.startswith("dinov2"):
            raise ValueError(f"{spec} prepares images for DINOv2, and {folder} holds a model of type {model_type}")
        _resample_positions(model, side // patch)
    model = model.to(device)
    options = {"interpolate_pos_encoding": True} if kind.interpolates else {}
    shift, scale = (torch.tensor(values, device=device).view(3, 1, 1) for values in (mean, std))

    def prepare(images: Tensor) -> Tensor:
        if recipe is None:
            return (((resize(images, (side, side), resample) + 1) / 2).clamp(0, 1) - shift) / scale
        values = ((images + 1) / 2 - shift) / scale if recipe.normalises else images
        return resize(values, (side, side), recipe.resample, antialias=False)

    def encode(images: Tensor) -> Tensor:
        tokens: Tensor = model(prepare(images), **options).last_hidden_state
        return tokens

    resizer = f"{resample} to {side}, antialiased; mean {mean}, deviation {std}"
    if recipe is not None:
        values = f"mean {mean}, deviation {std}" if recipe.normalises else "values in [-1, 1]"
        resizer = f"{recipe.resample} to {side}, not antialiased, positions antialiased; {values}"
    files = [folder / CONFIG, file, *sorted(folder.glob(WEIGHTS))]
    digest = digest_files(file for file in files if file.is_file())
    return VisionEncoder(
        name=spec,
        digest=digest if recipe is None else digest_lines([digest, spec.partition(":")[0]]),
        width=model.config.hidden_size,
        resizer=resizer,
        device=device,
        model_type=model_type,
        n_leading=kind.n_class + getattr(model.config, "num_register_tokens", 0),
        grid=lambda _: (side // patch, side // patch),
        encode=_in_batches(encode),
    )


def _in_batches(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Let a function take `CPU_BATCH` images at once on a CPU."""

    def encode_all(images: Tensor) -> Tensor:
        if images.device.type != "cpu" or len(images) <= CPU_BATCH:
            return encode(images)
        return torch.cat([encode(batch) for batch in images.split(CPU_BATCH)])

    return encode_all


def _resample_positions(model: Any, side: int) -> None:
    """Resample DINOv2's position embeddings to side × side patches, bicubic and antialiased, as timm does."""
    positions = model.embeddings.position_embeddings
    classes, patches = positions.data[:, :1], positions.data[:, 1:]
    field = patches.mT.unflatten(2, (math.isqrt(patches.shape[1]),) * 2)
    resampled = resize(field, (side, side), "bicubic", antialias=True)
    positions.data = torch.cat([classes, resampled.flatten(2).mT], dim=1)


def _folder(spec: str) -> Path:
    if spec.startswith("hub:"):
        return download(spec.removeprefix("hub:"), (CONFIG, PREPROCESSING, INDEX, WEIGHTS))
    folder = Path(spec).expanduser()
    if not (folder / CONFIG).is_file():
        hint = " (did you mean gradients?)" if get_close_matches(spec.partition(":")[0], ["gradients"]) else ""
        raise ValueError(
            f"{spec} is not a folder with {CONFIG} of transformers{hint}: give what save_pretrained wrote, or "
            f"hub:owner/name"
        )
    return folder


def _load(model: str, folder: Path) -> Any:
    """Return transformers' class of that name, frozen; weights of other parts of a larger model are ignored."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"{folder} needs transformers: pip install 'spectrum-matching[vision]'") from error
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it lists all weights that are ignored
    try:
        return load_folder(getattr(transformers, model), folder, WEIGHTS).requires_grad_(False)
    finally:
        logger.setLevel(level)


def _square_side(declared: Any, folder: Path) -> int:
    """Return the side of a square that a configuration declares by one number, or by height and width."""
    sides = set(declared) if isinstance(declared, list | tuple) else {declared}
    if len(sides) > 1:
        raise ValueError(f"{folder} wants images or patches of {declared} pixels: only square ones are known")
    return int(sides.pop())


def _input_side(spec: str, size: int | None, patch: int, declared: int) -> int:
    """Return the side in pixels; ValueError unless it is a multiple of the patch, two patches at least."""
    side = declared - declared % patch if size is None else size
    if side % patch or side < 2 * patch:
        below = max(side // patch, 2) * patch
        nearest = f"{below} or {below + patch}" if side > below else f"{below}"
        raise ValueError(f"{spec} has patches of {patch} pixels, which size {side} does not fit: give size {nearest}")
    return side
