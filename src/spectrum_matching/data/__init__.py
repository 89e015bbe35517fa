"""Images and cached latents: where they come from, which are held out, and in which order they are seen."""

from .array_files import BadLatentError
from .images import BadFile, Batch, ImageSet, Sample, collate, open_images
from .latent_cache import CacheIndex, ShardEntry, read_index, verify_cache, write_index, write_shard
from .latent_pairs import Pairs, pair
from .latent_sources import LatentRow
from .latents import LatentBatch, LatentSet, latent_batches, open_latents
from .masks import MaskSet, open_masks
from .order import PositionedBatches, fixed_batches, image_batches

__all__ = [
    "BadFile",
    "BadLatentError",
    "Batch",
    "CacheIndex",
    "ImageSet",
    "LatentBatch",
    "LatentRow",
    "LatentSet",
    "MaskSet",
    "Pairs",
    "PositionedBatches",
    "Sample",
    "ShardEntry",
    "collate",
    "fixed_batches",
    "image_batches",
    "latent_batches",
    "open_images",
    "open_latents",
    "open_masks",
    "pair",
    "read_index",
    "verify_cache",
    "write_index",
    "write_shard",
]
