"""Costs on paper beside counts by hand and numbers counted before."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spectrum_matching.comparison.cost import BACKWARD, PEAK, SHARE, cost_of, count, n_checkpoints, total
from spectrum_matching.comparison.memory import kept_for_backward, n_bytes
from spectrum_matching.comparison.plans import PLANS, Entry, Plan
from spectrum_matching.comparison.trial import planned_stages
from spectrum_matching.training.autoencoder_config import AutoencoderRun, Intervals, MethodChoice, Network
from spectrum_matching.training.run_directory import checkpoints, discard_checkpoints


def test_count_and_kept_for_backward_by_hand():
    net, x = nn.Linear(8, 4, bias=False, device="meta"), torch.empty(3, 8, device="meta")
    assert count(lambda: net(x)) == 2 * 3 * 8 * 4
    assert kept_for_backward(lambda: net(x)) == 3 * 8 * 4  # the input in float32, and no weight
    assert kept_for_backward(lambda: net(x).exp().exp()) == 3 * 8 * 4 + 2 * 3 * 4 * 4  # and each result of exp


def test_kept_for_backward_adds_what_it_counts_to_what_is_known():
    net, x, kept = nn.Linear(8, 4, bias=False, device="meta"), torch.empty(3, 8, device="meta"), {}
    assert kept_for_backward(lambda: net(x), kept=kept) == n_bytes(kept) == 3 * 8 * 4
    assert kept_for_backward(lambda: net(x + 1), kept=kept) == n_bytes(kept) == 2 * 3 * 8 * 4


def test_kept_for_backward_under_autocast_by_hand():
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 4, 1)).to("meta")
    x = torch.empty(1, 4, 8, 8, device="meta")
    of_norm = 2 * 2 * 4  # mean and deviation of each group
    assert kept_for_backward(lambda: net(x)) == 4 * 64 * (4 + 4 + 4 + 4) + of_norm
    # Convolutions keep what they are given in half precision; the norm and what follows it are in float32.
    assert kept_for_backward(lambda: net(x), half=True) == 4 * 64 * (2 + 4 + 4 + 2) + of_norm


def test_kept_for_backward_of_fused_attention_has_no_matrix():
    query = torch.empty(1, 2, 16, 8, device="meta", requires_grad=True)
    size, rows = 2 * 16 * 8 * 2, 2 * 16 * 4
    kept = kept_for_backward(lambda: F.scaled_dot_product_attention(query, query + 1, query + 2), half=True)
    assert kept == 4 * size + rows


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_plans_fit_the_gpu_that_they_name(name):
    plan = PLANS[name]()
    cost = cost_of(plan)
    assert all(value < 0.95 * plan.gigabytes * 1e9 for value in cost.memory.values()), cost.memory
    divided = cost_of(plan, n_processes=2)
    assert all(divided.memory[stage] < value for stage, value in cost.memory.items())


def test_cost_of_the_plans_by_hand():
    plan = PLANS["cifar10"]()
    cost = cost_of(plan)
    trained = 800 * 16 * (cost.operations["encode"] + cost.operations["decode"]) * BACKWARD
    assert cost.hours["autoencoder"] == pytest.approx(trained / SHARE["autoencoder"] / PEAK / 3600)
    denoised = 2500 * 64 * cost.operations["denoise"] * BACKWARD
    assert cost.hours["diffusion"] == pytest.approx(denoised / SHARE["diffusion"] / PEAK / 3600)
    assert cost.latents == 2 * 8 * 8 * 8 * 2  # mean and variance of f4d8 latents in float16
    half = cost_of(replace(plan, autoencoder=replace(plan.autoencoder, accumulation=2)))
    assert half.hours == cost.hours
    assert half.memory["autoencoder"] < cost.memory["autoencoder"]
    assert half.memory["diffusion"] == cost.memory["diffusion"]


def test_cost_of_lpips_and_the_discriminator_by_hand():
    plan = PLANS["celeba256_f8d4"]()
    run, cost = plan.autoencoder, cost_of(plan)
    assert run.losses.perceptual
    assert (run.discriminator.width, run.discriminator.depth) == (64, 3)
    vgg16 = [(3, 64, 256), (64, 64, 256), (64, 128, 128), (128, 128, 128), (128, 256, 64), *[(256, 256, 64)] * 2]
    vgg16 += [(256, 512, 32), *[(512, 512, 32)] * 2, *[(512, 512, 16)] * 3]
    lpips = 3 * sum(2 * 9 * before * after * side**2 for before, after, side in vgg16)  # two forward, one backward
    patches = [(3, 64, 128), (64, 128, 64), (128, 256, 32), (256, 512, 31), (512, 1, 30)]
    discriminator = 8 * sum(2 * 16 * before * after * side**2 for before, after, side in patches)
    update = (cost.operations["encode"] + cost.operations["decode"]) * BACKWARD + lpips + discriminator
    hours = run.steps * run.batch_size * update / SHARE["autoencoder"] / PEAK / 3600
    assert cost.hours["autoencoder"] == pytest.approx(hours)


def test_total_of_planned_stages_counts_shared_autoencoders_once():
    entries = {"a": Entry(), "b": Entry(), "c": Entry(MethodChoice("dsm", block=4))}
    plan = replace(PLANS["cifar10"](), entries=entries, seeds=(0, 1))
    cost = cost_of(plan)
    shared, each = cost.hours["autoencoder"] + cost.hours["generative"], cost.hours["diffusion"] + cost.hours["samples"]

    def hours(*trials):
        return total(cost.hours, planned_stages(plan, trials))

    assert hours(*product(entries, plan.seeds)) == pytest.approx(2 * (2 * shared + 3 * each))
    assert hours(("b", 0), ("a", 0)) == pytest.approx(shared + 2 * each)
    assert hours() == 0


@pytest.mark.parametrize(("keep_every", "expected"), [(0, 2), (4, 3), (3, 4), (10, 2)])
def test_n_checkpoints_are_those_that_a_training_leaves(keep_every, expected, tmp_path):
    intervals = Intervals(checkpoint=1, keep_last=2, keep_every=keep_every)
    assert n_checkpoints(AutoencoderRun(steps=8, intervals=intervals)) == expected
    for step in range(1, 9):
        (tmp_path / f"{step:09d}").mkdir()
        discard_checkpoints(tmp_path, 2, keep_every)
    assert len(checkpoints(tmp_path)) == expected


def test_cost_of_disk_counts_checkpoints_that_are_kept():
    plan = PLANS["cifar10"]()
    more = replace(plan.diffusion, intervals=replace(plan.diffusion.intervals, keep_every=500))
    before, after = cost_of(plan).disk, cost_of(replace(plan, diffusion=more)).disk
    # Weights alone, and at 500, 1000 and so on to 2500 weights, two moments and an average; before, at the last two.
    assert after["diffusion"] / before["diffusion"] == pytest.approx((1 + 5 * 4) / (1 + 2 * 4))
    assert {stage for stage in after if after[stage] != before[stage]} == {"diffusion"}


def test_cost_of_generation_without_training_by_hand():
    plan = PLANS["cifar10"]()
    cost = cost_of(plan)
    encode, decode = cost.operations["encode"], cost.operations["decode"]
    counted = 2048 * (encode + decode) + (2 * 2048 + 4 * 4096) * decode  # two interpolations, four models
    assert cost.hours["generative"] == pytest.approx(counted / SHARE["autoencoder"] / PEAK / 3600)
    assert "generative" not in cost_of(replace(plan, measuring=replace(plan.measuring, features=None))).hours


def test_cost_of_a_pretrained_autoencoder_is_not_known():
    plan = Plan()
    assert cost_of(plan) is not None
    assert cost_of(replace(plan, autoencoder=replace(plan.autoencoder, network=Network(pretrained="x")))) is None
