from dataclasses import replace

import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.spectrum.power import radial_bins
from spectrum_matching.studies.frequency_bias.band_errors import band_sums, coefficient_power, radial_bands
from spectrum_matching.studies.frequency_bias.fields import coefficient_frequencies, gaussian_fields
from spectrum_matching.studies.frequency_bias.plans import CaseSpec, FrequencyPlan
from spectrum_matching.studies.frequency_bias.run_case import draw_samples, loss_weights, run_case, weighted_ratio
from spectrum_matching.studies.frequency_bias.wiener import coefficient_moments, wiener_denoiser

PLAN = FrequencyPlan(size=8, denoiser="SiT-micro/4", steps=2, batch_size=4, eval_points=2, times=(0.5,), bands=3)


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_draw_samples_of_the_wiener_filter_has_the_spectrum_it_knows(exponent):
    moments = coefficient_moments(gaussian_fields(2000, 2, (2, 16, 16), exponent).train)
    plan, bands = replace(PLAN, samples=400, sampling_steps=60), radial_bands((16, 16), 6)
    samples = draw_samples(wiener_denoiser(moments, Path()), Path(), plan, (2, 16, 16), torch.device("cpu"))
    power = moments.covariance.diagonal(dim1=-2, dim2=-1).sum(-1) + moments.mean.square().sum(0)
    decibels = 10 * (band_sums(coefficient_power(samples), bands) / (band_sums(power, bands) / 512)).log10()
    assert decibels.abs().max() < 0.5


@pytest.mark.parametrize("power", [-1.0, 1.0, 2.0])
def test_loss_weights_have_mean_1_and_go_with_frequency(power):
    frequencies, bands = coefficient_frequencies(8, 8), radial_bins(8, 8, 4, "frequency")
    weights = loss_weights(CaseSpec(loss_power=power), bands, torch.ones(8, 8))
    assert float(weights.mean()) == pytest.approx(1)
    torch.testing.assert_close(weights / weights[0, 1], (frequencies / frequencies[0, 1]) ** power)


def test_loss_weights_of_inverse_power_make_bands_equal():
    bands = radial_bins(8, 8, 4, "frequency")
    power = torch.tensor([8.0, 4.0, 1.0, 0.25], dtype=torch.float64)
    weights = loss_weights(CaseSpec(inverse_power=True), bands, power[bands.rings])
    assert float(weights.mean()) == pytest.approx(1)
    product = weights * power[bands.rings]
    torch.testing.assert_close(product, product[0, 0].expand_as(product))


def test_loss_weights_of_the_plain_loss_are_none():
    assert loss_weights(CaseSpec(), radial_bins(8, 8, 4, "frequency"), torch.ones(8, 8)) is None


def test_weighted_ratio_counts_what_has_weight():
    errors, power = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 4.0]])
    assert weighted_ratio(errors, power, torch.ones(1, 2)) == pytest.approx(4 / 6)
    assert weighted_ratio(errors, power, torch.tensor([[0.0, 5.0]])) == pytest.approx(3 / 4)


def test_run_case_refuses_errors_that_are_not_finite(tmp_path):
    fields = gaussian_fields(8, 4, (3, 8, 8), 0.0)
    plan = replace(PLAN, learning_rate=float("inf"))
    with pytest.raises(ValueError, match="errors are not finite at update 2: lower learning_rate"):
        run_case(plan, "images", 0, fields, torch.device("cpu"), tmp_path / "checkpoint")
