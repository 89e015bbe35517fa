"""Is an autoencoder wired and loaded as it was trained? A check is one function, listed in `CHECKS`."""

from .catalogue import CHECKS
from .examine import examine

__all__ = ["CHECKS", "examine"]
