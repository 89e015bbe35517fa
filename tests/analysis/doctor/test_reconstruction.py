import pytest
from torch import nn

from spectrum_matching.analysis.doctor.reconstruction import reconstruction


class Pixels(nn.Module):
    """Latents of one position for each pixel, decoded with this share of the error."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def encode(self, images):
        return images.clone()

    def decode(self, latents):
        return latents * (1 - self.share)


def test_reconstruction_is_compared_with_averages_of_pixels(case, blocks):
    outcome = reconstruction(case(blocks))
    assert (outcome.level, "times the error of averaging 4 × 4 pixels" in outcome.evidence) == ("fine", True)
    decode = blocks.decode
    blocks.decode = lambda z: decode(z) * 0.5
    assert reconstruction(case(blocks)).level == "look"


@pytest.mark.parametrize(("share", "level"), [(0.0, "fine"), (0.05, "fine"), (3.0, "wrong")])
def test_reconstruction_at_factor_1_is_not_compared_with_averages_of_pixels(case, share, level):
    outcome = reconstruction(case(Pixels(share)))
    assert outcome.level == level
    assert "averaging" not in outcome.evidence
    assert outcome.evidence.endswith("of the images’ variance.")
