"""One interface for every image autoencoder: images to a Gaussian posterior, latents to images."""

import difflib
import json
import math
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from ...files.digests import digest_lines, digest_tensors, digest_weights
from ...latent_space import LatentSpace
from ...methods.method import Term
from ...methods.models import Gaussian, unwrap
from ..folders import CONFIG
from ..python_files import PREFIX, digest_source, explain_user_errors
from . import custom, diffusers_classes
from .interface import eval_mode, tile_side
from .layers import DECODING, Layers, find_layers
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
    """Images (b, image_channels, H, W) in [-1, 1] to latents (b, channels, H / factor, W / factor) and back.

    model: an autoencoder of diffusers, or any object as described in `custom`, also in wrappers that compile or
    distribute it; it is neither moved nor changed.
    kind: its class. is_of_diffusers: whether that is one of diffusers. image_range: of the images that the model itself
    takes and returns. multiple: the sides of images are multiples of it. size: the only side that it takes, if there is
    one. is_stochastic: whether latents have a variance.

    Latents are raw. `latent_space` is the declared transform to unit scale, and nothing here applies it. A null in a
    configuration means scale 1 and shift 0; a config.json without `scaling_factor` means its class's default, as in
    diffusers. pipeline: the class of the diffusion pipeline that the model comes from, some of which scale latents in
    another way than its configuration says. image_channels: 3 for RGB; where given, of a user's object
    that does not say its own.
    """

    def __init__(self, model: Any, pipeline: str = "", image_channels: int = 3) -> None:
        super().__init__()
        self.model = model = unwrap(model)
        self._beside: tuple[str, ...] = ()  # digests of what decides its output beside its weights
        if not isinstance(model, nn.Module):
            self.parts = custom.modules_of(model)
            self._beside += tuple(digest_tensors({name: each}) for name, each in custom.tensors_of(model).items())
        name = diffusers_classes.class_name(model)
        self.kind, self.is_of_diffusers = name or type(model).__name__, name is not None
        if name:
            adapter = diffusers_classes.adapter_of(model, name, pipeline)
        else:
            adapter = custom.adapter_of(model, self, image_channels)
        self._adapter = adapter
        self.image_range = adapter.image_range
        self.factor, self.channels = adapter.factor, adapter.channels
        self.image_channels, self.multiple, self.size = adapter.image_channels, adapter.multiple, adapter.size
        self.is_stochastic = adapter.is_stochastic
        self.latent_space = adapter.latent_space

    def encode(self, images: Tensor) -> Gaussian:
        """Return the posterior of images (b, image_channels, H, W) in [-1, 1] in float32 or wider.

        The range is not checked. The posterior's logvar is -30 unless `is_stochastic`.

        Raises:
            ValueError: for other channels, unless H and W are multiples of `multiple` (or are `size`), or if
                the model's latents are not of the expected shape.
        """
        *_, height, width = sides = images.shape[2:] if images.ndim == 4 else (0, 0)
        fits = height == width == self.size if self.size else not any(n == 0 or n % self.multiple for n in sides)
        if images.ndim != 4 or images.shape[1] != self.image_channels or not fits:
            which = f"H = W = {self.size}" if self.size else f"H and W multiples of {self.multiple}"
            what = f"images are {tuple(images.shape)}; expected (b, {self.image_channels}, H, W) with {which}"
            raise ValueError(f"{what}: crop or resize them")
        inputs = images.to(self.dtype)
        if self.image_range == (0.0, 1.0):
            inputs = inputs / 2 + 0.5
        expected = (self.channels, height // self.factor, width // self.factor)
        posteriors = []
        for part in self._parts(inputs):
            with self._explained("encode"):
                posteriors.append(self._adapter.encode(self.model, part))
                self._require_shape("encode", posteriors[-1].mean, (len(part), *expected))
        if len(posteriors) == 1:
            return posteriors[0]
        mean, logvar = (torch.cat([getattr(each, name) for each in posteriors]) for name in ("mean", "logvar"))
        is_own = any(each.own for each in posteriors)
        own = (lambda generator: torch.cat([each.sample(generator) for each in posteriors])) if is_own else None
        return Gaussian(mean, logvar, posteriors[0].is_certain, own)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (b, image_channels, h · factor, w · factor) of raw latents (b, channels, h, w).

        Raises:
            ValueError: for any other shape; a model with a `size` decodes that grid alone.
        """
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(f"latents are {tuple(latents.shape)}; this autoencoder decodes (b, {self.channels}, h, w)")
        h, w = latents.shape[2:]
        if self.size and not h == w == self.size // self.factor:
            raise ValueError(
                f"latents are {tuple(latents.shape)}; this autoencoder decodes h = w = {self.size // self.factor} alone"
            )
        decoded = []
        for part in self._parts(latents.to(self.dtype)):
            with self._explained("decode"):
                decoded.append(self._adapter.decode(self.model, part))
                shape = len(part), self.image_channels, h * self.factor, w * self.factor
                self._require_shape("decode", decoded[-1], shape)
        images = torch.cat(decoded) if len(decoded) > 1 else decoded[0]
        return images * 2 - 1 if self.image_range == (0.0, 1.0) else images

    def _parts(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return what of a batch runs at once: one image where a class takes no more, and in tiles, to save memory."""
        return batch.split(1) if self._adapter.single or self.tile else (batch,)

    def _explained(self, verb: str) -> AbstractContextManager[None]:
        """Name the tiles in what the model raises while it runs in them."""
        what = f"{self.kind}.{verb} fails in its tiles of {self.tile} pixels, without which it may run"
        return explain_user_errors(what) if self.tile else nullcontext()

    @property
    def tile(self) -> int | None:
        """Side in pixels of the tiles in which larger images are encoded and decoded; None where they are whole."""
        return tile_side(self.model) if getattr(self.model, "use_tiling", False) else None

    def enable_tiling(self) -> None:
        """Encode and decode in the model's own tiles, one image at a time, so that large images need less memory.

        Values near the borders of tiles differ from those of whole images.

        Raises:
            ValueError: if the model has no tiles, or they save nothing.
        """
        switch = getattr(self.model, "enable_tiling", None)
        why = self._adapter.untiled
        if why or not callable(switch) or not hasattr(self.model, "use_tiling") or not tile_side(self.model):
            raise ValueError(
                f"{self.kind} cannot encode and decode in tiles{f': {why}' if why else ''}; leave tiling out, "
                f"and lower the batch size"
            )
        switch()

    @cached_property
    def layers(self) -> Layers:
        """The layers that training tells apart, found by running the model once where it is."""

        def encode() -> tuple[Tensor, Tensor | None]:
            posterior = self.encode(self._grey(device))
            return posterior.mean, posterior.logvar if self.is_stochastic else None

        def decode(latents: Tensor) -> Tensor:
            own = [term.loss(None, latents, None) for term in self.terms]  # type: ignore[arg-type]
            return torch.stack([self.decode(latents).float().sum(), *own]).sum()

        with eval_mode(self, None) as device:
            return find_layers(self.model, self, encode, decode)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Losses on its latents that belong to the model, such as those of a codebook; they use latents alone."""
        return self._adapter.terms

    def train_only(self, part: Literal["all", "decoder"], *, variance: bool = True) -> None:
        """Set what is trained: all that has a gradient, or of that only what decoding alone runs.

        The rest is frozen and in eval mode, so that its statistics stay as they are too. variance: whether the training
        uses the variance of the latents; otherwise layers of the variance alone are frozen, since a distributed wrapper
        waits for a gradient of each parameter that is trained.

        Raises:
            ValueError: with the remedy, for a part that cannot be trained.
        """
        layers = self.layers
        decoder = layers.decoder
        if part == "all" and (self._adapter.fixed_encoder or len(decoder) == len(layers.trained)):
            why = self._adapter.fixed_encoder or "nothing in it has a gradient"
            raise ValueError(f"the encoder of this {self.kind} is not trained: {why}; set network.train to decoder")
        if part == "decoder" and not decoder:
            names = ", ".join(DECODING)
            raise ValueError(
                f"this {self.kind} has no network to train among the attributes {names}; set network.train to all"
            )
        everything = layers.trained + (layers.variance if variance else ())
        chosen = {id(p) for p in (decoder if part == "decoder" else everything)}
        for p in self.parameters():
            p.requires_grad_(id(p) in chosen)
        self.eval()
        for network in layers.decoding if part == "decoder" else (self,):
            network.train()

    def checkpoint_gradients(self) -> None:
        """Compute activations again in the backward pass, in place of keeping them, by the model's own switch.

        Raises:
            ValueError: if it has none.
        """
        switch = getattr(self.model, "enable_gradient_checkpointing", None)
        if not callable(switch) or not getattr(self.model, "_supports_gradient_checkpointing", True):
            raise ValueError(
                f"{self.kind} has no gradient checkpointing: leave gradient_checkpointing out, and raise accumulation"
            )
        plain = self._trial()
        switch()
        if not torch.allclose(self._trial(), plain, rtol=1e-4, atol=1e-4):  # of AutoencoderTiny in diffusers 0.42
            self.model.disable_gradient_checkpointing()
            raise ValueError(
                f"with gradient checkpointing this {self.kind} gives other numbers, a fault of its class: leave "
                f"gradient_checkpointing out, and raise accumulation"
            )

    def _trial(self) -> Tensor:
        """Return the latents and the reconstruction of a grey image, run as in training, as one vector."""
        with eval_mode(self, None) as device, torch.inference_mode(False), torch.enable_grad():
            latents = self.encode(self._grey(device)).mean
            return torch.cat([latents.flatten(), self.decode(latents).flatten()]).detach()

    def _grey(self, device: torch.device) -> Tensor:
        side = self.size or -(-custom.TRIAL_SIZE // self.multiple) * self.multiple
        return torch.zeros(1, self.image_channels, side, side, device=device)

    def require_saving(self) -> None:
        """Check that the model writes itself.

        Raises:
            ValueError: if an object has no `save_pretrained`.
        """
        if not callable(getattr(self.model, "save_pretrained", None)):
            raise ValueError(
                f"{self.kind} has no save_pretrained(folder), by which what was trained is exported: give it one"
            )

    def declare(self, latent_space: LatentSpace) -> None:
        """Let the model declare this scale of its latents, where its own format has a place for it."""
        self._adapter.declare(self.model, latent_space)
        self.latent_space = latent_space

    def declaration(self, latent_space: LatentSpace) -> str:
        """Return how the model's own format declares a scale, as a line of configuration or code."""
        return self._adapter.declaration(self.model, latent_space)

    @classmethod
    def from_preset(cls, name: str, seed: int = 0) -> Self:
        """Return a new autoencoder of `PRESETS` on the CPU; its weights depend on the seed alone.

        Raises:
            ValueError: for an unknown name.
        """
        if name not in PRESETS:
            nearest_first = difflib.get_close_matches(name, PRESETS, n=len(PRESETS), cutoff=0.0)
            raise ValueError(f"no preset {name!r}: the presets are {', '.join(nearest_first)}")
        from diffusers.models import AutoencoderKL

        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)
            return cls(AutoencoderKL(**PRESETS[name]))

    @classmethod
    def from_pretrained(cls, source: str | Path, *, tiling: bool = False) -> Self:
        """Open an autoencoder in float32.

        source: a folder of diffusers, of an autoencoder or a pipeline; a run directory of `train-ae`; a hub name; a
        .safetensors file in the layout of latent diffusion; or "python:FILE.py:FACTORY", whose code is run. Nothing is
        unpickled. tiling: encode and decode in its own tiles, see `enable_tiling`.

        Raises:
            ValueError: naming the source and the remedy, for anything that does not open, and for tiling without tiles.
        """
        loaded = load(source)
        opened = cls(loaded.model, loaded.pipeline)
        if str(source).startswith(PREFIX):
            opened._beside += (digest_source(str(source)),)
        if opened.image_channels != 3:
            what = f"{source} encodes images of {opened.image_channels} channels, and files are read as RGB"
            raise ValueError(f"{what}: in Python, analyze(model, images) measures it on a tensor")
        if tiling:
            opened.enable_tiling()
        return opened

    def save_pretrained(self, folder: str | Path, latent_space: LatentSpace | None = None) -> None:
        """Write the model in its own format: of diffusers, config.json and safetensors for its `from_pretrained`.

        latent_space, if given, is declared first; so is the present one where a pipeline reads it in another way than
        the model alone.

        Raises:
            ValueError: for an object without `save_pretrained`, and for whatever that raises.
        """
        self.require_saving()
        if latent_space is None and not self._adapter.is_read_alike:
            latent_space = self.latent_space
        if latent_space is not None:
            self.declare(latent_space)
        if not self.is_of_diffusers:
            with explain_user_errors(f"{self.kind}.save_pretrained fails"):
                self.model.save_pretrained(folder)
            return
        self.model.save_pretrained(folder, safe_serialization=True)
        path = Path(folder) / CONFIG
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # the folder from which these weights were once read
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    @property
    def digest(self) -> str:
        """Digest by which it is known again: of its weights, and of what `_beside` them decides what it computes.

        That is, of a user's object the tensors that it holds outside its networks, as they were when it was opened; of
        one from a file, `digest_source`; of one made of others, theirs.
        """
        beside = [each for part in self.modules() if isinstance(part, Autoencoder) for each in part._beside]
        weights = digest_weights(self)
        return digest_lines([weights, *beside]) if beside else weights

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights; float32 without any."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)

    def _require_shape(self, verb: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
        if tensor.shape != expected:
            raise ValueError(f"{self.kind}.{verb} gave {tuple(tensor.shape)}, expected {expected}")


def open_autoencoder(source: str, device: torch.device, *, tiling: bool = False) -> Autoencoder:
    """Open an autoencoder on the device, frozen, in eval mode; tiling: as of `Autoencoder.from_pretrained`."""
    return Autoencoder.from_pretrained(source, tiling=tiling).to(device).eval().requires_grad_(False)


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
