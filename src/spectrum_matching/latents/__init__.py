"""Cached latents: our shards and other tools' layouts, read by row, encoded from images, trained on."""

from .cache import CacheIndex, verify_cache, write_index, write_shard
from .dataset import latent_batches, open_latents
from .foreign.pairing import pair

__all__ = [
    "CacheIndex",
    "LatentInfo",
    "latent_batches",
    "open_latents",
    "pair",
    "verify_cache",
    "write_index",
    "write_shard",
]
