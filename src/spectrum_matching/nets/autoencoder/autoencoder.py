"""One interface for every image autoencoder: images to a Gaussian posterior, latents to images."""

import difflib
import json
import math
from pathlib import Path
from typing import Any, Literal, Self

import torch
from diffusers.models import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior
from torch import Tensor, nn

from ..folders import CONFIG
from . import custom, diffusers_classes
from .interface import Layers, layers_of
from .loading import load


def _kl(widths: tuple[int, ...], channels: int, **others: Any) -> dict[str, Any]:
    return {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "latent_channels": channels,
        "layers_per_block": 2,
        "scaling_factor": 1.0,
        "sample_size": 256,
        **others,
    }


# f8d4 and f16d16 have the widths of the paper's official configurations; the others follow the latent
# diffusion family of the same factor (Rombach et al., 2022). `tiny` is sized for training on two CPU cores.
PRESETS: dict[str, dict[str, Any]] = {
    "f4d4": _kl((128, 256, 512), 4),
    "f8d4": _kl((128, 256, 512, 512), 4),
    "f8d16": _kl((128, 256, 512, 512), 16),
    "f16d16": _kl((128, 128, 256, 256, 512), 16),
    "f16d32": _kl((128, 128, 256, 256, 512), 32),
    "f32d64": _kl((128, 128, 256, 256, 512, 512), 64),
    "tiny": _kl((16, 32, 64), 8, layers_per_block=1, norm_num_groups=8, mid_block_add_attention=False, sample_size=64),
}


class Autoencoder(nn.Module):
    """Images (b, 3, H, W) in [-1, 1] to latents (b, channels, H / factor, W / factor) and back.

    model: an autoencoder of diffusers, or any object as described in `custom`; it is neither moved nor changed.
    kind: its class. multiple: the sides of images are multiples of it. size: the only side that it takes, if there is
    one. is_stochastic: whether latents have a variance.

    Latents are raw. `latent_space` is the declared transform to unit scale, and nothing here applies it. A null in a
    configuration means scale 1 and shift 0; a config.json without `scaling_factor` means its class's default, as in
    diffusers. pipeline: the class of the diffusion pipeline that the model comes from, some of which scale latents in
    another way than its configuration says.
    """

    def __init__(self, model: Any, pipeline: str = "") -> None:
        super().__init__()
        if type(model).__name__ == "OptimizedModule":  # torch.compile's, whose encode and decode are the original's
            model = model._orig_mod
        self.model = model
        if not isinstance(model, nn.Module):
            self.parts = custom.modules_of(model)
        name = diffusers_classes.class_name(model)
        self.kind = name or type(model).__name__
        self._adapter = adapter = (
            diffusers_classes.adapter_of(model, name, pipeline) if name else custom.adapter_of(model, self)
        )
        self._counts_from_zero = adapter.image_range == (0.0, 1.0)
        self.factor, self.channels = adapter.factor, adapter.channels
        self.multiple, self.size = adapter.multiple, adapter.size
        self.is_stochastic = adapter.is_stochastic
        self.latent_space = adapter.latent_space

    def encode(self, images: Tensor) -> Posterior:
        """Return the posterior of images (b, 3, H, W) in [-1, 1] in float32 or wider; the range is not checked.

        Its logvar is -30 unless `is_stochastic`.

        Raises:
            ValueError: unless there are three channels and H and W are multiples of `multiple` (or are `size`), or if
                the model's latents are not of the expected shape.
        """
        *_, height, width = sides = images.shape[2:] if images.ndim == 4 else (0, 0)
        fits = height == width == self.size if self.size else not any(n == 0 or n % self.multiple for n in sides)
        if images.ndim != 4 or images.shape[1] != 3 or not fits:
            which = f"H = W = {self.size}" if self.size else f"H and W multiples of {self.multiple}"
            raise ValueError(
                f"images are {tuple(images.shape)}; expected (b, 3, H, W) with {which}: crop or resize them"
            )
        inputs = images.to(self.dtype)
        if self._counts_from_zero:
            inputs = inputs / 2 + 0.5
        posterior = self._adapter.encode(self.model, inputs)
        expected = (len(images), self.channels, height // self.factor, width // self.factor)
        self._require_shape("encode", posterior.mean, expected)
        return posterior

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (b, 3, h · factor, w · factor) of raw latents (b, channels, h, w).

        Raises:
            ValueError: for any other shape; a model with a `size` decodes that grid alone.
        """
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(f"latents are {tuple(latents.shape)}; this autoencoder decodes (b, {self.channels}, h, w)")
        b, _, h, w = latents.shape
        if self.size and not h == w == self.size // self.factor:
            raise ValueError(
                f"latents are {tuple(latents.shape)}; this autoencoder decodes h = w = {self.size // self.factor} alone"
            )
        images = self._adapter.decode(self.model, latents.to(self.dtype))
        self._require_shape("decode", images, (b, 3, h * self.factor, w * self.factor))
        return images * 2 - 1 if self._counts_from_zero else images

    @property
    def layers(self) -> Layers:
        """The layers that training tells apart; ValueError for a class that cannot be trained."""
        return layers_of(self.kind, self.model)

    def train_only(self, part: Literal["all", "decoder"]) -> None:
        """Freeze all that is not `part`: for "decoder" all that makes the posterior, for "all" nothing.

        Raises:
            ValueError: for a class that cannot be trained.
        """
        layers = self.layers
        self.model.requires_grad_(True)
        for module in (layers.encoder, layers.quant_conv) if part == "decoder" else ():
            if module is not None:
                module.requires_grad_(False)

    @classmethod
    def from_preset(cls, name: str, seed: int = 0) -> Self:
        """Return a new autoencoder of `PRESETS` on the CPU; its weights depend on the seed alone.

        Raises:
            ValueError: for an unknown name.
        """
        if name not in PRESETS:
            nearest_first = difflib.get_close_matches(name, PRESETS, n=len(PRESETS), cutoff=0.0)
            raise ValueError(f"no preset {name!r}: the presets are {', '.join(nearest_first)}")
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)
            return cls(AutoencoderKL(**PRESETS[name]))

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """Open an autoencoder in float32.

        source: a folder of diffusers, of an autoencoder or a pipeline; a hub name; a .safetensors file in the layout of
        latent diffusion; or "python:FILE.py:FACTORY", whose code is run. Nothing is unpickled.

        Raises:
            ValueError: naming the source and the remedy, for anything that does not open.
        """
        return cls(*load(source))

    def save_pretrained(self, folder: str | Path, scaling_factor: float | None = None) -> None:
        """Write config.json and safetensors for `from_pretrained` of the model's class in diffusers.

        scaling_factor, if given, replaces that of the configuration: diffusion models take (latents - shift) · scale.

        Raises:
            ValueError: for a class that cannot be trained.
        """
        layers_of(self.kind, self.model)
        self.model.save_pretrained(folder, safe_serialization=True)
        path = Path(folder) / CONFIG
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # the folder from which these weights were once read
        if scaling_factor is not None:
            config["scaling_factor"] = scaling_factor
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights; float32 without any."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)

    def _require_shape(self, verb: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
        if tensor.shape != expected:
            raise ValueError(f"{self.kind}.{verb} gave {tuple(tensor.shape)}, expected {expected}")


def open_autoencoder(source: str, device: torch.device) -> Autoencoder:
    """Open an autoencoder on the device, frozen, in eval mode."""
    return Autoencoder.from_pretrained(source).to(device).eval().requires_grad_(False)


def check_size(name: str, codec: Autoencoder, size: int, smallest: int = 1) -> None:
    """Check that the autoencoder takes images of this side and makes latents of at least 3 x 3 positions.

    smallest: side in pixels that whatever measures the images needs, such as SSIM's window.

    Raises:
        ValueError: otherwise, with the nearest size that serves.
    """
    if codec.size and size != codec.size:
        raise ValueError(f"{name} takes images of {codec.size} x {codec.size} pixels alone: take --size {codec.size}")
    least = math.ceil(max(3 * codec.factor, smallest) / codec.multiple) * codec.multiple
    if size % codec.multiple:
        nearest = max(least, round(size / codec.multiple) * codec.multiple)
        raise ValueError(f"{name}: size {size} is not a multiple of {codec.multiple}, as it must be; {nearest} is one")
    if size < least:
        raise ValueError(f"{name}: size {size} is too small for spectra or image metrics; take {least} or more")
