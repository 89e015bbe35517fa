"""Autoencoders: one interface over diffusers' classes, LDM checkpoints and user-defined objects."""

from .autoencoder import Autoencoder, check_size, evaluating, open_autoencoder

__all__ = ["Autoencoder", "check_size", "evaluating", "open_autoencoder"]
