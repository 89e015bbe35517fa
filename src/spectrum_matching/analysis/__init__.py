"""Measure how easy a latent space is to diffuse: an autoencoder, or cached latents, on a set of images."""

from .cached import analyze_latents
from .conditions import numbers
from .measure import analyze

__all__ = ["analyze", "analyze_latents", "numbers"]
