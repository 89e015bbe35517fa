"""Cached latents: our shards and other tools' layouts, read by row, encoded from images, trained on."""

from .cache import CacheIndex, ShardEntry, read_index, verify_cache, write_index, write_shard
from .dataset import latent_batches, open_latents
from .foreign.pairing import Pairs, pair
from .latent_set import BadLatentError, CachedBatch, LatentInfo, LatentRow, LatentSet

__all__ = [
    "BadLatentError",
    "CacheIndex",
    "CachedBatch",
    "LatentInfo",
    "LatentRow",
    "LatentSet",
    "Pairs",
    "ShardEntry",
    "latent_batches",
    "open_latents",
    "pair",
    "read_index",
    "verify_cache",
    "write_index",
    "write_shard",
]
