"""The autoencoders of diffusers, a row for each class: how it is called and how its latents come to unit scale."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior
from torch import Tensor

from ...latent_space import LatentSpace
from .interface import Calling, images_of, posterior_of


def _ltx_factor(model: Any) -> int:
    config = model.config
    steps = zip(config["spatio_temporal_scaling"], config["downsample_type"], strict=False)
    return config["patch_size"] * 2 ** sum(bool(halves) and axes != "temporal" for halves, axes in steps)


def _wan_factor(model: Any) -> int:
    return 2 ** (len(model.config["dim_mult"]) - 1) * (model.config["patch_size"] or 1)


def _hunyuan_image_factor(model: Any) -> int:
    return min(model.config["spatial_compression_ratio"], 2 ** (len(model.config["block_out_channels"]) - 1))


def _ratio(model: Any) -> int:
    return model.spatial_compression_ratio


def _decode_from_fixed_noise(model: Any, latents: Tensor) -> Any:
    # The same noise for every image, whatever its batch.
    return model.decode(latents, generator=[torch.Generator().manual_seed(0) for _ in latents])


def _decode_as_clean(model: Any, latents: Tensor) -> Any:
    # Some of these decoders ask how noisy the latents are.
    return model.decode(latents, latents.new_zeros(len(latents)) if model.config["timestep_conditioning"] else None)


def _declared(model: Any) -> LatentSpace:
    """(latents − shift) · scale, or (latents − mean) · scale / std, as the pipelines of diffusers have it."""
    scale, shift = _factors(model)
    mean, std = model.config.get("latents_mean"), model.config.get("latents_std")
    if mean is not None and std is not None:
        return _per_channel(_wide(mean), _wide(std) / scale)
    if shift:
        return LatentSpace("shift and scale", (shift,), (1 / scale,))
    return LatentSpace() if scale == 1 else LatentSpace("scale", (0.0,), (1 / scale,))


def _in_buffers(model: Any) -> LatentSpace:
    return _per_channel(model.latents_mean, model.latents_std.double() / _factors(model)[0])


def _of_first_frame(model: Any) -> LatentSpace:
    """Cosmos declares a mean and a deviation for each channel and latent frame; an image is the first frame."""
    config = model.config
    if config["latents_mean"] is None:
        return LatentSpace()
    mean, std = (_wide(config[key]).view(config["latent_channels"], -1) for key in ("latents_mean", "latents_std"))
    return _per_channel(mean[:, 0], std[:, 0])


def _batch_norm(model: Any) -> LatentSpace:
    std = (model.bn.running_var.double() + model.config["batch_norm_eps"]).sqrt()
    return LatentSpace("packed", _floats(model.bn.running_mean), _floats(std), model.config["patch_size"][0])


def _applied_inside(model: Any) -> LatentSpace:
    return LatentSpace()


def _per_channel(mean: Tensor, std: Tensor) -> LatentSpace:
    return LatentSpace("per channel", _floats(mean), _floats(std))


def _wide(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(values.double().tolist())


def _factors(model: Any) -> tuple[float, float]:
    config = model.config
    return float(config.get("scaling_factor") or 1.0), float(config.get("shift_factor") or 0.0)


class Row(NamedTuple):
    """What differs from class to class.

    factor: the configuration's key of widths, one a level, each half as fine as the one before; or a function of the
    model. frames: it wants a time axis. alpha: it wants a fourth, opaque channel. alone: it takes one image at a time.
    """

    factor: str | Callable[[Any], int] = "block_out_channels"
    channels: str = "latent_channels"
    multiple: Callable[[Any], int] = lambda model: 1
    size: Callable[[Any], int | None] = lambda model: None
    image_range: tuple[float, float] = (-1.0, 1.0)
    is_stochastic: bool = True
    frames: bool = False
    alpha: bool = False
    alone: bool = False
    decode: Callable[[Any, Tensor], Any] = lambda model, latents: model.decode(latents)
    latent_space: Callable[[Any], LatentSpace] = _declared


ROWS: dict[str, Row] = {
    "AutoencoderKL": Row(),
    "AutoencoderKLFlux2": Row(
        multiple=lambda model: 2 ** (len(model.config["block_out_channels"]) - 1) * model.config["patch_size"][0],
        latent_space=_batch_norm,
    ),
    "AsymmetricAutoencoderKL": Row("down_block_out_channels"),
    "AutoencoderDC": Row("encoder_block_out_channels", is_stochastic=False),
    "AutoencoderTiny": Row("encoder_block_out_channels", is_stochastic=False),
    "VQModel": Row(channels="vq_embed_dim", is_stochastic=False),
    "AutoencoderRAE": Row(
        lambda model: model.decoder_patch_size,
        "encoder_hidden_size",
        size=lambda model: model.decoder_image_size,
        image_range=(0.0, 1.0),
        is_stochastic=False,
        latent_space=_applied_inside,
    ),
    "ConsistencyDecoderVAE": Row(
        "encoder_block_out_channels",
        multiple=lambda model: 2 ** (len(model.config["decoder_block_out_channels"]) - 1),
        decode=_decode_from_fixed_noise,
    ),
    "AutoencoderKLHunyuanImage": Row(_hunyuan_image_factor),
    "AutoencoderKLKVAE": Row("ch_mult", "z_channels"),
    "AutoencoderKLTemporalDecoder": Row(decode=lambda model, latents: model.decode(latents, num_frames=1)),
    "AutoencoderKLWan": Row(_wan_factor, "z_dim", frames=True),
    "AutoencoderKLQwenImage": Row("dim_mult", "z_dim", frames=True),
    "AutoencoderKLQwenImage21": Row(_wan_factor, "z_dim", frames=True, alpha=True),
    "AutoencoderKLCogVideoX": Row(frames=True),
    "AutoencoderKLHunyuanVideo": Row(_ratio, frames=True),
    "AutoencoderKLHunyuanVideo15": Row(_ratio, frames=True, alone=True),
    "AutoencoderKLHunyuanImageRefiner": Row(_ratio, frames=True),
    "AutoencoderKLCosmos": Row(
        lambda model: model.config["spatial_compression_ratio"],
        frames=True,
        is_stochastic=False,
        latent_space=_of_first_frame,
    ),
    "AutoencoderKLMochi": Row(_ratio, frames=True),
    "AutoencoderKLMagvit": Row(_ratio, frames=True),
    "AutoencoderKLLTXVideo": Row(_ltx_factor, frames=True, decode=_decode_as_clean, latent_space=_in_buffers),
    "AutoencoderKLLTX2Video": Row(_ltx_factor, frames=True, decode=_decode_as_clean, latent_space=_in_buffers),
    "AutoencoderKLKVAEVideo": Row("ch_mult", "z_channels", frames=True, is_stochastic=False),
    "Kandinsky6SRVAE": Row(_ratio, frames=True),
}

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


def diffusers_class(model: object) -> str | None:
    """The row of a model: its class, or the nearest one that it inherits from; None if it is none of diffusers'.

    ValueError, with the reason, for one of those that cannot be taken.
    """
    kinds = (kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("diffusers."))
    kind = next((kind for kind in kinds if kind in ROWS or kind in REFUSED), None)
    if kind in REFUSED:
        raise ValueError(f"{kind} cannot be measured: {REFUSED[kind]}")
    return kind


def calling_of(model: Any, kind: str) -> Calling:
    """How a model of the class `kind` is called; ValueError where its configuration leaves no room for an RGB image."""
    row, config = ROWS[kind], model.config
    n_colours = config.get("in_channels", 3)
    if n_colours != 3 and not row.frames:
        raise ValueError(f"this {kind} encodes images of {n_colours} channels, expected 3 (RGB)")
    if any(config.get("decoder_inject_noise") or ()):
        raise ValueError(f"this {kind} draws noise inside its decoder that no seed fixes: it cannot be measured")
    factor = row.factor(model) if callable(row.factor) else 2 ** (len(config[row.factor]) - 1)
    size = row.size(model)
    space = row.latent_space(model)
    is_plain = len(space.std) == 1 and row.latent_space is _declared
    scaling_factor, shift_factor = _factors(model) if is_plain else (1.0, 0.0)
    return Calling(
        encode=partial(_encode, row),
        decode=partial(_decode, row),
        factor=factor,
        channels=config[row.channels] or config["latent_channels"],
        multiple=size or math.lcm(factor, row.multiple(model)),
        size=size,
        is_stochastic=row.is_stochastic,
        image_range=row.image_range,
        latent_space=space,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
    )


def _encode(row: Row, model: Any, images: Tensor) -> Posterior:
    if row.alpha:
        images = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
    if row.frames:
        images = images.unsqueeze(2)
    if row.alone:
        posteriors = [posterior_of(model.encode(image)) for image in images.split(1)]
        return Posterior(torch.cat([posterior.parameters for posterior in posteriors]))
    encoded = model.encode(images)
    if not row.is_stochastic and "latent_dist" in encoded:  # a bare latent, dressed up as a distribution
        encoded = encoded.latent_dist.mode()
    return posterior_of(encoded)


def _decode(row: Row, model: Any, latents: Tensor) -> Tensor:
    if row.frames:
        latents = latents.unsqueeze(2)
    if row.alone:
        return torch.cat([images_of(row.decode(model, latent)) for latent in latents.split(1)])
    images = images_of(row.decode(model, latents))
    return images[:, :3] if row.alpha else images
