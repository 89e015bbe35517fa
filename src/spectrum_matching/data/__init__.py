"""Images: sources, held-out split, order and batches, masks."""

from .images import BadFile, ImageBatch, ImageChoice, ImageRow, ImageSet, collate, open_images
from .masks import MaskSet, open_masks
from .order import PositionedBatches, fixed_batches, image_batches

__all__ = [
    "BadFile",
    "ImageBatch",
    "ImageChoice",
    "ImageRow",
    "ImageSet",
    "MaskSet",
    "PositionedBatches",
    "collate",
    "fixed_batches",
    "image_batches",
    "open_images",
    "open_masks",
]
