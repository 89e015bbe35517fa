import itertools
from dataclasses import replace

import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.files.checkpoints import read_checkpoint
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.spectrum.power import radial_bins
from spectrum_matching.studies.frequency_bias import run_case as module
from spectrum_matching.studies.frequency_bias.band_errors import band_sums, coefficient_power, radial_bands
from spectrum_matching.studies.frequency_bias.fields import (
    coefficient_frequencies,
    coefficient_moments,
    gaussian_fields,
    wiener_denoiser,
)
from spectrum_matching.studies.frequency_bias.plans import CaseSpec, FrequencyPlan
from spectrum_matching.studies.frequency_bias.run_case import (
    StratifiedTimes,
    draw_samples,
    eval_steps,
    loss_weights,
    run_case,
    train_and_evaluate,
    weighted_ratio,
)

PLAN = FrequencyPlan(size=8, denoiser="SiT-micro/4", steps=2, batch_size=4, eval_points=2, times=(0.5,), bands=3)
TRAINING = FrequencyPlan(steps=5, batch_size=8, learning_rate=1e-2, warmup=2, eval_points=2)
SMALL = {"width": 32, "depth": 1, "heads": 2, "time_scale": 1000.0}


class Stopped(Exception):  # noqa: N818
    """A kill."""


def trained(checkpoint, weights=None, seed=0, plan=TRAINING, kill_at=None):
    """The network's parameters and its evaluations; an evaluation is the number of calls, once for each level."""
    network, calls = build_denoiser("SiT-micro/4", 3, (8, 8), seed=seed, **SMALL), itertools.count(1)
    data = gaussian_fields(32, 2, (3, 8, 8), 2.0).train

    def evaluate():
        assert not network.training
        return torch.full((1, 1), float(next(calls)))

    def progress(done, total):
        if done == kill_at:
            raise Stopped

    evals = train_and_evaluate(network, Path(), data, plan, seed, weights, evaluate, checkpoint, progress)
    assert not network.training
    return torch.cat([p.detach().flatten() for p in network.parameters()]), evals


def test_train_and_evaluate_is_a_function_of_the_seed(tmp_path):
    state = torch.get_rng_state()
    first, evals = trained(tmp_path / "first")
    assert [point.step for point in evals] == [0, 5]
    assert torch.equal(first, trained(tmp_path / "more", plan=replace(TRAINING, eval_points=4))[0])
    assert not torch.equal(first, trained(tmp_path / "other", seed=1)[0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("at", [2, 4])
def test_train_and_evaluate_resumes_from_its_checkpoint(monkeypatch, tmp_path, at):
    monkeypatch.setattr(module, "CHECKPOINT_EVERY", 1)
    whole, evals = trained(tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(tmp_path / "killed", kill_at=at)
    assert read_checkpoint(tmp_path / "killed", "")["step"] == at - 1
    again, resumed = trained(tmp_path / "killed")
    assert torch.equal(again, whole)
    assert [point.step for point in resumed] == [point.step for point in evals]
    assert resumed[0] == evals[0]
    # What is finished is not trained again.
    finished, same = trained(tmp_path / "killed")
    assert torch.equal(finished, whole)
    assert same == resumed


def test_train_and_evaluate_rises_and_falls_to_0(monkeypatch, tmp_path):
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    trained(tmp_path / "state", plan=replace(TRAINING, steps=8))
    assert len(rates) == 8
    assert rates[0] == pytest.approx(0.5e-2)
    assert rates[1] == max(rates)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.05e-2


def test_train_and_evaluate_with_even_weights_is_the_plain_loss_up_to_rounding(tmp_path):
    plain, even = trained(tmp_path / "plain")[0], trained(tmp_path / "even", torch.ones(8, 8))[0]
    torch.testing.assert_close(even, plain, atol=2e-3, rtol=0)
    frequencies = coefficient_frequencies(8, 8).square()
    weighted = trained(tmp_path / "weighted", frequencies / frequencies.mean())[0]
    assert (weighted - plain).abs().max() > 5 * (even - plain).abs().max()


def test_stratified_times_has_one_in_each_part():
    t = StratifiedTimes().draw(10, torch.Generator().manual_seed(0))
    assert (10 * t).floor().tolist() == list(range(10))
    assert not torch.equal(t, StratifiedTimes().draw(10, torch.Generator().manual_seed(1)))


def test_eval_steps_go_geometrically_from_0_to_the_last_update():
    assert eval_steps(640, 9) == (0, 8, 15, 28, 52, 98, 183, 342, 640)
    assert eval_steps(3, 9)[0] == 0
    assert eval_steps(3, 9)[-1] == 3
    assert eval_steps(240, 2) == (0, 240)
    ratios = torch.tensor(eval_steps(100_000, 10)[1:]).double().log().diff()
    assert ratios.std() < 0.02


@pytest.mark.slow
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
