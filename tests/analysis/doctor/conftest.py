import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from spectrum_matching.analysis.doctor.examination import Examination
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder


class Blocks(nn.Module):
    """The four lowest DCT coefficients of each colour in blocks of 4 × 4 pixels: it reconstructs without training."""

    def __init__(self):
        super().__init__()
        rows = torch.stack([torch.ones(4), torch.cos(torch.pi * (torch.arange(4) + 0.5) / 4) * 2**0.5]) / 2
        basis = torch.einsum("ui,vj->uvij", rows, rows).flatten(0, 1)
        weight = torch.zeros(3, 4, 3, 4, 4)
        for colour in range(3):
            weight[colour, :, colour] = basis
        self.register_buffer("weight", weight.flatten(0, 1))

    def encode(self, images):
        return conv2d(images, self.weight, stride=4)

    def decode(self, latents):
        return conv_transpose2d(latents, self.weight, stride=4)


@pytest.fixture(scope="session")
def coloured():
    """Four coloured photographs of 64 × 64 pixels."""
    images = open_images("embedded", 64, split="held_out")
    rows = (images[index].image for index in range(len(images)))
    chosen = (row for row in rows if (row[0] - row[2]).abs().mean() > 0.05)
    return torch.stack([next(chosen) for _ in range(4)])


@pytest.fixture
def blocks():
    """A new autoencoder that reconstructs without training: f4, 12 channels."""
    return Blocks()


@pytest.fixture
def case(coloured):
    """An autoencoder → its examination on the photographs, without gradients."""
    with torch.inference_mode():
        yield lambda model, **names: Examination(Autoencoder(model).eval(), coloured, **names)
