import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from codecs_of_tests import TwoHeads
from runs import EVERYTHING, differing, flat
from spectrum_matching.data.images import ImageBatch, open_images
from spectrum_matching.data.order import PositionedBatches, image_batches
from spectrum_matching.methods import feature_gap
from spectrum_matching.methods.method import Method, Term
from spectrum_matching.methods.shared_transforms import Identity
from spectrum_matching.methods.zoo import KL_WEIGHT, va_vae
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.seeding import seeded
from spectrum_matching.training import autoencoder_config
from spectrum_matching.training.optimization import DivergedError, ema_weights, set_learning_rate
from spectrum_matching.training.train_autoencoder import (
    AutoencoderTrainer,
    balance,
    build_state,
    compile_parts,
    open_autoencoder,
    train_autoencoder,
)

ALIGNMENT = json.loads((Path(__file__).parents[1] / "oracles" / "alignment_values.json").read_text())["va_vae"]
CPU = torch.device("cpu")
DISCRIMINATOR = autoencoder_config.DiscriminatorChoice(weight=0.5, width=8, depth=2)
VA_VAE = autoencoder_config.MethodChoice("va_vae", encoder="gradients:4")


@pytest.fixture
def batches():
    """(n, b) → n batches of b smooth random images (3, 32, 32)."""

    def build(n, b=2):
        cells = torch.rand(n, b, 3, 4, 4, generator=torch.Generator().manual_seed(5)) * 2 - 1
        images = [torch.nn.functional.interpolate(x, 32, mode="bicubic").clamp(-1, 1) for x in cells]
        return [ImageBatch(x, torch.full((b,), -1), ()) for x in images]

    return build


def new_state(run, method=None):
    autoencoder = open_autoencoder(run)
    return build_state(run, autoencoder, method or run.method.build(None, autoencoder.channels, run.seed), CPU)


def train(run, state, batches, perceptual=None):
    return list(train_autoencoder(run, state, iter(batches), Accelerator(), perceptual))


def gradients(net):
    return [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize(
    ("method", "sample", "is_used"),
    [("autoencoder", True, True), ("sd_vae", False, True), ("autoencoder", False, False)],
)
def test_the_layer_of_the_variance_is_trained_where_it_is_used(small_run, batches, method, sample, is_used):
    choice = autoencoder_config.MethodChoice(method)
    run = replace(small_run, method=choice, sample_posterior=sample, steps=1)
    state = build_state(run, Autoencoder(TwoHeads()), choice.build(), CPU)
    layer = state.autoencoder.model.encoder[2]
    before = layer.weight.clone()
    train(run, state, batches(1))
    assert torch.equal(layer.weight, before) is not is_used
    trained = {p for p in state.autoencoder.parameters() if p.requires_grad}
    assert {*state.optimizer.state} == trained  # all of them had a gradient, as a distributed wrapper needs


@pytest.mark.slow
@pytest.mark.parametrize(("method", "precision"), [(None, "fp32"), (None, "fp16"), (VA_VAE, "fp32"), (VA_VAE, "bf16")])
def test_train_autoencoder_resumes_bit_for_bit(small_run, method, precision):
    run = replace(small_run, **EVERYTHING, precision=precision)
    run = replace(run, method=method or run.method)
    images = open_images(run.data.path, 32, crop="random", flip=True, seed=run.seed)

    def continued(state, end):
        stream = image_batches(
            images, PositionedBatches(len(images), run.batch_size, run.seed, start=state.step, end=end)
        )
        train(replace(run, steps=end), state, stream)
        return state

    whole = continued(new_state(run), 4)
    half = continued(new_state(run), 2)
    resumed = new_state(replace(run, seed=99))
    resumed.load_state_dict(copy.deepcopy(half.state_dict()))
    assert differing(half.state_dict(), whole.state_dict())
    continued(resumed, 4)
    assert differing(resumed.state_dict(), whole.state_dict()) == []
    parts = {path.split("/")[1] for path in flat(whole.state_dict())}
    scaled = {"scaler"} if precision == "fp16" else set()
    networks = {"reconstructor", "discriminator", "optimizer", "discriminator_optimizer", "ema"}
    assert parts == networks | scaled | {"step", "skipped"}


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_load_state_dict_keeps_the_device(small_run):
    state = new_state(small_run)
    saved = copy.deepcopy(state.state_dict())
    state.reconstructor.to("meta")
    state.load_state_dict(saved)
    assert {p.device.type for p in state.ema.shadow_params} == {"meta"}


def test_train_autoencoder_without_transform_is_plain_training(small_run, batches):
    run = replace(small_run, steps=3)
    state, data = new_state(run), batches(3)
    records = train(run, state, data)

    plain = Autoencoder.from_preset("tiny", seed=run.seed)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=run.optimizer.weight_decay, fused=True)
    for step, batch in enumerate(data):
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / 2)
        latents = plain.encode(batch.images).sample(seeded("step", run.seed, 0, step))
        loss = (plain.decode(latents) - batch.images).abs().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), run.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(records[step].losses["l1"], loss.detach())
    assert differing(plain.state_dict(), state.autoencoder.state_dict()) == []


def test_train_autoencoder_of_micro_batches_equals_the_whole_batch(small_run, batches):
    one = replace(
        small_run, steps=2, batch_size=4, sample_posterior=False, method=autoencoder_config.MethodChoice("esm")
    )
    two = replace(one, accumulation=2)
    states = [new_state(run) for run in (one, two)]
    records = [train(run, state, batches(2, 4)) for run, state in zip((one, two), states, strict=True)]
    for a, b in zip(*records, strict=True):
        assert a.losses.keys() == b.losses.keys() == {"l1", "esm"}
        assert all(torch.isclose(a.losses[k], b.losses[k], rtol=1e-5) for k in a.losses)
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-4)
    # Adam divides by the gradient's size, so that rounding of a gradient near 0 moves a weight by up to lr.
    errors = [(a - b).abs() for a, b in zip(*(s.autoencoder.parameters() for s in states), strict=True)]
    assert torch.cat([e.flatten() for e in errors]).mean() < 1e-6


@pytest.mark.parametrize("adaptive", [True, False])
def test_generator_backward_equals_the_naive_gradient(small_run, batches, adaptive):
    run = replace(
        small_run,
        method=autoencoder_config.MethodChoice("esm_dsm", block=4, keep=(7, 3), esm_weight=0.1),
        losses=autoencoder_config.Losses(l1=1.0, l2=0.5),
        discriminator=replace(DISCRIMINATOR, adaptive=adaptive),
    )
    state, images = new_state(run), batches(1)[0].images
    trainer = AutoencoderTrainer(run, state, Accelerator())
    made, losses = trainer.generator_backward(images, seeded(1), is_adversarial=True, n_micro=2)
    assert all(p.grad is None for p in state.discriminator.parameters())
    assert all(p.requires_grad for p in state.discriminator.parameters())

    naive = new_state(run)
    again, encoding = naive.reconstructor(images, seeded(1))
    assert torch.equal(made.output, again.output)
    error = again.output - again.target
    reconstruction = error.abs().mean() + 0.5 * error.square().mean()
    adversarial = -naive.discriminator(again.output).mean()
    weight = 0.5
    if adaptive:
        last = naive.autoencoder.layers.decoder_output
        pull, push = (torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (reconstruction, adversarial))
        weight = 0.5 * (pull / (push + 1e-4)).clamp(0, 1e4)
        assert losses["adversarial_weight"].item() == pytest.approx(weight.item(), rel=1e-5)
    ((reconstruction + weight * adversarial + 0.1 * encoding["esm"]) / 2).backward()
    for a, b in zip(gradients(state.autoencoder), gradients(naive.autoencoder), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize("adversarial", [True, False])
def test_generator_backward_adds_the_second_pair_without_its_adversarial_part(small_run, batches, adversarial):
    run = replace(
        small_run,
        method=autoencoder_config.MethodChoice("scale_equivariance", added_weight=0.5),
        losses=autoencoder_config.Losses(l1=1.0, l2=0.5),
        discriminator=replace(DISCRIMINATOR, adaptive=False),
    )
    state, images = new_state(run), batches(1)[0].images
    trainer = AutoencoderTrainer(run, state, Accelerator())
    losses = trainer.generator_backward(images, seeded(1), adversarial, n_micro=2)[1]

    naive = new_state(run)
    again, encoding = naive.reconstructor(images, seeded(1))
    total = KL_WEIGHT * encoding["kl"]
    for pair, weight in ((again, 1.0), (again.added, 0.5)):
        error = pair.output - pair.target
        total = total + weight * (error.abs().mean() + 0.5 * error.square().mean())
    if adversarial:
        total = total - 0.5 * naive.discriminator(again.output).mean()
    (total / 2).backward()
    assert losses["added"].item() == pytest.approx((error.abs().mean() + 0.5 * error.square().mean()).item())
    for a, b in zip(gradients(state.autoencoder), gradients(naive.autoencoder), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize("discriminator", [None, True, False], ids=["alone", "beside adaptive", "beside fixed"])
def test_generator_backward_balances_gradients_at_the_encoder_s_last_layer(small_run, batches, discriminator):
    run = replace(
        small_run,
        method=replace(VA_VAE, feature_weight=0.2),
        losses=autoencoder_config.Losses(l1=1.0, l2=0.5),
        discriminator=replace(DISCRIMINATOR, adaptive=bool(discriminator))
        if discriminator is not None
        else autoencoder_config.DiscriminatorChoice(),
    )
    state, images = new_state(run), batches(1)[0].images
    trainer, is_adversarial = AutoencoderTrainer(run, state, Accelerator()), discriminator is not None
    losses = trainer.generator_backward(images, seeded(1), is_adversarial, n_micro=2)[1]

    naive = new_state(run)
    again, encoding = naive.reconstructor(images, seeded(1))
    error = again.output - again.target
    reconstruction = error.abs().mean() + 0.5 * error.square().mean()

    def norms(layer, *values):
        return [torch.autograd.grad(value, layer, retain_graph=True)[0].norm().item() for value in values]

    pull, own = norms(naive.autoencoder.layers.encoder_output, reconstruction, encoding["features"])
    weight = 0.2 * pull / (own + 1e-4)
    assert losses["features_weight"].item() == pytest.approx(weight, rel=1e-5)
    assert losses["features"].item() == pytest.approx(encoding["features"].item())
    total = reconstruction + KL_WEIGHT * encoding["kl"] + weight * encoding["features"]
    if discriminator is not None:
        fooled = -naive.discriminator(again.output).mean()
        pull, push = norms(naive.autoencoder.layers.decoder_output, reconstruction, fooled)
        total = total + 0.5 * (pull / (push + 1e-4) if discriminator else 1) * fooled
    (total / 2).backward()
    for a, b in zip(gradients(state.reconstructor), gradients(naive.reconstructor), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())
    assert state.reconstructor.terms[0].projection.weight.grad.any()


@pytest.mark.parametrize("case", ALIGNMENT["cases"], ids=lambda case: f"seed {case['seed']}")
def test_balance_equals_published_weights(case):
    mapped, features = (
        torch.from_numpy(np.random.default_rng(case["seed"] + more).standard_normal(case["shape"])) for more in (0, 100)
    )
    mapped.requires_grad_()
    loss = sum(feature_gap(mapped, features * 2 + 1, case["cosine_margin"], case["distance_margin"]))
    output = mapped * 1
    pull = torch.autograd.grad(output.abs().mean(), output, retain_graph=True)[0]
    term = Term("features", None, 0.1, balanced=True)
    weights = balance([term], {"features": loss}, output, pull, mapped, Accelerator())
    assert {name: value.item() for name, value in weights.items()} == pytest.approx({"features": case["weight"]})


@pytest.mark.parametrize(("scale", "is_number"), [(1.0, True), (1e38, False)])
def test_balance_gives_no_weight_where_a_scaled_gradient_overflows(scale, is_number):
    layer = torch.ones(3, requires_grad=True)
    term, losses = Term("features", None, 0.1, balanced=True), {"features": 20 * layer.sum()}
    weights = balance([term], losses, 10 * layer, torch.ones(3), layer, Accelerator(), torch.tensor(scale))
    assert weights["features"].isfinite() == is_number


def test_generator_backward_balances_only_balanced_terms(small_run, batches, monkeypatch):
    for choice in (autoencoder_config.MethodChoice("esm"), replace(VA_VAE, feature_weight=0.0)):
        run = replace(small_run, method=choice, steps=1)
        state = new_state(run)
        with monkeypatch.context() as patched:
            patched.setattr(torch.autograd, "grad", pytest.fail)
            (record,) = train(run, state, batches(1))
        assert not any(name.endswith("_weight") for name in record.losses)


def test_state_dict_leaves_out_the_vision_encoder(small_run, batches):
    encoder = torch.nn.Conv2d(3, 6, 4, stride=4)
    before = copy.deepcopy(encoder.state_dict())
    run = replace(small_run, steps=2)
    state = new_state(run, va_vae(encoder, 6, 8))
    first = state.reconstructor.terms[0].projection.weight.clone()
    train(run, state, batches(2))
    others = {k: v for k, v in state.state_dict()["reconstructor"].items() if not k.startswith("autoencoder.")}
    assert others.keys() == {"terms.0.projection.weight"}
    assert not torch.equal(first, others["terms.0.projection.weight"])
    assert differing(before, encoder.state_dict()) == []
    n_trained = len(list(state.autoencoder.parameters())) + 1
    assert len(state.state_dict()["optimizer"]["state"]) == n_trained


def test_train_autoencoder_skips_features_that_are_not_finite(small_run, batches):
    calls = []

    def encoder(images):
        calls.append(1)
        return torch.nn.functional.avg_pool2d(images, 4) * (math.nan if len(calls) == 3 else 1)

    state = new_state(small_run, va_vae(encoder, 3, 8))
    records = train_autoencoder(small_run, state, iter(batches(4)), Accelerator())
    next(records), next(records)
    before = copy.deepcopy(state.state_dict())
    record = next(records)
    assert record.skipped
    assert record.losses["features_weight"].isnan()
    assert set(differing(before, state.state_dict())) == {"/step", "/skipped"}
    assert not next(records).skipped


def test_discriminator_backward_leaves_the_autoencoder_alone(small_run, batches):
    run = replace(small_run, discriminator=DISCRIMINATOR)
    state = new_state(run)
    made, _ = state.reconstructor(batches(1)[0].images, seeded(1))
    losses = AutoencoderTrainer(run, state, Accelerator()).discriminator_backward(made, n_micro=1)
    assert losses.keys() == {"discriminator", "logits_real", "logits_fake"}
    assert all(p.grad is None for p in state.reconstructor.parameters())
    assert all(g.abs().sum() > 0 for g in gradients(state.discriminator))


def test_train_autoencoder_starts_the_discriminator_at_its_step(small_run, batches):
    run = replace(small_run, discriminator=replace(DISCRIMINATOR, start=2))
    state = new_state(run)
    first = copy.deepcopy(state.discriminator.state_dict())
    records = train_autoencoder(run, state, iter(batches(4)), Accelerator())
    for expected in (False, False, True, True):
        record = next(records)
        assert ("adversarial" in record.losses) == ("discriminator" in record.losses) == expected
        assert bool(differing(first, state.discriminator.state_dict())) == expected


def test_train_autoencoder_never_calls_a_term_of_weight_0(small_run, batches):
    def never(*arguments):
        raise AssertionError("called")

    method = Method("quiet", (Term("never", never, 0.0),), Identity(), "nobody")
    run = replace(small_run, losses=autoencoder_config.Losses(l1=0.0, l2=1.0, perceptual=0.0), steps=1)
    (record,) = train(run, new_state(run, method), batches(1), perceptual=never)
    assert record.losses.keys() == {"l2"}


def bad_at(*numbers):
    """A method whose loss is not a number in the calls of these numbers, from 1."""
    calls = []

    def loss(posterior, latents, images):
        calls.append(1)
        return latents.mean() * (math.nan if len(calls) in numbers else 1.0)

    return Method("bad", (Term("broken", loss, 1.0),), Identity(), "nobody")


def test_train_skips_and_counts_a_step_that_is_not_finite(small_run, batches):
    run = replace(small_run, discriminator=DISCRIMINATOR)
    state = new_state(run, bad_at(3))
    records = train_autoencoder(run, state, iter(batches(4)), Accelerator())
    next(records), next(records)
    before = copy.deepcopy(state.state_dict())
    record = next(records)
    assert record.skipped
    assert record.losses["broken"].isnan()
    assert set(differing(before, state.state_dict())) == {"/step", "/skipped"}
    assert (state.step, state.skipped) == (3, 1)
    assert not next(records).skipped
    assert differing(before, state.state_dict())


def test_train_skips_a_discriminator_gradient_that_is_not_finite(small_run, batches):
    run = replace(
        small_run, discriminator=DISCRIMINATOR, steps=1, optimizer=autoencoder_config.Optimizer(lr=1e-3, warmup=0)
    )
    state = new_state(run)
    set_learning_rate(state.optimizer, 1e-3, 0, 0)
    before = copy.deepcopy(state.state_dict())
    weight = next(state.discriminator.parameters())
    weight.register_hook(lambda gradient: gradient * math.nan)
    (record,) = train(run, state, batches(1))
    assert record.skipped
    assert set(differing(before, state.state_dict())) == {"/step", "/skipped"}


def test_train_diverges_after_bad_steps_in_a_row(small_run, batches):
    run = replace(small_run, steps=9, max_bad_steps=3)
    state = new_state(run, bad_at(3, 4, 5))
    records = train_autoencoder(run, state, iter(batches(9)), Accelerator())
    assert [next(records).skipped for _ in range(5)] == [False, False, True, True, True]
    with pytest.raises(DivergedError, match=r"3 steps in a row.*broken"):
        next(records)
    resumed = new_state(run)
    resumed.load_state_dict(state.state_dict())
    assert [r.skipped for r in train(run, resumed, batches(9))] == [False] * 4


def test_train_continues_after_bad_steps_apart(small_run, batches):
    run = replace(small_run, steps=4, max_bad_steps=2)
    state = new_state(run, bad_at(1, 3))
    assert [r.skipped for r in train(run, state, batches(4))] == [True, False, True, False]


def test_train_autoencoder_of_the_decoder_keeps_the_encoder(small_run, batches, tmp_path):
    Autoencoder.from_preset("tiny", seed=3).save_pretrained(tmp_path / "theirs")
    network = autoencoder_config.Network(preset="none such", pretrained=str(tmp_path / "theirs"), train="decoder")
    run = replace(
        small_run,
        network=network,
        discriminator=DISCRIMINATOR,
        method=autoencoder_config.MethodChoice("dsm", block=4, keep=(3,)),
    )
    state = new_state(run)
    before = copy.deepcopy(state.autoencoder.state_dict())
    train(run, state, batches(4))
    changed = {path.split("/")[1].split(".")[1] for path in differing(before, state.autoencoder.state_dict())}
    assert changed == {"decoder", "post_quant_conv"}
    with ema_weights(state):
        changed = {path.split("/")[1].split(".")[1] for path in differing(before, state.autoencoder.state_dict())}
        assert changed == {"decoder", "post_quant_conv"}


@pytest.mark.slow
def test_train_autoencoder_in_half_precision_differs_from_fp32(small_run, batches):
    losses = {}
    for precision in ("fp32", "bf16", "fp16"):
        run = replace(small_run, steps=12, precision=precision, discriminator=replace(DISCRIMINATOR, start=6))
        state = new_state(run)
        losses[precision] = [float(r.losses["l1"]) for r in train(run, state, batches(1) * 12)]
        assert {p.dtype for p in state.reconstructor.parameters()} == {torch.float32}
        assert losses[precision][-1] < 0.9 * losses[precision][0]
    for half, tolerance in (("bf16", 0.02), ("fp16", 0.002)):
        assert losses[half][0] == pytest.approx(losses["fp32"][0], rel=tolerance)
        assert losses[half][0] != losses["fp32"][0]


@pytest.mark.slow
def test_fp16_lowers_its_loss_scale_until_gradients_are_finite(small_run, batches):
    run = replace(small_run, steps=12, precision="fp16", max_bad_steps=1)
    state, data = new_state(run), batches(1) * 12
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 2.0**22})
    records = train(run, state, data)
    scales, skipped = zip(*((record.loss_scale, record.skipped) for record in records), strict=True)
    assert skipped[0]
    assert sum(skipped) < 12
    # An update may make gradients larger, so that one overflows once more.
    assert scales[1:] == tuple(
        scale / 2 if overflows else scale for scale, overflows in zip(scales[:-1], skipped[:-1], strict=True)
    )
    assert records[-1].losses["l1"] < records[0].losses["l1"]


def test_fp16_diverges_where_its_loss_scale_is_1(small_run, batches):
    run = replace(small_run, precision="fp16", max_bad_steps=2)
    state, data = new_state(run), batches(4)
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 2.0})
    with pytest.raises(DivergedError, match="2 steps in a row"):
        train(run, state, [batch._replace(images=batch.images * math.nan) for batch in data])
    assert (state.step, state.skipped, state.loss_scale) == (3, 3, 0.25)


@pytest.mark.parametrize(
    "choice", [VA_VAE, autoencoder_config.MethodChoice("esm"), replace(VA_VAE, feature_weight=0.0)]
)
def test_compile_parts_leaves_out_layers_of_compared_gradients(small_run, choice, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compiled.append(part))
    state = new_state(replace(small_run, method=choice, discriminator=DISCRIMINATOR))
    with torch._functorch.config.patch(donated_buffer=True):
        compile_parts(state, None)
        donated = torch._functorch.config.donated_buffer
    within = [p for part in compiled for p in part.parameters()]
    convolutions = [p for p in state.autoencoder.parameters() if p.ndim == 4]
    left_out = [p for p in convolutions if not any(p is other for other in within)]
    model, balanced = state.autoencoder.model, choice.name == "va_vae" and choice.feature_weight is None
    outside = [model.quant_conv, model.post_quant_conv, model.decoder.conv_in, model.decoder.conv_out]
    outside += [model.encoder.conv_in, model.encoder.conv_out]
    assert {id(p) for p in left_out} == {id(layer.weight) for layer in outside}
    assert state.discriminator in compiled
    # What runs backward twice must keep what it needs for it.
    assert donated == (not balanced)


@pytest.mark.slow
def test_compile_parts_leaves_no_block_uncompiled(small_run, monkeypatch):
    compile_by_inductor = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compile_by_inductor(part, backend="eager"))
    state = new_state(replace(small_run, network=autoencoder_config.Network(preset="f8d4")))
    autoencoder = state.autoencoder
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=8):
        compile_parts(state, None)
        for n, side, has_gradients in ((2, 32, True), (1, 32, False), (1, 64, False)):  # training, and two previews
            with torch.set_grad_enabled(has_gradients):
                autoencoder.decode(autoencoder.encode(torch.zeros(n, 3, side, side)).mean)


def test_train_autoencoder_in_channels_last_gives_the_same_losses(small_run, batches):
    runs_ = [replace(small_run, discriminator=DISCRIMINATOR, channels_last=last, steps=2) for last in (False, True)]
    states = [new_state(run) for run in runs_]
    first, second = (train(run, state, batches(2)) for run, state in zip(runs_, states, strict=True))
    assert states[1].autoencoder.layers.decoder_output.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(first, second, strict=True):
        assert all(a.losses[k].item() == pytest.approx(b.losses[k].item(), rel=2e-3, abs=1e-4) for k in a.losses)


def test_set_learning_rate_warms_up_linearly():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
    assert [set_learning_rate(optimizer, 0.4, step, 4) for step in range(6)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    )
    assert optimizer.param_groups[0]["lr"] == 0.4
    assert set_learning_rate(optimizer, 0.4, 0, 0) == 0.4


def test_ema_weights_replaces_and_restores(small_run, batches):
    state = new_state(small_run)
    train(small_run, state, batches(4))
    trained = copy.deepcopy(state.state_dict())
    with ema_weights(state):
        inside = [p.clone() for p in state.autoencoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(inside, state.ema.shadow_params, strict=True))
    assert not torch.equal(inside[0], next(state.autoencoder.parameters()))
    assert differing(trained, state.state_dict()) == []


def test_ema_weights_without_ema_changes_nothing(small_run):
    state = new_state(replace(small_run, optimizer=replace(small_run.optimizer, ema=0.0)))
    assert state.ema is None
    with ema_weights(state):
        assert "ema" not in state.state_dict()


def test_train_autoencoder_leaves_the_global_generator_alone(small_run, batches):
    run = replace(small_run, **EVERYTHING, steps=2)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    train(run, new_state(run), batches(2, 4))
    assert torch.equal(before, torch.random.get_rng_state())


def test_build_state_leaves_out_a_loss_of_weight_0(small_run):
    idle = new_state(replace(small_run, method=replace(VA_VAE, feature_weight=0.0)))
    assert not [name for name in idle.state_dict()["reconstructor"] if name.startswith("terms")]
    weighed = new_state(replace(small_run, method=VA_VAE))
    moved = [sum(len(g["params"]) for g in state.optimizer.param_groups) for state in (idle, weighed)]
    assert moved[1] == moved[0] + 1
