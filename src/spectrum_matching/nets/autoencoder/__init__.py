"""Autoencoders: one interface over diffusers' classes, LDM checkpoints and user-defined objects."""

from .autoencoder import PRESETS, Autoencoder, check_size, open_autoencoder
from .interface import eval_mode

__all__ = ["PRESETS", "Autoencoder", "check_size", "eval_mode", "open_autoencoder"]
