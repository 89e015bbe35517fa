"""Cached latents: our shards and other tools' layouts, read by position, made from images, trained on."""

from .cache import CacheIndex, ShardEntry, read_index, verify_cache, write_index, write_shard
from .dataset import LatentBatch, LatentSet, latent_batches, open_latents
from .foreign.array_files import BadLatentError
from .foreign.pairing import Pairs, pair
from .sources import LatentRow

__all__ = [
    "BadLatentError",
    "CacheIndex",
    "LatentBatch",
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
