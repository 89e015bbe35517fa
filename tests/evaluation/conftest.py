import pytest
import torch

from features_of_tests import quarters
from spectrum_matching.nets.vision.extractors import Extracted, Extractor


@pytest.fixture
def extractor():
    """Quarters' means as features, the upper ones as spatial features, and logits that follow from them."""
    return Extractor(
        "quarters", "0" * 16, "none", lambda x: Extracted(quarters(x), quarters(x)[:, ::2], 4 * quarters(x)[:, :5])
    )


@pytest.fixture
def photographs():
    """(seed, n, size) → smooth random images (n, 3, size, size) in [-1, 1] that a file could hold."""

    def build(seed, n, size=16):
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(n, 3, 4, 4, generator=generator) * 0.4
        images = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
        images = images + 0.05 * torch.randn(n, 3, size, size, generator=generator)
        return ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1

    return build
