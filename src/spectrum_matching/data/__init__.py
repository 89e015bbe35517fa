"""Images: sources, held-out split, order and batches, masks."""

from .images import ImageSet, open_images
from .masks import open_masks
from .order import PositionedBatches, fixed_batches, image_batches

__all__ = ["ImageSet", "PositionedBatches", "fixed_batches", "image_batches", "open_images", "open_masks"]
