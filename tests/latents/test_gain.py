import pytest
import torch

from devices import Device
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.gain import mean_power, with_gain
from spectrum_matching.latents.gain_choice import GainChoice
from spectrum_matching.spectrum import fit_power_law, radial_bins, radial_profile

MIX = torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 2.0]])
CHANNEL = LatentSpace("per channel", (0.5, 0.0, -1.0), (1.3454, 0.4, 2.0))


@pytest.fixture
def read(power_law_field):
    fields = power_law_field(3, (400, 3, 16, 16), 1.4).float()
    fields = fields / fields.std((0, 2, 3), keepdim=True)
    latents = torch.einsum("cd,bdhw->bchw", MIX, fields) + torch.tensor([0.5, 0.0, -1.0]).view(3, 1, 1)
    return lambda: latents.split(150)


def exponent(power):
    bands = radial_profile(power.mean(0), 12, "frequency", drop_dc=True)
    bins = radial_bins(16, 16, 12, "frequency")
    return float(fit_power_law(bands, bins.frequencies, bins.counts.double()).exponent)


@pytest.mark.parametrize("space", [LatentSpace("shift and scale", (-0.17,), (1.4,)), CHANNEL])
@pytest.mark.parametrize(
    "choice",
    [
        GainChoice(flatten=1.0),
        GainChoice(flatten=-0.5),
        GainChoice(whiten=1.0),
        GainChoice(whiten=0.5, whiten_by="coefficient", gain_channels="each"),
        GainChoice(flatten=1.0, gain_channels="decorrelated"),
    ],
)
def test_with_gain_has_unit_variance(space, choice, read):
    power = mean_power(with_gain(space, choice, read), read)
    assert float(power.mean()) == pytest.approx(1)
    if len(space.std) > 1 or choice.gain_channels != "all":
        torch.testing.assert_close(power.mean((1, 2)), torch.ones(3).double())


@pytest.mark.parametrize("flatten", [-0.5, 0.5, 1.0, 1.4])
def test_with_gain_lowers_the_exponent_by_flatten(flatten, read):
    before = exponent(mean_power(CHANNEL, read))
    after = exponent(mean_power(with_gain(CHANNEL, GainChoice(flatten=flatten), read), read))
    assert after == pytest.approx(before - flatten, abs=0.02)


def test_with_gain_whitens_to_a_power(read):
    before = exponent(mean_power(CHANNEL, read))
    half = exponent(mean_power(with_gain(CHANNEL, GainChoice(whiten=0.5), read), read))
    white = mean_power(with_gain(CHANNEL, GainChoice(whiten=1.0), read), read)
    assert half == pytest.approx(before / 2, abs=0.05)
    assert exponent(white) == pytest.approx(0, abs=0.05)


def test_with_gain_by_coefficient_and_channel_is_white_everywhere_but_at_dc(read):
    choice = GainChoice(whiten=1.0, whiten_by="coefficient", gain_channels="each")
    power = mean_power(with_gain(CHANNEL, choice, read), read).flatten(1)
    torch.testing.assert_close(power[:, 1:] / power[:, 1:2], torch.ones(3, 255).double())


def test_with_gain_takes_dc_as_the_lowest_other_frequency(read):
    table = with_gain(CHANNEL, GainChoice(flatten=1.0), read).gain.table(16, 16)
    torch.testing.assert_close(table[:, 0, 0], table[:, 0, 1])
    torch.testing.assert_close(table[:, 0, 2] / table[:, 0, 1], torch.full((3,), 2.0**0.5).double())


def test_with_gain_decorrelates_channels(read):
    space = with_gain(CHANNEL, GainChoice(whiten=1.0, gain_channels="decorrelated"), read)
    units = torch.cat([space.to_unit(batch.double()) for batch in read()]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(units, correction=0), torch.eye(3).double(), atol=0.05, rtol=0)
    plain = torch.cat([CHANNEL.to_unit(batch.double()) for batch in read()]).transpose(0, 1).flatten(1)
    assert torch.corrcoef(plain)[0, 1] > 0.5


@pytest.mark.parametrize(
    "choice",
    [
        GainChoice(flatten=1.0),
        GainChoice(flatten=-0.5),
        GainChoice(whiten=0.5),
        GainChoice(whiten=0.5, gain_channels="each"),
        GainChoice(flatten=1.0, gain_channels="decorrelated"),
        GainChoice(flatten=0.0, gain_channels="decorrelated"),
    ],
)
def test_with_gain_centres_channels_that_one_mean_leaves_off_centre(choice, read):
    offsets = torch.tensor([3.0, -3.0, 0.5]).view(3, 1, 1)

    def off_centre():
        return (batch + offsets for batch in read())

    space = with_gain(LatentSpace("shift and scale", (0.0,), (2.5,)), choice, off_centre)
    raw = torch.cat(list(off_centre()))
    units = space.to_unit(raw.double()).transpose(0, 1).flatten(1)
    torch.testing.assert_close(units.mean(1), torch.zeros(3).double(), rtol=0, atol=1e-5)
    each = units.square().mean(1)
    assert float(each.mean()) == pytest.approx(1, rel=1e-6)
    if choice.gain_channels != "all":
        torch.testing.assert_close(each, torch.ones(3).double())
    if choice.gain_channels == "decorrelated":
        off_diagonal = torch.corrcoef(units) - torch.eye(3)
        assert off_diagonal.abs().max() < (0.01 if choice.flatten == 0 else 0.1)
    torch.testing.assert_close(space.from_unit(space.to_unit(raw)), raw, rtol=0, atol=1e-4)


def test_with_gain_of_nothing_keeps_the_space_and_of_zero_takes_its_gain_off(read):
    gained = with_gain(CHANNEL, GainChoice(flatten=1.0), read)
    assert with_gain(gained, GainChoice(), read) is gained
    for none in (GainChoice(flatten=0.0), GainChoice(whiten=0.0)):
        assert with_gain(gained, none, read) == gained.without_gain
    half, other = (with_gain(space, GainChoice(flatten=0.5), read) for space in (gained, CHANNEL))
    assert half.mean == pytest.approx(other.mean)
    assert half.gain.values[0] == pytest.approx(other.gain.values[0])


def test_with_gain_survives_a_channel_that_does_not_vary(read):
    def with_dead():
        return (torch.cat([batch, torch.full_like(batch[:, :1], 7.0)], 1) for batch in read())

    space = LatentSpace("per channel", (*CHANNEL.mean, 7.0), (*CHANNEL.std, 1.0))
    for choice in (GainChoice(flatten=1.0), GainChoice(whiten=1.0, gain_channels="each")):
        gained = with_gain(space, choice, with_dead)
        (first, *_) = with_dead()
        torch.testing.assert_close(gained.from_unit(gained.to_unit(first)), first, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (GainChoice(flatten=1.0, whiten=1.0), "give one of them"),
        (GainChoice(whiten_by="coefficient"), "give whiten as well"),
        (GainChoice(flatten=1.0, gain_channels="each"), "same for every channel"),
        (GainChoice(gain_channels="decorrelated"), "give one of them"),
        (GainChoice(whiten=1.0, whiten_by="coef"), "whiten_by is 'coef': expected ring, coefficient"),
        (GainChoice(whiten=1.0, gain_channels="eahc"), "expected all, each, decorrelated"),
        (GainChoice(whiten=-1.0), "whiten is -1, expected 0 or more"),
    ],
)
def test_with_gain_refuses_settings_that_do_not_go_together(choice, message, read):
    with pytest.raises(ValueError, match=message):
        with_gain(CHANNEL, choice, read)


@pytest.mark.parametrize("grid", [(1, 1), (1, 32)])
def test_with_gain_refuses_latents_without_two_axes(grid):
    with pytest.raises(ValueError, match=f"latents of {grid[0]} x {grid[1]} positions have no spectrum"):
        with_gain(CHANNEL, GainChoice(flatten=1.0), lambda: [torch.randn(4, 3, *grid)])


def test_with_gain_measures_on_a_device_without_float64(read):
    choice = GainChoice(flatten=1.0, gain_channels="decorrelated")
    here = with_gain(CHANNEL, choice, read)
    with Device():
        assert with_gain(CHANNEL, choice, lambda: (batch.to("mps") for batch in read())) == here
