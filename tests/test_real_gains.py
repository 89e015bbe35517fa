"""Gains on the latents of five real autoencoders, in every convention: reconstruction is untouched."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from spectrum_matching.data.images import open_images
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.gain import with_gain
from spectrum_matching.latents.gain_choice import GainChoice
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.spectrum.dct import dct2

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
FOLDERS = {
    "SPECMATCH_TAE_FAMILY": Path(os.environ.get("SPECMATCH_TAE_FAMILY", DATA / "tae_family")),
    "SPECMATCH_TAEF2": Path(os.environ.get("SPECMATCH_TAEF2", DATA / "taef2")),
}
FACTORIES = dict.fromkeys(("taesd", "taesdxl", "taesd3", "taef1"), "tae_family.py") | {"taef2": "taef2_autoencoder.py"}
CHOICES = {
    "flattened": GainChoice(flatten=1.0),
    "steepened": GainChoice(flatten=-0.5),
    "white by ring": GainChoice(whiten=1.0),
    "white by coefficient": GainChoice(whiten=1.0, whiten_by="coefficient", gain_channels="each"),
    "decorrelated": GainChoice(whiten=0.5, gain_channels="decorrelated"),
}


@cache
def real_latents(factory: str) -> torch.Tensor:
    for variable, folder in FOLDERS.items():
        os.environ.setdefault(variable, str(folder))
    autoencoder = Autoencoder.from_pretrained(f"python:{ROOT / 'examples' / FACTORIES[factory]}:{factory}")
    images = torch.stack([open_images("embedded", 128)[i].image for i in range(0, 48, 4)])
    with torch.inference_mode():
        return autoencoder.encode(images).mean.clone()


def conventions(latents: torch.Tensor) -> dict[str, LatentSpace]:
    """Return how published models bring latents to unit scale, with the numbers of these."""
    mean, std = latents.mean((0, 2, 3), dtype=torch.float64), latents.double().std((0, 2, 3))
    packed = torch.nn.functional.pixel_unshuffle(latents, 2).double()
    of_packed = tuple(packed.mean((0, 2, 3)).tolist()), tuple(packed.std((0, 2, 3)).tolist())
    return {
        "none": LatentSpace(),
        "scale": LatentSpace("scale", (0.0,), (float(latents.std()),)),
        "shift and scale": LatentSpace("shift and scale", (float(latents.mean()),), (float(latents.std()),)),
        "per channel": LatentSpace("per channel", tuple(mean.tolist()), tuple(std.tolist())),
        "packed": LatentSpace("packed", *of_packed, 2),
    }


@pytest.mark.slow
@pytest.mark.skipif(not all(folder.is_dir() for folder in FOLDERS.values()), reason="needs five sets of weights")
@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("convention", conventions(torch.randn(2, 1, 2, 2)))
@pytest.mark.parametrize("choice", CHOICES)
def test_a_gain_on_real_latents_is_undone(factory, convention, choice):
    latents = real_latents(factory)
    space = with_gain(conventions(latents)[convention], CHOICES[choice], lambda: [latents])
    units = space.to_unit(latents)
    assert float(units.square().mean()) == pytest.approx(1, rel=1e-3)
    assert (space.from_unit(units) - latents).norm() / latents.norm() < 1e-5
    with torch.autocast("cpu", torch.bfloat16):
        assert (space.from_unit(space.to_unit(latents)) - latents).norm() / latents.norm() < 1e-5
    if CHOICES[choice].whiten_by == "ring":  # a function of frequency: any grid
        wide = torch.cat([latents, latents[..., :8]], dim=-1)
        assert (space.from_unit(space.to_unit(wide)) - wide).norm() / wide.norm() < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not all(folder.is_dir() for folder in FOLDERS.values()), reason="needs five sets of weights")
def test_whitened_real_latents_are_white():
    latents = real_latents("taef1")
    space = with_gain(conventions(latents)["per channel"], CHOICES["white by coefficient"], lambda: [latents])
    plain = replace(space, gain=None)
    spread = []
    for each in (space, plain):
        power = dct2(each.to_unit(latents)).square().mean(0).flatten(1)[:, 1:]  # DC has the gain of its neighbours
        spread.append(float(power.log().std(dim=1).max()))
    assert spread[0] < 1e-4 < 0.5 < spread[1]
