import copy
from dataclasses import replace

import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.studies.frequency_bias.fields import coefficient_frequencies, gaussian_fields
from spectrum_matching.studies.frequency_bias.plans import FrequencyPlan
from spectrum_matching.studies.frequency_bias.training import DenoiserTraining, StratifiedTimes, eval_steps

SMALL = {"width": 32, "depth": 1, "heads": 2, "time_scale": 1000.0}
PLAN = FrequencyPlan(steps=5, batch_size=8, learning_rate=1e-2, warmup=2)


def start(weights=None, seed=0, plan=PLAN):
    network = build_denoiser("SiT-micro/4", 3, (8, 8), seed=seed, **SMALL)
    return DenoiserTraining(network, Path(), gaussian_fields(32, 2, (3, 8, 8), 2.0).train, plan, seed, weights)


def trained(*stops, **options):
    """The weights after training from stop to stop."""
    training = start(**options)
    for stop in stops or (5,):
        training.train_until(stop)
        assert not training.network.training
    return flat(training)


def flat(training):
    return torch.cat([p.detach().flatten() for p in training.network.parameters()])


def test_train_until_gives_the_same_network_for_any_stops():
    state = torch.get_rng_state()
    whole = trained()
    assert torch.equal(whole, trained(0, 1, 2, 5))
    assert not torch.equal(whole, trained(seed=1))
    assert not torch.equal(whole, flat(start()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("at", [1, 3, 4])
def test_denoiser_training_resumes_from_its_state(at):
    first = start()
    first.train_until(at)
    state = copy.deepcopy(first.state_dict())
    second = start()
    second.load_state_dict(state)
    assert second.step == at
    second.train_until(5)
    assert torch.equal(flat(second), trained())


def test_train_until_rises_and_falls_to_0():
    training, rates = start(plan=replace(PLAN, steps=8)), []
    for step in range(1, 9):
        training.train_until(step)
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.5e-2)
    assert rates[1] == max(rates)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.05e-2


def test_train_until_with_even_weights_is_the_plain_loss_up_to_rounding():
    plain, even = trained(4), trained(4, weights=torch.ones(8, 8))
    torch.testing.assert_close(even, plain, atol=2e-3, rtol=0)
    frequencies = coefficient_frequencies(8, 8).square()
    weighted = trained(4, weights=frequencies / frequencies.mean())
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
