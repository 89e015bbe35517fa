"""How the latents of one autoencoder map to those of another: is it a drop-in, after a linear map, or not?"""

from .layout import layouts
from .measure import Compared, compare_latents

__all__ = ["Compared", "compare_latents", "layouts"]
