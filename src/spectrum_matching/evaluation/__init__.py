"""How good images are, generated or reconstructed: scores that carry the protocol that they depend on."""

from .generation import evaluate_generation
from .reconstruction import evaluate_reconstruction
from .reference import Reference, compute_reference, load_reference, save_reference
from .shares import Numbered

__all__ = [
    "Numbered",
    "Reference",
    "compute_reference",
    "evaluate_generation",
    "evaluate_reconstruction",
    "load_reference",
    "save_reference",
]
