import pytest
import torch
from torch import nn

from spectrum_matching.analysis.doctor.padding import padding


class Sharpened(nn.Module):
    """Blocks whose pictures are blurred, then sharpened again: at the border, as the blur was padded."""

    def __init__(self, blocks, mode):
        super().__init__()
        self.blocks = blocks
        self.blur = nn.Conv2d(3, 3, 3, padding=1, padding_mode=mode, groups=3, bias=False)
        self.blur.weight.data.fill_(1 / 9)

    def encode(self, images):
        return self.blocks.encode(self.blur(images))

    def decode(self, latents):
        return self.blur(self.blocks.decode(latents))


def test_padding_names_the_mode_that_was_lost(case, blocks):
    model = Sharpened(blocks, "reflect")
    assert padding(case(model)).level == "fine"
    model.blur.padding_mode = "zeros"
    outcome = padding(case(model))
    assert outcome.level == "look"  # the outermost of four pixels is worse
    assert outcome.verdict.startswith("Convolutions pad with zeros, but were trained with re")
    assert model.blur.padding_mode == "zeros"


def test_padding_leaves_modes_as_they_were_where_the_network_fails(case, blocks):
    model = Sharpened(blocks, "zeros")
    examination = case(model)
    assert examination.output is not None
    model.decode = None
    with pytest.raises(ValueError, match="fails"):
        padding(examination)
    assert model.blur.padding_mode == "zeros"


def test_padding_skips_networks_without_one_mode(case, blocks):
    assert padding(case(blocks)).verdict == "no convolution pads by a mode that could be lost"
    model = Sharpened(blocks, "zeros")
    model.more = nn.Conv2d(3, 3, 3, padding="same", padding_mode="circular")
    assert padding(case(model)).verdict == "convolutions pad in several ways (1 circular, 1 zeros)"
    model.more = nn.Conv2d(3, 3, 1)
    assert padding(case(model)).level == "look"


def test_padding_rests_on_the_border_alone(case, blocks):
    model = Sharpened(blocks, "reflect")
    examination = case(model)
    model.blocks.decode = lambda latents, decode=blocks.decode: decode(latents) + torch.full((), 0.2)
    assert padding(examination).level == "fine"
