"""Metrics of latents, of decoders and of sets of images."""

from .catalogue import METRICS
from .images.catalogue import SCORES

__all__ = ["METRICS", "SCORES"]
