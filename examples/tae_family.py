"""User-defined autoencoders for `specmatch analyze`: the tiny ones of Stable Diffusion 1, SDXL, SD3 and FLUX.1.

    specmatch analyze SD=python:examples/tae_family.py:taesd SDXL=python:examples/tae_family.py:taesdxl --out sd

A factory may return a model of diffusers; this one renames the tensors of files that diffusers does not open by
itself. The weights are by Ollin Boer Bohan (https://github.com/madebyollin/taesd, MIT): put NAME_encoder.safetensors
and NAME_decoder.safetensors into the folder data/tae_family, or name another folder in SPECMATCH_TAE_FAMILY.
"""

import os
from pathlib import Path

from diffusers import AutoencoderTiny
from safetensors.torch import load_file

DEFAULT_FOLDER = Path("data/tae_family")


def taesd() -> AutoencoderTiny:
    """Return the tiny autoencoder of Stable Diffusion 1's latents: f8, 4 channels."""
    return _load("taesd", latent_channels=4)


def taesdxl() -> AutoencoderTiny:
    """Return that of SDXL's latents: f8, 4 channels."""
    return _load("taesdxl", latent_channels=4)


def taesd3() -> AutoencoderTiny:
    """Return that of SD3's latents: f8, 16 channels."""
    return _load("taesd3", latent_channels=16)


def taef1() -> AutoencoderTiny:
    """Return that of FLUX.1's latents: f8, 16 channels."""
    return _load("taef1", latent_channels=16)


def _load(name: str, latent_channels: int) -> AutoencoderTiny:
    folder = Path(os.environ.get("SPECMATCH_TAE_FAMILY", DEFAULT_FOLDER))
    weights = {}
    # In the decoder's file the clamp of the latents counts as layer 0; in diffusers it is no layer.
    for part, clamp in (("encoder", 0), ("decoder", 1)):
        path = folder / f"{name}_{part}.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"no {path.name} in {folder}: get it from github.com/madebyollin/taesd (MIT) and name its folder in "
                f"SPECMATCH_TAE_FAMILY"
            )
        for key, tensor in load_file(path).items():
            layer, _, rest = key.partition(".")
            weights[f"{part}.layers.{int(layer) - clamp}.{rest}"] = tensor.float()
    model = AutoencoderTiny(latent_channels=latent_channels)
    model.load_state_dict(weights)
    return model.eval()
