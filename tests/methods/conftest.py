"""Every row of the zoo, made the same way."""

import pytest
from torch.nn.functional import avg_pool2d

from spectrum_matching.methods import METHODS


def halved(images):
    """A field as a vision encoder would give one: images (b, 3, H, W) → (b, 3, H / 2, W / 2)."""
    return avg_pool2d(images, 2)


@pytest.fixture(scope="session")
def make():
    """The name of a row and options of it → the method; for latents of 4 channels, where the row asks."""

    def build(name, **options):
        needed = {"encoder": halved, "width": 3, "channels": 4} if name == "va_vae" else {}
        return METHODS[name](**needed, **options)

    return build
