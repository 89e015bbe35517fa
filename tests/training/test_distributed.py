"""Two processes of a launch on the CPU, started once, against one process with the joined batch."""

import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from processes import run_in_two
from spectrum_matching.data.buckets import fill_buckets
from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import PositionedBatches, image_batches
from spectrum_matching.methods.method import Method, Term
from spectrum_matching.methods.shared_transforms import Identity
from spectrum_matching.processes import open_accelerator
from spectrum_matching.training import autoencoder_config, diffusion_config
from spectrum_matching.training.checks import check_size
from spectrum_matching.training.diffusion_data import open_learned
from spectrum_matching.training.run_autoencoder import run_autoencoder
from spectrum_matching.training.train_autoencoder import build_state, open_autoencoder, train_autoencoder
from spectrum_matching.training.train_diffusion import build_diffusion_state, train_diffusion

CASES = {
    "joined": {"sample_posterior": False},
    "accumulated": {"sample_posterior": False, "accumulation": 2},
    "balanced": {"sample_posterior": False, "method": autoencoder_config.MethodChoice("va_vae", encoder="gradients:4")},
    "dsm": {
        "method": autoencoder_config.MethodChoice("dsm", keep=(7, 3, 2), block=4),
        "discriminator": autoencoder_config.DiscriminatorChoice(weight=0.5, start=1, width=8, depth=2),
        "accumulation": 2,
    },
    "bucketed": {
        "sample_posterior": False,
        "data": autoencoder_config.Data(size=32, aspect_ratios=(1.0, 1.5)),
        "method": autoencoder_config.MethodChoice("esm"),
        "steps": 5,
    },
    "bad": {"max_bad_steps": 9},
}


def broken_on_rank_1(rank):
    """A method whose second loss is not a number, in process 1 only."""
    calls = []

    def loss(posterior, latents, images):
        calls.append(1)
        return latents.mean() * (math.nan if rank == 1 and len(calls) == 2 else 1.0)

    return Method("bad", (Term("broken", loss, 1.0),), Identity(), "nobody")


def begun(name, rank=0, device="cpu"):
    """A case and its state at step 0."""
    run = replace(
        autoencoder_config.AutoencoderRun(
            steps=3,
            batch_size=4,
            data=autoencoder_config.Data(size=32),
            optimizer=autoencoder_config.Optimizer(lr=1e-3, warmup=2),
        ),
        **CASES[name],
    )
    autoencoder = open_autoencoder(run)
    method = broken_on_rank_1(rank) if name == "bad" else run.method.build(channels=autoencoder.channels)
    return run, build_state(run, autoencoder, method, device)


def trained(folder, name):
    """Train a case in this process, beside others if there are any; its final state and records."""
    accelerator = open_accelerator()
    rank, world = accelerator.process_index, accelerator.num_processes
    run, state = begun(name, rank, accelerator.device)
    images = open_images(str(folder), 32, seed=0, crop="random", flip=True)
    buckets = fill_buckets(images, check_size(run, state), run.batch_size)
    order = PositionedBatches(len(images), run.batch_size, 0, rank, world, end=run.steps, buckets=buckets.members)
    batches = image_batches(images.in_buckets(buckets), order)
    records = list(train_autoencoder(run, state, batches, accelerator))
    return state, [(r.transform, r.skipped, {k: float(v) for k, v in r.losses.items()}) for r in records]


def whole_run(folder, out):
    """A run whose checkpoint, log and tracker are written by one of the processes."""
    return autoencoder_config.AutoencoderRun(
        name="two",
        out=str(out),
        steps=2,
        batch_size=4,
        sample_posterior=False,
        trackers=("tensorboard",),
        data=autoencoder_config.Data(path=str(folder), size=32, held_out=0.2),
        optimizer=autoencoder_config.Optimizer(lr=1e-3, warmup=2),
        intervals=autoencoder_config.Intervals(log=1, preview=1, checkpoint=1),
    )


def aligned(folder):
    """Train a denoiser beside an alignment in this process; its final state."""
    accelerator = open_accelerator()
    run = diffusion_config.DiffusionRun(
        steps=3,
        batch_size=8,
        accumulation=2,
        source=diffusion_config.Source(images=str(folder), size=32, held_out=0.0),
        denoiser=diffusion_config.DenoiserChoice("SiT-micro/8", width=32, depth=2, heads=2),
        alignment=diffusion_config.AlignmentChoice(weight=0.5, encoder="gradients:8", tap=1, hidden=16),
        optimizer=autoencoder_config.Optimizer(lr=1e-3, warmup=2, ema=0.0),
    )
    data = open_learned(run, accelerator.device)
    state = build_diffusion_state(run, data.shape, 0, accelerator.device, data.target_shape)
    list(
        train_diffusion(
            run, state, data.batches(accelerator.process_index, accelerator.num_processes, 0, 3), accelerator
        )
    )
    return state


def process(folder, mixed, out):
    """What each of two processes does."""
    rank = open_accelerator().process_index
    torch.save(aligned(folder).state_dict(), out / f"aligned_{rank}.pt")
    for name in CASES:
        state, records = trained(mixed if name == "bucketed" else folder, name)
        torch.save((state.state_dict(), records), out / f"{name}_{rank}.pt")
    said = []
    for part in ({"batch_size": 3}, {"batch_size": 4, "accumulation": 4}):
        try:
            run_autoencoder(replace(whole_run(folder, out / "refused"), **part))
        except ValueError as error:
            said.append(str(error))
    try:
        run_autoencoder(whole_run(out / "lacking" if rank else folder, out / "refused"))
    except ValueError as error:
        said.append(str(error))
    run_autoencoder(whole_run(folder, out / "run"))
    (out / f"said_{rank}.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def two(image_folder, mixed_folder, tmp_path_factory):
    """The folder of what two processes made."""
    out = tmp_path_factory.mktemp("two")
    shutil.copytree(image_folder, out / "lacking")
    next(path for path in sorted((out / "lacking").rglob("*")) if path.is_file()).unlink()
    run_in_two(__file__, image_folder, mixed_folder, out)
    return out


def both(two, name):
    return [torch.load(two / f"{name}_{rank}.pt", weights_only=True) for rank in (0, 1)]


def weights(state):
    nets = [state[part] for part in ("reconstructor", "discriminator") if part in state]
    return torch.cat([value.flatten() for net in nets for value in net.values()])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_train_keeps_two_processes_in_step(two, name):
    (first, _), (second, _) = both(two, name)
    assert torch.equal(weights(first), weights(second))
    averages = zip(first["ema"]["shadow_params"], second["ema"]["shadow_params"], strict=True)
    assert all(torch.equal(a, b) for a, b in averages)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joined", "accumulated", "balanced", "bucketed"])
def test_train_of_two_processes_equals_one_with_the_joined_batch(two, image_folder, mixed_folder, name):
    one, alone = trained(mixed_folder if name == "bucketed" else image_folder, name)
    (state, first), (_, second) = both(two, name)
    for step, ((_, _, a), (_, _, b), (_, _, c)) in enumerate(zip(first, second, alone, strict=True)):
        assert a.keys() == c.keys()
        for loss in c:
            # Before Adam's first step all is the same but for the order of sums; see below.
            assert (a[loss] + b[loss]) / 2 == pytest.approx(c[loss], rel=1e-3 if step else 1e-5), (step, loss)
            # Gradients are compared over all processes before a weight is made of them.
            assert not loss.endswith("_weight") or a[loss] == b[loss]
    distance = (weights(one.state_dict()) - weights(begun(name)[1].state_dict())).norm()
    # Adam divides by the gradient's size, so that rounding of a gradient near 0 moves a weight by up to lr.
    assert (weights(state) - weights(one.state_dict())).norm() < 0.01 * distance


def test_train_diffusion_keeps_denoiser_and_projector_in_step(two, image_folder):
    first, second = both(two, "aligned")
    alone = aligned(image_folder).state_dict()
    for part in ("denoiser", "alignment"):
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])
        assert any(not torch.equal(first[part][name], alone[part][name]) for name in alone[part])  # other noise


def test_train_samples_a_transform_in_each_process(two):
    (_, first), (_, second) = both(two, "dsm")
    assert [move for move, _, _ in first] != [move for move, _, _ in second]


def test_train_skips_in_both_what_is_not_finite_in_one(two):
    (first, a), (second, b) = both(two, "bad")
    assert [skipped for _, skipped, _ in a] == [skipped for _, skipped, _ in b] == [False, True, False]
    assert math.isfinite(a[1][2]["broken"])
    assert math.isnan(b[1][2]["broken"])
    assert first["skipped"] == second["skipped"] == 1


def test_run_autoencoder_refuses_a_batch_that_processes_cannot_share(two):
    for rank in (0, 1):
        said = json.loads((two / f"said_{rank}.json").read_text())[:2]
        assert [line.partition(", ")[0] for line in said] == ["batch_size is 3", "batch_size is 4"]
    assert not (two / "refused").exists()


def test_run_autoencoder_refuses_processes_that_see_other_images(two):
    first, second = (json.loads((two / f"said_{rank}.json").read_text())[2:] for rank in (0, 1))
    n = r"\d+ of digest \w+"
    assert first == second
    assert re.fullmatch(
        rf"processes 0 and 1 of the launch do not start alike: training images \({n} and {n}\); let all "
        r"machines see the same data and the same out",
        first[0],
    )
    assert not (two / "refused").exists()


def test_run_autoencoder_of_two_processes_writes_once(two, image_folder):
    out = two / "run"
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["0000001", "0000002"]
    assert len(list(out.rglob("events.out.tfevents.*"))) > 0
    assert (out / "export" / "specmatch.json").exists()
    run_autoencoder(replace(whole_run(image_folder, out), steps=3))  # one process goes on where two stopped
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [1, 2, 3]


if __name__ == "__main__":
    process(*map(Path, sys.argv[1:]))
