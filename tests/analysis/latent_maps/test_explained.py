import pytest
import torch

from spectrum_matching.analysis.latent_maps.explained import Explained


def explained(fields, estimates, batch_size=3):
    found = Explained()
    for batch in zip(fields.split(batch_size), estimates.split(batch_size), strict=True):
        found.add(*batch)
    return found


def test_share_is_one_less_the_error_over_the_power(generator):
    fields = torch.randn(10, 2, 16, 16, generator=generator)
    estimates = fields + 0.5 * torch.randn(fields.shape, generator=generator)
    found = explained(fields, estimates)
    assert float(found.share()) == pytest.approx(1 - float((fields - estimates).square().sum() / fields.square().sum()))
    assert found.whole() == pytest.approx(float(fields.square().sum()))
    errors = (fields - estimates).square().sum((0, 2, 3)) / fields.square().sum((0, 2, 3))
    assert [float(share) for share in found.channels()] == pytest.approx((1 - errors).tolist())


def test_bands_find_the_frequencies_that_are_lost(power_law_field):
    fields = power_law_field(0, (12, 2, 32, 32), 2.0) + 1
    low = torch.fft.ifft2(torch.fft.fft2(fields) * (torch.fft.fftfreq(32).abs() < 0.1)[:, None]).real
    bands = explained(fields, low).bands()
    shares = [float(share) for share in bands.shares]
    assert float(bands.dc) == pytest.approx(1)
    assert shares[0] > 0.9
    assert shares[-1] < 0.05
    assert all(0 < share.standard_error < 0.2 for share in bands.shares[4:])
    assert list(bands.frequencies) == sorted(bands.frequencies)


def test_bands_and_dc_sum_to_all_power(generator):
    fields = torch.randn(4, 3, 5, 5, generator=generator)  # small enough for rings without coefficients
    found = explained(fields, torch.zeros_like(fields))
    assert float(found.share()) == pytest.approx(0, abs=1e-12)
    assert all(share.value is not None for share in found.bands().shares)


def test_nothing_to_explain_is_refused():
    share = explained(torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8)).share()
    assert share.value is None
    assert share.refused == "there is nothing to explain"
