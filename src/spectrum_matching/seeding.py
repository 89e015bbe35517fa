"""Random numbers and choices as a pure function of position: of what is sampled, and for which item."""

import hashlib
from collections.abc import Sequence

import torch

LEVELS = 32
"""Binary digits of `spread_keys`."""

LOW = 2**31 - 1


def seeded(*position: object) -> torch.Generator:
    """Return a CPU generator whose seed is a hash of `position`, e.g. ("flip", seed, epoch, index)."""
    return torch.Generator().manual_seed(int(fraction(*position) * 2**53))


def fraction(*position: object) -> float:
    """Return a number in [0, 1), a multiple of 2⁻⁵³, from a hash of `position`."""
    digest = hashlib.blake2b("\0".join(map(str, position)).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def indexed_noise(shape: Sequence[int], indices: Sequence[int], *position: object) -> torch.Tensor:
    """Return standard normal noise (b, …), float32 on the CPU, that follows from each item's index in the set alone.

    indices: of the b items. position: what else decides the numbers, the seed among it.
    """
    return torch.stack([torch.randn(*shape[1:], generator=seeded(*position, index)) for index in indices])


def spread(n_total: int, n: int | None = None, seed: int = 0) -> list[int]:
    """Return `n` of `n_total` indices, ascending, that stand for all: one at random from each of n equal strata.

    None, or more than there are: all of them. A set sorted by class gives every class its share, to within one index;
    equal steps would do that too, but see only some classes of a set in which the classes take turns.
    """
    n = n_total if n is None else min(n, n_total)
    if n < 1:
        return []
    edges = torch.arange(n + 1) * n_total // n
    offsets = torch.rand(n, generator=seeded("spread", seed), dtype=torch.float64) * edges.diff()
    return (edges[:-1] + offsets.long()).tolist()


def spread_keys(indices: torch.Tensor) -> torch.Tensor:
    """Return a key in [0, 1) for each index (n,) of a stream whose length is not known: float64, (n,).

    Of any 2^m consecutive indices that begin at a multiple of 2^m, one has its key in each interval of 2^-m that begins
    at a multiple of 2^-m, for every m up to 32; which one is random. So the indices of the k smallest keys stand for
    the whole as those of `spread` do, and so do those of all keys between any two numbers.
    """
    keys = torch.zeros_like(indices)
    for level in range(LEVELS):
        # Of two neighbours left in the same interval, a coin sends one to the lower half, and the other to the upper.
        blocks = indices >> 1
        keys = 2 * keys + ((indices & 1) ^ _coins(level, blocks, keys))
        indices = blocks
    return keys.double() / 2**LEVELS


def _coins(level: int, blocks: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return 0 or 1 from a hash; integers below 2³¹ are multiplied, so that no product overflows."""
    hashed = (blocks & LOW) * 1_583_458_089 + (keys & LOW) * 1_103_515_245 + level * 784_588_717
    hashed = hashed ^ (hashed >> 31)
    for factor in (2_146_121_005, 1_812_433_253):
        hashed = (hashed & LOW) * factor
        hashed = hashed ^ (hashed >> 29)
    return hashed >> 16 & 1
