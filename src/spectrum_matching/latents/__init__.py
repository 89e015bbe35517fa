"""Cached latents: our shards and other tools' layouts, read by row, encoded from images, trained on."""

from .foreign.pairing import pair
from .latent_set import LatentInfo
from .open_latents import latent_batches, open_latents
from .shards import CacheIndex, verify_cache, write_index, write_shard

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
