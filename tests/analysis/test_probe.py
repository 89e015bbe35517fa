import pytest
import torch

from spectrum_matching.analysis.probe import LEVELS, train_probe
from spectrum_matching.spectrum import idct2
from spectrum_matching.spectrum.power import radial_bins


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def power_law(shape, exponent, seed=0):
    """Gaussian fields of power 1/f^exponent, which a linear filter denoises as well as can be."""
    h, w = shape[-2:]
    frequency = torch.hypot(torch.arange(h)[:, None] / (2 * h), torch.arange(w) / (2 * w))
    frequency[0, 0] = frequency[0, 1]
    return idct2(noise(*shape, seed=seed) * frequency ** (-exponent / 2))


T = torch.tensor(LEVELS, dtype=torch.float64)


@pytest.fixture(scope="module")
def white():
    return train_probe(noise(192, 4, 8, 8).split(50), steps=60)


@pytest.fixture(scope="module")
def steep():
    return train_probe([power_law((192, 4, 8, 8), 2.0)], steps=200)


def test_white_latents_are_denoised_no_better_than_value_by_value(white):
    floor = 1 / ((1 - T).square() + T.square())
    assert torch.equal(white.white_losses, floor)
    torch.testing.assert_close(white.wiener_losses, floor, rtol=0.04, atol=0)
    ratio = white.losses.mean(1) / white.wiener_losses
    assert (ratio > 0.97).all()
    assert (ratio < 1.1).all()


def test_the_wiener_error_of_white_latents_is_the_same_known_share_in_every_band(white):
    expected = (T.square() / ((1 - T).square() + T.square()))[:, None].expand_as(white.wiener_errors)
    torch.testing.assert_close(white.wiener_errors, expected, rtol=0.2, atol=0)


def test_a_gaussian_power_law_is_denoised_nearly_as_well_as_can_be_and_no_better(steep):
    ratio = steep.losses.mean(1) / steep.wiener_losses
    assert (ratio > 0.97).all()
    assert (ratio < 1.12).all()
    assert (steep.losses.mean(1)[1:4] < 0.8 * steep.white_losses[1:4]).all()


def test_high_bands_of_a_steep_spectrum_are_lost_first(steep):
    for errors in (steep.errors, steep.wiener_errors):
        middle = errors[2]
        assert middle[0] < 0.15
        assert middle[-1] > 0.5
    assert (steep.wiener_errors.diff(dim=0) > 0).all()


def test_errors_by_band_add_up_to_the_loss():
    result = train_probe([noise(40, 2, 8, 8)], steps=1)
    # White data: bands weigh as many coefficients as they hold, and x̂ errs t times as much as the velocity.
    counts = radial_bins(8, 8, 8, "frequency").counts.double()
    whole = (result.errors * counts).sum(1) / counts.sum() / T.square()
    torch.testing.assert_close(whole, result.losses.mean(1), rtol=0.1, atol=0)


def test_channels_that_depend_on_each_other_are_denoised_better_than_each_by_itself():
    one = noise(128, 1, 8, 8)
    result = train_probe([torch.cat([one, -one, one, -one], dim=1)], steps=150)
    assert (result.losses.mean(1)[1:4] < 0.9 * result.wiener_losses[1:4]).all()


def test_scale_shift_and_dead_channels_play_no_role():
    latents = noise(40, 3, 5, 4)
    moved = latents * torch.tensor([0.01, 1.0, 100.0]).view(-1, 1, 1) + 7
    reference = train_probe([latents], steps=3)
    result = train_probe([torch.cat([moved, torch.full((40, 1, 5, 4), 2.0)], dim=1)], steps=3)
    assert result.n_channels == 3
    torch.testing.assert_close(result.losses, reference.losses, rtol=1e-3, atol=0)


def test_the_same_seed_gives_the_same_numbers_however_the_images_come_in_batches():
    latents = noise(40, 2, 4, 4)
    state = torch.get_rng_state()
    first, again, other = (
        train_probe(latents.split(size), steps=3, seed=seed).losses for size, seed in ((40, 0), (7, 0), (40, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_last_quarter_is_held_out():
    seen = []
    result = train_probe([noise(50, 2, 4, 4)], steps=2, advance=seen.append)
    assert (result.n_train, result.n_test) == (38, 12)
    assert result.losses.shape == (5, 12)
    assert seen == [1, 1]


def test_no_more_images_are_read_than_are_kept():
    def endless():
        while True:
            yield noise(600, 1, 3, 3)

    assert train_probe(endless(), steps=1).n_train == 768


def test_too_few_images_and_constant_latents_are_refused():
    with pytest.raises(ValueError, match="at least 32 images, a quarter of them to test it on; got 31"):
        train_probe([noise(31, 2, 4, 4)])
    with pytest.raises(ValueError, match="constant in every channel"):
        train_probe([torch.ones(40, 2, 4, 4)])
