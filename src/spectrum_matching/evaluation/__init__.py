"""Scores of generated images and of reconstructions, with the protocol that they depend on."""

from .decoded_reference import compute_decoded_reference
from .generation import evaluate_generation
from .reconstruction import evaluate_reconstruction
from .reference import Reference, compute_reference, load_reference, open_reference, save_reference

__all__ = [
    "Reference",
    "compute_decoded_reference",
    "compute_reference",
    "evaluate_generation",
    "evaluate_reconstruction",
    "load_reference",
    "open_reference",
    "save_reference",
]
