import pytest
import torch

from spectrum_matching.spectrum import dct2, fit_power_law
from spectrum_matching.studies.frequency_bias.fields import (
    coefficient_frequencies,
    gaussian_fields,
    gaussian_twins,
    tilted,
    tilted_images,
    unit_scale,
)
from spectrum_matching.studies.frequency_bias.wiener import coefficient_moments


def images(n=24, size=16, seed=0):
    drawn = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(drawn, 3, 1, 1) * 2 - 1


def fitted(fields):
    """The exponent through single coefficients, DC left out."""
    power = dct2(fields.double()).square().mean((0, 1)).flatten()[1:]
    frequencies = coefficient_frequencies(*fields.shape[-2:]).flatten()[1:]
    return float(fit_power_law(power, frequencies).exponent)


@pytest.mark.parametrize("delta", [-1.0, 0.5, 2.0])
def test_a_tilt_moves_the_exponent_by_delta_and_keeps_signs(delta):
    plain = images().double()
    moved = tilted(plain, delta)
    assert fitted(moved) == pytest.approx(fitted(plain) - delta, abs=1e-9)
    assert torch.equal(dct2(moved).sign(), dct2(plain).sign())


def test_a_tilt_of_nothing_is_nothing():
    plain = images()
    assert tilted(plain, 0.0) is plain


@pytest.mark.parametrize("delta", [0.0, 2.0])
def test_tilted_images_have_unit_variance_and_can_be_seen_again(delta):
    train, test = images(), images(seed=1)
    fields = tilted_images(train, test, delta)
    assert float(fields.train.square().mean()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(fields.train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(fields.restore(fields.test), test, atol=1e-5, rtol=0)


def test_the_test_set_is_scaled_as_the_training_set():
    train, test = images(), images(seed=1)
    one, doubled = unit_scale(train, test), unit_scale(train, 2 * test)
    std = train.std((0, 2, 3), correction=0)
    assert torch.equal(one.train, doubled.train)
    assert float((doubled.test - one.test).std() / test.std()) == pytest.approx(1 / float(std.mean()), rel=0.05)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_gaussian_fields_have_their_exponent(exponent):
    fields = gaussian_fields(400, 8, (3, 16, 16), exponent)
    assert fitted(fields.train) == pytest.approx(exponent, abs=0.02)
    assert float(fields.train.square().mean()) == pytest.approx(1, abs=1e-5)
    assert not torch.equal(fields.train[:8], fields.test)


def test_twins_have_the_moments_of_what_they_are_twins_of():
    train = tilted_images(images(600, 8), images(8, 8, seed=1), 0.0).train
    known = coefficient_moments(train)
    twin = coefficient_moments(gaussian_twins(4000, 8, known).train)
    scale = known.covariance.diagonal(dim1=-2, dim2=-1).mean()
    error = (twin.covariance - known.covariance).square().mean().sqrt() / scale
    assert error < 0.05
    # Colours of a pixel go together in neither or in both.
    assert float((known.covariance[0, 1, 0, 1] - twin.covariance[0, 1, 0, 1]).abs() / scale) < 0.1


def test_data_that_do_not_vary_are_refused_in_one_line():
    with pytest.raises(ValueError, match="the data do not vary: there is nothing to learn from them"):
        unit_scale(torch.ones(4, 3, 8, 8), torch.ones(4, 3, 8, 8))
