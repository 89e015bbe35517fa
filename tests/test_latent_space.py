from dataclasses import replace

import pytest
import torch

from devices import Device
from spectrum_matching.latent_space import LatentSpace, SpectralGain

RADIAL = SpectralGain(((0.2, 1.5),), frequencies=(1 / 64, 0.5**0.5))
BY_COEFFICIENT = SpectralGain(tuple(tuple(0.3 + 0.1 * k + c for k in range(16)) for c in range(4)), grid=(4, 4))
HALF = 0.5**0.5
TURN = ((HALF, HALF, 0.0, 0.0), (HALF, -HALF, 0.0, 0.0), (0.0, 0.0, HALF, HALF), (0.0, 0.0, HALF, -HALF))
SPACES = {
    "none": LatentSpace(),
    "scale": LatentSpace("scale", (0.0,), (5.5,)),
    "shift and scale": LatentSpace("shift and scale", (0.06,), (1 / 0.36,)),
    "per channel": LatentSpace("per channel", (-1.0, 0.0, 2.0, 30.0), (0.5, 1.0, 2.0, 40.0)),
    "packed": LatentSpace("packed", tuple(0.1 * i for i in range(16)), tuple(0.5 + 0.1 * i for i in range(16)), 2),
}


def test_latent_space_maps_on_a_device_without_float64(generator):
    space = replace(SPACES["per channel"], rotation=TURN, gain=RADIAL)
    raw = torch.randn(2, 4, 8, 8, generator=generator)
    units = space.to_unit(raw)
    with Device():
        there = space.to_unit(raw.to("mps"))
        assert there.device.type == "mps"
        assert torch.equal(there.cpu(), units)
        assert torch.equal(space.from_unit(there).cpu(), space.from_unit(units))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("gain", [None, RADIAL, BY_COEFFICIENT])
@pytest.mark.parametrize("grid", [(4, 4), (12, 8), (64, 64)])
def test_from_unit_inverts_to_unit(name, gain, grid, generator):
    space = replace(SPACES[name], gain=gain)
    if gain is BY_COEFFICIENT and name == "packed":
        space = replace(space, gain=replace(gain, values=gain.values * 4))
    if name == "per channel":
        space = replace(space, rotation=TURN)
    raw = 3 * torch.randn(2, 4, *grid, generator=generator) + 1
    units = space.to_unit(raw)
    assert units.shape == (2, 4 * space.patch**2, grid[0] // space.patch, grid[1] // space.patch)
    assert (space.from_unit(units) - raw).norm() / raw.norm() < 1e-5
    if gain is not None:
        assert (space.without_gain.from_unit(units) - raw).norm() / raw.norm() > 0.1


def test_to_unit_under_autocast_is_the_same(generator):
    space = replace(SPACES["per channel"], rotation=TURN, gain=RADIAL)
    raw = torch.randn(2, 4, 8, 8, generator=generator)
    units = space.to_unit(raw)
    back = space.from_unit(units)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(space.to_unit(raw), units)
        assert torch.equal(space.from_unit(units), back)
    assert space.to_unit(raw.bfloat16()).dtype == torch.bfloat16


def test_to_unit_keeps_the_constant_field_of_the_mean_at_zero():
    space = replace(SPACES["per channel"], gain=RADIAL)
    mean = torch.tensor(space.mean).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    assert space.to_unit(mean).abs().max() < 1e-6


def test_to_unit_refuses_other_channels():
    with pytest.raises(ValueError, match=r"latents have 3 channels .* has a gain of 4"):
        LatentSpace(gain=BY_COEFFICIENT).to_unit(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"latents have 3 channels .* has a rotation of 4"):
        LatentSpace(rotation=TURN).to_unit(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("shape", [(16, 16, 16), (1, 16, 1, 8, 8), (1, 16, 16, 8, 8)])
def test_to_unit_refuses_what_is_no_batch_of_fields(shape):
    space = LatentSpace("per channel", (0.5,) * 16, (2.0,) * 16)
    for change in (space.to_unit, space.from_unit):
        with pytest.raises(ValueError, match=r"expected latents \(b, c, h, w\)"):
            change(torch.zeros(shape))


def test_to_unit_refuses_integers():
    with pytest.raises(ValueError, match="floating-point"):
        LatentSpace("scale", (0.5,), (0.7,)).to_unit(torch.arange(4).view(1, 1, 2, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gain", [None, RADIAL])
def test_half_precision_is_rounded_once(dtype, gain, generator):
    space = LatentSpace("per channel", (3.05, -2.9, 0.4, 1.7), (0.5, 0.31, 0.77, 1.3))
    space = replace(space, gain=gain, rotation=TURN if gain else ())
    raw = (torch.randn(8, 4, 8, 8, generator=generator) + 2).to(dtype)
    assert torch.equal(space.to_unit(raw), space.to_unit(raw.float()).to(dtype))
    assert torch.equal(space.from_unit(raw), space.from_unit(raw.float()).to(dtype))


@pytest.mark.parametrize("change", [{"std": (0.0,)}, {"std": (-1.0,)}, {"mean": (float("nan"),)}, {"patch": 0}])
def test_latent_space_refuses_what_nothing_undoes(change):
    with pytest.raises(ValueError, match="finite means"):
        LatentSpace(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": ((0.0, 1.0),)}, "must be positive and finite"),
        ({"values": ((float("inf"), 1.0),)}, "must be positive and finite"),
        ({"values": ((1.0,),)}, "expected rows of 2 gains"),
        ({"grid": (1, 2)}, "expected rows of 2 gains"),
        ({"frequencies": ()}, "expected rows of 0 gains"),
    ],
)
def test_spectral_gain_refuses_what_nothing_undoes(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RADIAL, **change)
