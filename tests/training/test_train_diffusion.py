import copy
import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from runs import differing, flat
from spectrum_matching.diffusion import (
    SAMPLERS,
    Path,
    SampleNoise,
    Times,
    diffusion_loss,
    frequency_weights,
    guided,
    time_grid,
)
from spectrum_matching.seeding import seeded
from spectrum_matching.spectrum.block_lowpass import block_lowpass
from spectrum_matching.training import autoencoder_config, diffusion_config
from spectrum_matching.training.diffusion_data import DiffusionBatch, open_learned
from spectrum_matching.training.optimization import DivergedError
from spectrum_matching.training.train_diffusion import build_diffusion_state, lowpass_at, train_diffusion

CPU = torch.device("cpu")
SHAPE = (8, 8, 8)
CURRICULUM = diffusion_config.Curriculum(keep=(2, 5), block=4, share=0.8)


@pytest.fixture
def batches():
    """(n, b) → n batches of b normal latents (8, 8, 8) with labels 0 and 1 in turn."""

    def build(n, b=4):
        data = torch.randn(n, b, *SHAPE, generator=torch.Generator().manual_seed(5))
        return [DiffusionBatch(x, torch.arange(b) % 2, ()) for x in data]

    return build


def new_state(run, shape=SHAPE, n_classes=2):
    return build_diffusion_state(run, shape, n_classes, CPU)


def train(run, state, batches):
    return list(train_diffusion(run, state, iter(batches), Accelerator()))


@pytest.fixture
def sources(latent_cache, class_folder, small_autoencoder):
    images = diffusion_config.Source(images=str(class_folder), size=32, held_out=0.0, flip=True, crop="random")
    return {
        "cached": diffusion_config.Source(latents=str(latent_cache), flip=True),
        "encoded": replace(images, autoencoder=str(small_autoencoder)),
        "pixels": images,
    }


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("cached", {"curriculum": CURRICULUM}),
        ("cached", {"precision": "bf16", "objective": diffusion_config.ObjectiveChoice("vp", "noise", "log_normal")}),
        ("encoded", {"precision": "bf16"}),
        ("pixels", {"objective": diffusion_config.ObjectiveChoice(prediction="data", weighting="min_snr")}),
    ],
)
def test_train_diffusion_resumes_bit_for_bit(small_diffusion, sources, kind, change):
    run = replace(small_diffusion, source=sources[kind], accumulation=2, **change)
    data = open_learned(run, CPU)

    def continued(state, n):
        stream = data.batches(0, 1, state.step, run.steps)
        records = list(islice(train_diffusion(run, state, stream, Accelerator()), n))
        return [{k: float(v) for k, v in record.losses.items()} for record in records]

    states = [new_state(it, data.shape) for it in (run, run, replace(run, seed=99))]
    whole, half, resumed = states
    losses = continued(whole, 4)
    first = continued(half, 2)
    resumed.load_state_dict(copy.deepcopy(half.state_dict()))
    assert differing(half.state_dict(), whole.state_dict())
    assert first + continued(resumed, 2) == losses
    assert differing(resumed.state_dict(), whole.state_dict()) == []
    assert {path.split("/")[1] for path in flat(whole.state_dict())} == {
        *("denoiser", "optimizer", "ema", "step", "skipped")
    }


def plain_loop(run, net, batches, keep=lambda step: None, **options):
    """What training is, without any of its machinery: the losses of each step."""
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=run.optimizer.lr, weight_decay=run.optimizer.weight_decay, fused=True
    )
    path = Path(run.objective.path, run.objective.prediction)
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = run.optimizer.lr * min(1, (step + 1) / run.optimizer.warmup)
        data = batch.data if keep(step) is None else block_lowpass(batch.data, keep(step), run.curriculum.block)
        generator = seeded("step", run.seed, 0, step)
        parts = zip(data.chunk(run.accumulation), batch.labels.chunk(run.accumulation), strict=True)
        losses = [
            diffusion_loss(
                net, path, part, labels, times=Times(), generator=generator, label_dropout=0.1, **options
            ).total
            for part, labels in parts
        ]
        loss = torch.stack(losses).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), run.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.detach()


def test_train_diffusion_weighs_frequencies(small_diffusion, batches):
    run = replace(small_diffusion, objective=diffusion_config.ObjectiveChoice(frequency_weight=1.0))
    losses = [record.losses["loss"] for record in train(run, new_state(run), batches(4))]
    weights = frequency_weights(*SHAPE[1:], 1.0)
    assert losses == list(plain_loop(run, new_state(run).denoiser, batches(4), spectral_weights=weights))
    assert losses != list(plain_loop(run, new_state(run).denoiser, batches(4)))


def test_train_diffusion_is_the_plain_loop_bit_for_bit(small_diffusion, batches):
    state, plain = new_state(small_diffusion), new_state(small_diffusion).denoiser
    records, average = train(small_diffusion, state, batches(4)), EMAModel(plain.parameters(), decay=0.9)
    for record, loss in zip(records, plain_loop(small_diffusion, plain, batches(4)), strict=True):
        assert torch.equal(record.losses["loss"], loss)
        average.step(plain.parameters())
    assert differing(plain.state_dict(), state.denoiser.state_dict()) == []
    averages = zip(average.shadow_params, state.ema.shadow_params, strict=True)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in averages)


def test_averaged_without_a_ramp_is_constant_from_the_first_update(small_diffusion, batches):
    """SiT's, REPA's and U-ViT's average, restated, which starts from the weights that the first update leaves."""
    run = replace(small_diffusion, optimizer=replace(small_diffusion.optimizer, ema=0.9, ema_ramp=False))
    state, plain = new_state(run), new_state(run).denoiser
    train(run, state, batches(4))
    average = None
    for _ in plain_loop(run, plain, batches(4)):
        weights = [p.detach().clone() for p in plain.parameters()]
        average = (average and [0.9 * a + 0.1 * w for a, w in zip(average, weights, strict=True)]) or weights
    pairs = list(zip(average, state.ema.shadow_params, strict=True))
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in pairs)
    ramped = new_state(small_diffusion)
    train(small_diffusion, ramped, batches(4))
    assert any(not torch.allclose(a, b) for a, b in zip(average, ramped.ema.shadow_params, strict=True))


@pytest.mark.parametrize("accumulation", [2, 4])
def test_train_diffusion_of_micro_batches_equals_the_whole_batch(small_diffusion, batches, accumulation):
    run = replace(small_diffusion, accumulation=accumulation)
    state, plain = new_state(run), new_state(run).denoiser
    records = train(run, state, batches(4, 8))
    for record, loss in zip(records, plain_loop(run, plain, batches(4, 8)), strict=True):
        assert record.losses["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    # Adam divides by the gradient's size, so that rounding of a gradient near 0 moves a weight by up to lr.
    errors = [(a - b).abs().flatten() for a, b in zip(plain.parameters(), state.denoiser.parameters(), strict=True)]
    assert torch.cat(errors).mean() < 1e-6


def test_train_diffusion_follows_the_curriculum(small_diffusion, batches):
    run = replace(small_diffusion, steps=10, curriculum=CURRICULUM)
    expected = [2] * 4 + [5] * 4 + [None] * 2
    assert [lowpass_at(CURRICULUM, step, 10) for step in range(10)] == expected
    state, plain = new_state(run), new_state(run).denoiser
    records = train(run, state, batches(10))
    losses = plain_loop(run, plain, batches(10), keep=lambda step: expected[step])
    for record, loss, keep in zip(records, losses, expected, strict=True):
        assert record.transform == ("" if keep is None else f"keep {keep}")
        assert torch.equal(record.losses["loss"], loss)
    assert differing(plain.state_dict(), state.denoiser.state_dict()) == []


@pytest.mark.parametrize(("share", "n_steps"), [(0.0, 7), (0.1, 30), (0.5, 9), (1.0, 7)])
def test_lowpass_at_splits_the_share_evenly(share, n_steps):
    keeps = [lowpass_at(diffusion_config.Curriculum((1, 3, 5), share=share), step, n_steps) for step in range(n_steps)]
    counts = [keeps.count(keep) for keep in (1, 3, 5)]
    assert abs(sum(counts) - share * n_steps) < 1
    assert max(counts) - min(counts) <= 1
    assert keeps == [k for k, n in zip((1, 3, 5), counts, strict=True) for _ in range(n)] + [None] * keeps.count(None)


def bad_at(batches, *numbers):
    """The same batches, those of these numbers from 1 with one value that is not a number."""
    for number in numbers:
        batches[number - 1].data[1, 0, 0, 0] = math.nan
    return batches


def test_train_diffusion_skips_a_step_that_is_not_finite(small_diffusion, batches):
    run = replace(small_diffusion, accumulation=2)
    state = new_state(run)
    records = train_diffusion(run, state, iter(bad_at(batches(4), 3)), Accelerator())
    next(records), next(records)
    before = copy.deepcopy(state.state_dict())
    record = next(records)
    assert record.skipped
    assert record.losses["loss"].isnan()
    assert set(differing(before, state.state_dict())) == {"/step", "/skipped"}
    assert (state.step, state.skipped) == (3, 1)
    assert not next(records).skipped
    assert all(p.isfinite().all() for p in state.denoiser.parameters())
    assert differing(before, state.state_dict())


def test_train_diffusion_diverges_after_bad_steps_in_a_row(small_diffusion, batches):
    run = replace(small_diffusion, steps=9, max_bad_steps=3)
    state = new_state(run)
    records = train_diffusion(run, state, iter(bad_at(batches(9), 1, 3, 4, 5)), Accelerator())
    assert [next(records).skipped for _ in range(5)] == [True, False, True, True, True]
    with pytest.raises(DivergedError, match=r"3 steps in a row.*\(loss\).*lower optimizer.lr"):
        next(records)


def test_build_diffusion_state_without_classes_or_ema(small_diffusion, batches):
    run = replace(small_diffusion, optimizer=replace(small_diffusion.optimizer, ema=0.0))
    for n_classes, chosen in ((0, run.denoiser), (2, replace(run.denoiser, labels=False))):
        state = new_state(replace(run, denoiser=chosen), n_classes=n_classes)
        assert "ema" not in state.state_dict()
        assert not [name for name in state.denoiser.state_dict() if "label" in name]
        labelled = [batch._replace(labels=torch.full((4,), 7)) for batch in batches(4)]
        assert [record.skipped for record in train(replace(run, denoiser=chosen), state, labelled)] == [False] * 4


def test_train_diffusion_leaves_the_global_generator_alone(small_diffusion, batches):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    train(small_diffusion, new_state(small_diffusion), batches(4))
    assert torch.equal(before, torch.random.get_rng_state())


def test_train_diffusion_in_bf16_nearly_equals_fp32(small_diffusion, batches):
    losses = []
    for precision in ("fp32", "bf16"):
        run = replace(small_diffusion, precision=precision)
        state = new_state(run)
        losses.append([float(record.losses["loss"]) for record in train(run, state, batches(4))])
        assert {p.dtype for p in state.denoiser.parameters()} == {torch.float32}
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def learned_from(draw, n_steps=200, shape=(2, 4, 4)):
    """Losses of a small network over the last quarter of its training on what `draw` gives, and what trained it."""
    run = diffusion_config.DiffusionRun(
        steps=n_steps,
        denoiser=diffusion_config.DenoiserChoice("SiT-micro/2", width=48, depth=1, heads=2, time_scale=1000.0),
        optimizer=autoencoder_config.Optimizer(lr=4e-3, warmup=20, ema=0.95, weight_decay=0.0),
    )
    state = new_state(run, shape, n_classes=2)
    labels = torch.arange(64) % 2
    stream = (DiffusionBatch(draw(seeded("data", step), labels), labels, ()) for step in range(n_steps))
    losses = [float(record.losses["loss"]) for record in train(run, state, stream)]
    state.ema.copy_to(state.denoiser.parameters())
    return sum(losses[-n_steps // 4 :]) / (n_steps // 4), state.denoiser


@pytest.mark.slow
def test_train_diffusion_learns_one_image_a_class():
    images = torch.stack([torch.full((2, 4, 4), -1.0), torch.full((2, 4, 4), 1.0)])
    loss, net = learned_from(lambda generator, labels: images[labels])
    assert loss < 0.2  # of the best that sees neither the noisy image nor the label: 2
    noise = SampleNoise(0, range(8))
    path, labels = Path(), torch.arange(8) % 2
    with torch.no_grad():
        drawn = SAMPLERS["euler"](guided(net.eval(), labels), path, noise.start((2, 4, 4)), time_grid(path, 20))
    assert (drawn - images[labels]).abs().mean() < 0.1


@pytest.mark.slow
def test_train_diffusion_reaches_the_variance_left_of_gaussians():
    def draw(generator, labels):
        return torch.randn(64, 2, 4, 4, generator=generator)

    loss, _ = learned_from(draw)
    least = math.pi / 2  # of the velocity given x_t: the integral of 1 / ((1 - t)² + t²); without looking, 2
    assert 0.97 * least < loss < 1.06 * least
