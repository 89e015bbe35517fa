import pytest
import scipy.stats
import torch

from spectrum_matching.spectrum import flatten_bands, kl_divergence, spectrum_distribution


@pytest.fixture
def bands(generator):
    return torch.rand(5, 16, dtype=torch.float64, generator=generator) + 0.01


def test_flatten_bands_maps_a_power_law_to_another():
    f = torch.linspace(0.02, 0.7, 16)
    torch.testing.assert_close(flatten_bands(f**-2.0, f, 0.6), f**-1.4)


def test_spectrum_distribution_is_positive_and_sums_to_one(bands):
    for log_power in (False, True):
        shares = spectrum_distribution(bands, log_power)
        assert (shares > 0).all()
        torch.testing.assert_close(shares.sum(-1), torch.ones(5, dtype=torch.float64))


def test_spectrum_distribution_depends_on_amplitude_only_with_log_power(bands):
    torch.testing.assert_close(spectrum_distribution(1e4 * bands), spectrum_distribution(bands))
    changed = spectrum_distribution(1e4 * bands, log_power=True) - spectrum_distribution(bands, log_power=True)
    assert changed.abs().max() > 0.01


def test_spectrum_distribution_of_zeros_is_zero_with_finite_gradient():
    bands = torch.zeros(2, 4, requires_grad=True)
    shares = spectrum_distribution(bands)
    assert torch.equal(shares, torch.zeros(2, 4))
    shares.sum().backward()
    assert bands.grad.isfinite().all()


def test_kl_divergence_equals_scipy(bands):
    p, q = spectrum_distribution(bands), spectrum_distribution(bands.flip(-1))
    expected = scipy.stats.entropy(p.numpy(), q.numpy(), axis=-1)
    torch.testing.assert_close(kl_divergence(p, q), torch.from_numpy(expected))


def test_kl_divergence_is_zero_for_equals_and_positive_otherwise(bands):
    p = spectrum_distribution(bands)
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(5, dtype=torch.float64))
    assert (kl_divergence(p, p.flip(-1)) > 0).all()


def test_kl_divergence_is_finite_for_empty_bands():
    sure, even = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    torch.testing.assert_close(kl_divergence(sure, even), torch.tensor(2.0).log())
    assert 10 < kl_divergence(even, sure) < 20
