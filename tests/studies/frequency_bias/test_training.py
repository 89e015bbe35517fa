import copy

import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.spectrum.power import radial_bins
from spectrum_matching.studies.frequency_bias import training
from spectrum_matching.studies.frequency_bias.fields import coefficient_frequencies, gaussian_fields
from spectrum_matching.studies.frequency_bias.training import (
    Schedule,
    frequency_weights,
    inverse_power_weights,
    logged_steps,
    train_denoiser,
)

SMALL = {"width": 32, "depth": 1, "heads": 2, "time_scale": 1000.0}


def trained(weights=None, seed=0, steps=4, look_at=(0, 4), **others):
    """Weights after training, and what was looked at."""
    network = build_denoiser("SiT-micro/4", 3, (8, 8), seed=seed, **SMALL)
    seen = []
    train_denoiser(
        network,
        Path(),
        gaussian_fields(32, 2, (3, 8, 8), 2.0).train,
        Schedule(steps, 8, 1e-2, 2),
        look_at=look_at,
        look=lambda step, loss: seen.append((step, loss, network.training)),
        seed=seed,
        weights=weights,
        **others,
    )
    return torch.cat([p.detach().flatten() for p in network.parameters()]), seen


def test_the_same_seed_gives_the_same_network_whoever_looks():
    state = torch.get_rng_state()
    first, seen = trained()
    assert torch.equal(first, trained(look_at=(0, 1, 2, 4))[0])
    assert not torch.equal(first, trained(seed=1)[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert [(step, training) for step, _, training in seen] == [(0, False), (4, False)]
    assert seen[0][1] is None
    assert 0.5 < seen[1][1] < 4


@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_training_goes_on_from_what_was_kept_as_if_it_had_not_been_cut_short(monkeypatch, at):
    monkeypatch.setattr(training, "KEEP_EVERY", 1)
    states = []
    whole, seen = trained(steps=5, look_at=(0, 3, 5), keep=lambda state: states.append(copy.deepcopy(state)))
    assert [state["step"] for state in states] == [1, 2, 3, 4, 5]
    kept = next(state for state in states if state["step"] == at)
    again, seen_again = trained(steps=5, look_at=(0, 3, 5), kept=kept)
    assert torch.equal(again, whole)
    assert seen_again == [own for own in seen if own[0] > at]


def test_weights_of_power_0_are_none():
    assert frequency_weights(coefficient_frequencies(8, 8), 0.0) is None


def test_even_weights_are_the_plain_loss_but_for_rounding_and_others_are_not():
    plain, even = trained()[0], trained(torch.ones(8, 8))[0]
    torch.testing.assert_close(even, plain, atol=2e-3, rtol=0)
    weighted = trained(frequency_weights(coefficient_frequencies(8, 8), 2.0))[0]
    assert (weighted - plain).abs().max() > 5 * (even - plain).abs().max()


@pytest.mark.parametrize("power", [-1.0, 1.0, 2.0])
def test_weights_have_mean_one_and_go_with_frequency(power):
    frequencies = coefficient_frequencies(8, 8)
    weights = frequency_weights(frequencies, power)
    assert float(weights.mean()) == pytest.approx(1)
    torch.testing.assert_close(weights / weights[0, 1], (frequencies / frequencies[0, 1]) ** power)


def test_inverse_power_makes_all_bands_weigh_alike():
    bins = radial_bins(8, 8, 4, "frequency")
    power = torch.tensor([8.0, 4.0, 1.0, 0.25], dtype=torch.float64)
    weights = inverse_power_weights(bins.rings, power)
    assert float(weights.mean()) == pytest.approx(1)
    product = weights * power[bins.rings]
    torch.testing.assert_close(product, product[0, 0].expand_as(product))


def test_looks_go_from_the_untrained_network_to_the_last_update():
    assert logged_steps(640, 9) == (0, 8, 15, 28, 52, 98, 183, 342, 640)
    assert logged_steps(3, 9)[0] == 0
    assert logged_steps(3, 9)[-1] == 3
    assert logged_steps(240, 2) == (0, 240)
    ratios = torch.tensor(logged_steps(100_000, 10)[1:]).double().log().diff()
    assert ratios.std() < 0.02


def test_a_loss_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="the loss is not finite at update 4: lower the learning rate"):
        trained(torch.full((8, 8), torch.inf))


def test_a_white_field_needs_no_more_than_one_look_for_a_loss_near_its_own():
    _, seen = trained(steps=1, look_at=(1,))
    assert seen[0][1] == pytest.approx(2, rel=0.2)  # the untrained network predicts 0 of a velocity of variance 2
