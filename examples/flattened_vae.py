"""A VAE of diffusers whose latents are flattened: any pipeline or training script of diffusers takes it as it is.

    from flattened_vae import FlattenedVAE, flattened
    vae = flattened(AutoencoderKL.from_pretrained("…/vae"), read)  # read(): batches of raw latents, to measure the gain
    pipeline = DiTPipeline(transformer, vae, scheduler)            # trained on vae.encode(x).latent_dist.sample()
    vae.save_pretrained("flat/")                                   # load it again by FlattenedVAE.from_pretrained

Its latents have unit scale (scaling_factor 1): nothing is left to multiply. Reconstructions are those of the VAE.
Train the diffusion model on these latents: one that was trained on the VAE's own does not know them. `AutoencoderKL`
would load the same folder, and leave the gain out.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.foreign.export import LATENT_SPACE, read_latent_space
from spectrum_matching.latents.gain import with_gain
from spectrum_matching.latents.gain_choice import GainChoice


class FlattenedPosterior:
    """What diffusers' code asks of `latent_dist`."""

    def __init__(self, posterior: Any, space: LatentSpace) -> None:
        self.posterior, self.space = posterior, space

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample flattened latents."""
        return self.space.to_unit(self.posterior.sample(generator))

    def mode(self) -> Tensor:
        """Return the flattened mean."""
        return self.space.to_unit(self.posterior.mode())


class FlattenedVAE(AutoencoderKL):
    """`AutoencoderKL` with a spectral gain behind its encoder and its inverse before its decoder.

    space: raw latents to flattened ones; a file beside the weights.
    """

    space: LatentSpace | None = None
    file = "latent_space.json"

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Return the posterior of flattened latents."""
        posterior = FlattenedPosterior(super().encode(x).latent_dist, self._known_space())
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """Decode flattened latents."""
        return super().decode(self._known_space().from_unit(z), return_dict, generator)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Save the VAE and its gain."""
        super().save_pretrained(save_directory, *args, **kwargs)
        LATENT_SPACE.write(Path(save_directory, self.file), self._known_space())

    @classmethod
    def from_pretrained(cls, folder: Any, **kwargs: Any) -> "FlattenedVAE":
        """Load a folder that `save_pretrained` wrote.

        Raises:
            ValueError: for one without a gain.
        """
        space = read_latent_space(Path(folder, kwargs.get("subfolder") or "", cls.file))
        vae: FlattenedVAE = super().from_pretrained(folder, **kwargs)
        vae.space = space
        return vae

    def _known_space(self) -> LatentSpace:
        if self.space is None:
            raise ValueError("this VAE has no gain: make one by `flattened`, or load one by `from_pretrained`")
        return self.space


def flattened(vae: AutoencoderKL, read: Callable[[], Iterable[Tensor]], flatten: float = 1.0) -> FlattenedVAE:
    """Return the VAE with its latents' power spectrum multiplied by frequency^flatten, at unit variance."""
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
    result = FlattenedVAE.from_config({**vae.config, "scaling_factor": 1.0, "shift_factor": None})
    result.load_state_dict(vae.state_dict())
    space = LatentSpace("shift and scale", (shift,), (1 / scale,))
    result.space = with_gain(space, GainChoice(flatten=flatten), read)
    return result.to(vae.device, vae.dtype).eval()
