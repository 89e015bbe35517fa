"""Images: where they come from, which are held out, and in which order they are seen."""

from .images import BadFile, Batch, ImageSet, Sample, collate, open_images
from .masks import MaskSet, open_masks
from .order import PositionedBatches, fixed_batches, image_batches

__all__ = [
    "BadFile",
    "Batch",
    "ImageSet",
    "MaskSet",
    "PositionedBatches",
    "Sample",
    "collate",
    "fixed_batches",
    "image_batches",
    "open_images",
    "open_masks",
]
