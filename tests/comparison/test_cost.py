"""Costs on paper beside counts by hand and numbers counted before."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from spectrum_matching.comparison.cost import BACKWARD, PEAK, SHARE, cost_of, count, hours_of_plan, kept_for_backward
from spectrum_matching.comparison.plans import PLANS, Entry, Plan
from spectrum_matching.training.autoencoder_config import MethodChoice, Network


def test_count_and_kept_for_backward_by_hand():
    net, x = nn.Linear(8, 4, bias=False, device="meta"), torch.empty(3, 8, device="meta")
    assert count(lambda: net(x)) == 2 * 3 * 8 * 4
    assert kept_for_backward(lambda: net(x)) == 3 * 8 * 4  # the input in float32, and no weight
    assert kept_for_backward(lambda: net(x).exp().exp()) == 3 * 8 * 4 + 2 * 3 * 4 * 4  # and each result of exp


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


def test_hours_of_plan_count_shared_autoencoders_once():
    entries = {"a": Entry(), "b": Entry(), "c": Entry(MethodChoice("dsm", block=4))}
    plan = replace(PLANS["cifar10"](), entries=entries, seeds=(0, 1))
    cost = cost_of(plan)
    shared, each = cost.hours["autoencoder"] + cost.hours["generative"], cost.hours["diffusion"] + cost.hours["samples"]
    assert hours_of_plan(plan, cost) == pytest.approx(2 * (2 * shared + 3 * each))


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
