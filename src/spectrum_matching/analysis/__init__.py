"""How diffusable a latent space is: everything measured of an autoencoder, or of cached latents, on a set of images."""

from .cached import analyze_latents
from .conditions import numbers
from .measure import analyze

__all__ = ["analyze", "analyze_latents", "numbers"]
