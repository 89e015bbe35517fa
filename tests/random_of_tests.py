"""Random numbers for tests, the same for the same seed."""

import numpy as np
import torch


def white(seed, shape):
    """Normal numbers as numpy draws them, float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def normal(*shape, seed=0):
    """Normal numbers as torch draws them, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(*shape: int) -> torch.Tensor:
    """Images of uniform noise."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pixels(n=7, size=8):
    """Images as files hold them, (n, size, size, 3), uint8."""
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
