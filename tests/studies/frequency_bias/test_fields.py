import pytest
import torch

from spectrum_matching.spectrum import dct2, fit_power_law
from spectrum_matching.studies.frequency_bias.fields import (
    coefficient_frequencies,
    coefficient_moments,
    gaussian_fields,
    gaussian_surrogates,
    tilted,
    unit_scale,
)


def images(n=24, size=16, seed=0):
    uniform = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(uniform, 3, 1, 1) * 2 - 1


def fitted(fields):
    """The exponent through single coefficients, DC left out."""
    power = dct2(fields.double()).square().mean((0, 1)).flatten()[1:]
    frequencies = coefficient_frequencies(*fields.shape[-2:]).flatten()[1:]
    return float(fit_power_law(power, frequencies).exponent)


@pytest.mark.parametrize("delta", [-1.0, 0.5, 2.0])
def test_tilted_changes_exponent_by_delta_and_keeps_signs(delta):
    plain = images().double()
    changed = tilted(plain, delta)
    assert fitted(changed) == pytest.approx(fitted(plain) - delta, abs=1e-9)
    assert torch.equal(dct2(changed).sign(), dct2(plain).sign())
    torch.testing.assert_close(tilted(changed, -delta), plain, atol=1e-9, rtol=0)


def test_tilted_by_0_returns_its_input():
    plain = images()
    assert tilted(plain, 0.0) is plain


def test_unit_scale_has_unit_variance_and_channel_means_0():
    fields = unit_scale(tilted(images(), 2.0), tilted(images(seed=1), 2.0))
    assert float(fields.train.square().mean()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(fields.train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)


def test_unit_scale_scales_test_data_like_training_data():
    train, test = images(), images(seed=1)
    one, doubled = unit_scale(train, test), unit_scale(train, 2 * test)
    std = train.std((0, 2, 3), correction=0)
    assert torch.equal(one.train, doubled.train)
    assert float((doubled.test - one.test).std() / test.std()) == pytest.approx(1 / float(std.mean()), rel=0.05)


def test_unit_scale_refuses_constant_data():
    with pytest.raises(ValueError, match="the data do not vary: there is nothing to learn from them"):
        unit_scale(torch.ones(4, 3, 8, 8), torch.ones(4, 3, 8, 8))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_gaussian_fields_have_their_exponent(exponent):
    fields = gaussian_fields(400, 8, (3, 16, 16), exponent)
    assert fitted(fields.train) == pytest.approx(exponent, abs=0.02)
    assert float(fields.train.square().mean()) == pytest.approx(1, abs=1e-5)
    assert not torch.equal(fields.train[:8], fields.test)


def test_gaussian_surrogates_have_moments_of_data():
    moments = coefficient_moments(unit_scale(images(600, 8), images(8, 8, seed=1)).train)
    surrogate = coefficient_moments(gaussian_surrogates(4000, 8, moments).train)
    scale = moments.covariance.diagonal(dim1=-2, dim2=-1).mean()
    error = (surrogate.covariance - moments.covariance).square().mean().sqrt() / scale
    assert error < 0.05
    # Colours are correlated in both or in neither.
    assert float((moments.covariance[0, 1, 0, 1] - surrogate.covariance[0, 1, 0, 1]).abs() / scale) < 0.1
