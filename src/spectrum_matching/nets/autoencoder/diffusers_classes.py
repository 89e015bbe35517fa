"""The autoencoders of diffusers: for each class how it is called, and how its latents are brought to unit scale."""

import math
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...methods.method import Term
from ...methods.models import Gaussian, images_of, posterior_of
from . import declared
from .declared import IN_BUFFERS, Declaration
from .interface import Adapter, still, still_posterior


def _ltx_factor(model: Any) -> int:
    config = model.config
    steps = zip(config["spatio_temporal_scaling"], config["downsample_type"], strict=False)
    return config["patch_size"] * 2 ** sum(bool(halves) and axes != "temporal" for halves, axes in steps)


def _wan_factor(model: Any) -> int:
    return 2 ** (len(model.config["dim_mult"]) - 1) * (model.config["patch_size"] or 1)


def _hunyuan_image_factor(model: Any) -> int:
    return min(model.config["spatial_compression_ratio"], 2 ** (len(model.config["block_out_channels"]) - 1))


def _decode_from_fixed_noise(model: Any, latents: Tensor) -> Any:
    # The same noise for every image, whatever its batch.
    return model.decode(latents, generator=[torch.Generator().manual_seed(0) for _ in latents])


def _decode_as_clean(model: Any, latents: Tensor) -> Any:
    # Some of these decoders take the noise level of the latents.
    return model.decode(latents, latents.new_zeros(len(latents)) if model.config["timestep_conditioning"] else None)


def _codebook(model: Any) -> tuple[Term, ...]:
    """Return the loss that brings codes and latents together: codebook and commitment loss of VQ-VAE."""
    return (Term("codebook", lambda posterior, latents, images: model.quantize(latents)[1], 1.0),)


_RATIO = attrgetter("spatial_compression_ratio")


class Traits(NamedTuple):
    """Differences between classes.

    factor: the configuration's key of widths, one for each level, where each level halves the resolution; or a function
    of the model. channels: the configuration's key. frames: it needs a time axis. alpha: it needs a fourth, opaque
    channel. latent_space: where it keeps the scale of its latents. Other fields as in `Adapter`.
    """

    factor: str | Callable[[Any], int] = "block_out_channels"
    channels: str = "latent_channels"
    multiple: Callable[[Any], int] = lambda model: 1
    size: Callable[[Any], int | None] = lambda model: None
    image_range: tuple[float, float] = (-1.0, 1.0)
    is_stochastic: bool = True
    frames: bool = False
    alpha: bool = False
    single: bool = False
    decode: Callable[[Any, Tensor], Any] = lambda model, latents: model.decode(latents)
    latent_space: Declaration = declared.IN_CONFIGURATION
    fixed_encoder: str = ""
    terms: Callable[[Any], tuple[Term, ...]] = lambda model: ()
    untiled: str = ""


CLASSES: dict[str, Traits] = {
    "AutoencoderKL": Traits(),
    "AutoencoderKLFlux2": Traits(
        multiple=lambda model: 2 ** (len(model.config["block_out_channels"]) - 1) * model.config["patch_size"][0],
        latent_space=declared.BATCH_NORM,
    ),
    "AsymmetricAutoencoderKL": Traits("down_block_out_channels"),
    "AutoencoderDC": Traits("encoder_block_out_channels", is_stochastic=False),
    "AutoencoderTiny": Traits("encoder_block_out_channels", is_stochastic=False),
    "VQModel": Traits(channels="vq_embed_dim", is_stochastic=False, terms=_codebook),
    "AutoencoderRAE": Traits(
        lambda model: model.decoder_patch_size,
        "encoder_hidden_size",
        size=lambda model: model.decoder_image_size,
        image_range=(0.0, 1.0),
        is_stochastic=False,
        latent_space=declared.APPLIED_INSIDE,
        fixed_encoder="it is a vision encoder that stays as it is",
    ),
    "ConsistencyDecoderVAE": Traits(
        "encoder_block_out_channels",
        multiple=lambda model: 2 ** (len(model.config["decoder_block_out_channels"]) - 1),
        decode=_decode_from_fixed_noise,
        untiled="its decoder does not use them",
    ),
    "AutoencoderKLHunyuanImage": Traits(_hunyuan_image_factor),
    "AutoencoderKLKVAE": Traits("ch_mult", "z_channels"),
    "AutoencoderKLTemporalDecoder": Traits(decode=lambda model, latents: model.decode(latents, num_frames=1)),
    "AutoencoderKLWan": Traits(_wan_factor, "z_dim", frames=True),
    "AutoencoderKLQwenImage": Traits("dim_mult", "z_dim", frames=True),
    "AutoencoderKLQwenImage21": Traits(_wan_factor, "z_dim", frames=True, alpha=True),
    "AutoencoderKLCogVideoX": Traits(frames=True),
    "AutoencoderKLHunyuanVideo": Traits(_RATIO, frames=True),
    "AutoencoderKLHunyuanVideo15": Traits(_RATIO, frames=True, single=True),
    "AutoencoderKLHunyuanImageRefiner": Traits(_RATIO, frames=True),
    "AutoencoderKLCosmos": Traits(
        lambda model: model.config["spatial_compression_ratio"],
        frames=True,
        is_stochastic=False,
        latent_space=declared.OF_FIRST_FRAME,
        untiled="diffusers leaves them unused",
    ),
    "AutoencoderKLMochi": Traits(_RATIO, frames=True),
    "AutoencoderKLMagvit": Traits(_RATIO, frames=True),
    "AutoencoderKLLTXVideo": Traits(_ltx_factor, frames=True, decode=_decode_as_clean, latent_space=IN_BUFFERS),
    "AutoencoderKLLTX2Video": Traits(_ltx_factor, frames=True, decode=_decode_as_clean, latent_space=IN_BUFFERS),
    "AutoencoderKLKVAEVideo": Traits("ch_mult", "z_channels", frames=True, is_stochastic=False),
    "Kandinsky6SRVAE": Traits(_RATIO, frames=True),
}

PIPELINES: dict[str, Declaration] = {
    "GlmImagePipeline": declared.WITHOUT_SCALE,
    "Kandinsky5T2IPipeline": declared.WITHOUT_SHIFT,
    "Kandinsky5I2IPipeline": declared.WITHOUT_SHIFT,
    "ErnieImagePipeline": declared.OF_ERNIE,
}
"""Pipelines of diffusers that scale latents in another way than other users of the same class of autoencoder."""

_SOUND, _NO_ENCODER = "it encodes sound", "it has no encoder"
REFUSED: dict[str, str] = {
    "AutoencoderKLAllegro": "diffusers runs it on tiles of 24 frames only, not on an image",
    "AutoencoderKLMiniMaxH3": "it decodes clips, not a single frame",
    "AutoencoderVidTok": "it encodes clips, not a single frame",
    "AutoencoderKLKVAEAudio": _SOUND,
    "AutoencoderKLLTX2Audio": _SOUND,
    "AutoencoderKLMiniMaxH3Audio": _SOUND,
    "AutoencoderOobleck": _SOUND,
    "AutoencoderSAME": _SOUND,
    "Cosmos3AVAEAudioTokenizer": _SOUND,
    "LongCatAudioDiTVae": _SOUND,
    "MMAudioVAE": _SOUND,
    "RFD4ProteinaAutoencoder": "it encodes molecules",
    "LTX2VideoDiffusionDecoderModel": _NO_ENCODER,
    "MMAudioVocoder": _NO_ENCODER,
    "MiniMaxMusic3Vocoder": _NO_ENCODER,
}


def class_name(model: object) -> str | None:
    """Return the key in `CLASSES` of a model's class or of the nearest base class; None for no class of diffusers.

    Raises:
        ValueError: with the reason, for a class in `REFUSED`.
    """
    kinds = (kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("diffusers."))
    kind = next((kind for kind in kinds if kind in CLASSES or kind in REFUSED), None)
    if kind in REFUSED:
        raise ValueError(f"{kind} cannot be measured: {REFUSED[kind]}")
    return kind


def adapter_of(model: Any, kind: str, pipeline: str = "") -> Adapter:
    """Return how a model of the class `kind` is called, from a pipeline of that class.

    Raises:
        ValueError: if the model decodes at random.
    """
    traits, config = CLASSES[kind], model.config
    if any(config.get("decoder_inject_noise") or ()):
        raise ValueError(f"this {kind} draws noise inside its decoder that no seed fixes: it cannot be measured")
    factor = traits.factor(model) if callable(traits.factor) else 2 ** (len(config[traits.factor]) - 1)
    size = traits.size(model)
    declaration = PIPELINES.get(pipeline, traits.latent_space)
    space = declaration.read(model)
    return Adapter(
        encode=partial(_encode, traits),
        decode=partial(_decode, traits),
        factor=factor,
        channels=config[traits.channels] or config["latent_channels"],
        multiple=size or math.lcm(factor, traits.multiple(model)),
        size=size,
        is_stochastic=traits.is_stochastic,
        image_range=traits.image_range,
        latent_space=space,
        declare=declaration.write,
        declaration=declaration.say,
        is_read_alike=space == traits.latent_space.read(model),
        fixed_encoder=traits.fixed_encoder,
        terms=traits.terms(model),
        image_channels=3 if traits.frames else config.get("in_channels", 3),
        single=traits.single,
        untiled=traits.untiled,
    )


def _encode(traits: Traits, model: Any, images: Tensor) -> Gaussian:
    if traits.alpha:
        images = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
    if traits.frames:
        images = images.unsqueeze(2)
    encoded = model.encode(images)
    # A latent wrapped as a distribution, with a variance that means nothing.
    if not traits.is_stochastic and "latent_dist" in encoded:
        encoded = encoded.latent_dist.mode()
    return still_posterior(posterior_of(encoded))


def _decode(traits: Traits, model: Any, latents: Tensor) -> Tensor:
    if traits.frames:
        latents = latents.unsqueeze(2)
    images = still(images_of(traits.decode(model, latents)))
    return images[:, :3] if traits.alpha else images
