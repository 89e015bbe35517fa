"""Random numbers as a pure function of position: of what is sampled, and for which item."""

import hashlib
from collections.abc import Sequence

import torch


def seeded(*position: object) -> torch.Generator:
    """Return a CPU generator whose seed is a hash of `position`, e.g. ("flip", seed, epoch, index)."""
    return torch.Generator().manual_seed(int(fraction(*position) * 2**53))


def fraction(*position: object) -> float:
    """Return a number in [0, 1), a multiple of 2⁻⁵³, from a hash of `position`."""
    digest = hashlib.blake2b("\0".join(map(str, position)).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def indexed_noise(shape: Sequence[int], first: int, *position: object) -> torch.Tensor:
    """Return standard normal noise (b, …), float32 on the CPU, that follows from each item's index in the set alone.

    first: index of the first item. position: what else decides the numbers, the seed among it.
    """
    indices = range(first, first + shape[0])
    return torch.stack([torch.randn(*shape[1:], generator=seeded(*position, index)) for index in indices])
