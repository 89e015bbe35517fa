"""Two processes that divide the weights of a denoiser, started once, against two that each hold all."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from processes import run_in_two
from runs import checkpointed, differing, flat, logged
from spectrum_matching.nets.denoiser.build import open_denoiser
from spectrum_matching.nets.denoiser.sit import SiT
from spectrum_matching.sampling.generate import SamplingChoice
from spectrum_matching.training import autoencoder_config, diffusion_config
from spectrum_matching.training.run_diffusion import run_diffusion


def run_of(folder, out, **changes):
    """A run with everything that is divided or not: a projector beside the denoiser, averages, two micro-batches."""
    run = diffusion_config.DiffusionRun(
        name="divided",
        out=str(out),
        steps=4,
        batch_size=8,
        accumulation=2,
        source=diffusion_config.Source(images=str(folder), size=32, held_out=0.0),
        denoiser=diffusion_config.DenoiserChoice("SiT-micro/8", width=32, depth=2, heads=2),
        alignment=diffusion_config.AlignmentChoice(weight=0.5, encoder="gradients:8", tap=1, hidden=16),
        optimizer=autoencoder_config.Optimizer(lr=1e-3, warmup=2, ema=0.9),
        preview=SamplingChoice(steps=2, batch_size=16),
        intervals=autoencoder_config.Intervals(log=1, preview=2, checkpoint=2),
    )
    return replace(run, **changes)


CASES = {
    "whole": {},
    "divided": {"shard": True, "gradient_checkpointing": True},
    "fp16": {"shard": True, "precision": "fp16"},
}


def process(folder, out):
    """What each of two processes does; the divided run is resumed at step 2."""
    run_diffusion(run_of(folder, out / "divided", shard=True, steps=2))
    for name, changes in CASES.items():
        run_diffusion(run_of(folder, out / name, **changes))


@pytest.fixture(scope="module")
def two(image_folder, tmp_path_factory):
    """The folder of what two processes made."""
    out = tmp_path_factory.mktemp("two")
    run_in_two(__file__, image_folder, out)
    return out


def state(run_folder, step=4):
    return torch.load(run_folder / "checkpoints" / f"{step:07d}" / "state.pt", weights_only=True)


@pytest.mark.slow
def test_divided_weights_are_trained_as_whole_ones(two, image_folder):
    for ours, theirs in zip(*(logged(run_of(image_folder, two / name)) for name in ("divided", "whole")), strict=True):
        numbers = {key: value for key, value in theirs.items() if isinstance(value, float)}
        assert {"loss", "alignment", "gradient_norm"} <= numbers.keys()
        assert {key: ours[key] for key in numbers} == pytest.approx(numbers, rel=1e-4)
    ours, theirs = (flat(state(two / name)) for name in ("divided", "whole"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert type(ours[name]) is torch.Tensor
            torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_export_of_divided_weights_is_a_whole_denoiser(two):
    ours, theirs = (open_denoiser(two / name / "export") for name in ("divided", "whole"))
    assert type(ours) is SiT
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    averages = state(two / "divided")["ema"]["shadow_params"]
    assert all(torch.equal(p, average) for p, average in zip(ours.parameters(), averages, strict=True))
    previews = [sorted(path.name for path in (two / name / "samples").iterdir()) for name in ("divided", "whole")]
    assert previews == [["0000002.png", "0000004.png"]] * 2


@pytest.mark.slow
def test_one_process_resumes_what_two_divided(two, image_folder):
    before = state(two / "divided")
    run = run_of(image_folder, two / "divided", steps=6, shard=True)  # alone, it divides nothing
    run_diffusion(run)
    assert checkpointed(run) == ["0000004", "0000006"]
    assert differing(before, state(two / "divided", 6))
    assert [line["step"] for line in logged(run)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_divided_weights_are_trained_in_fp16(two, image_folder):
    whole, half = ([line["loss"] for line in logged(run_of(image_folder, two / name))] for name in ("whole", "fp16"))
    assert half == pytest.approx(whole, rel=0.01)
    assert half != whole
    assert state(two / "fp16")["scaler"]["scale"] == 65536


if __name__ == "__main__":
    process(Path(sys.argv[1]), Path(sys.argv[2]))
