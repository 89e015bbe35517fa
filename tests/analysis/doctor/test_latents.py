import json
import re
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKLFlux2

from spectrum_matching.analysis.doctor.latents import channels, packing, posterior, scale
from spectrum_matching.analysis.doctor.wiring import wiring
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.nets.autoencoder import Autoencoder


def std_of(blocks, coloured):
    """Standard deviation of its latents over all channels together, which are centred hereby."""
    encode, means = blocks.encode, blocks.encode(coloured).mean((0, 2, 3), keepdim=True)
    scale = blocks.weight.abs().max()
    blocks.encode = lambda x: encode(x) - means * (blocks.weight.abs().max() / scale)
    return float(blocks.encode(coloured).var((0, 2, 3), correction=0).mean().sqrt())


def at_scale(factor):
    return LatentSpace("scale", (0.0,), (1 / factor,))


@pytest.mark.parametrize(
    ("off", "level"), [(1.0, "fine"), (1.45, "fine"), (1 / 1.45, "fine"), (1.55, "look"), (1 / 1.55, "look")]
)
def test_scale_allows_a_factor_of_one_and_a_half(case, blocks, coloured, off, level):
    blocks.latent_space = at_scale(off / std_of(blocks, coloured))
    assert scale(case(blocks)).level == level


@pytest.mark.parametrize(("off", "level"), [(2.9, "look"), (4.0, "wrong")])
def test_scale_is_wrong_from_a_factor_of_three(case, blocks, coloured, off, level):
    std = std_of(blocks, coloured)
    blocks.latent_space = at_scale(off / std)
    outcome = scale(case(blocks))
    assert (outcome.level, f"{off:.2g} times too large" in outcome.verdict) == (level, True)
    assert outcome.fix == f"on the object: latent_space = LatentSpace('scale', (0,), ({std:.3g},), 1)"


def test_scale_names_a_factor_that_was_inverted_or_is_not_needed(case, blocks, coloured):
    std = std_of(blocks, coloured)
    blocks.weight.mul_(2 / std)  # latents of standard deviation 2
    blocks.latent_space = at_scale(2.0)
    assert "Divided in place of multiplied" in scale(case(blocks)).verdict
    blocks.weight.mul_(0.5)  # and of 1
    outcome = scale(case(blocks))
    assert (outcome.level, "unit scale already" in outcome.verdict) == ("wrong", True)


def test_scale_of_each_channel_is_mended_by_statistics_that_then_fit(case):
    model = Autoencoder.from_preset("tiny").model
    found = re.compile(r'"latents_mean": (\[.*?\]), "latents_std": (\[.*?\]), "scaling_factor": (.*)')
    model.register_to_config(latents_mean=[0.0] * 8, latents_std=[100.0] * 8)
    outcome = scale(case(model))
    assert outcome.level == "wrong"
    mean, std, factor = map(json.loads, found.search(outcome.fix).groups())
    model.register_to_config(latents_mean=mean, latents_std=std, scaling_factor=factor)
    assert scale(case(model)).level == "fine"


def test_scale_says_nothing_where_nothing_is_declared_unless_it_is_far_off(case, blocks, coloured):
    std = std_of(blocks, coloured)
    blocks.weight.div_(std)
    outcome = scale(case(blocks))
    assert (outcome.level, outcome.verdict) == (
        "fine",
        "No normalisation is declared; latents are within a factor of 3 of unit scale.",
    )
    assert outcome.evidence.endswith("`analyze` asks for a factor of 1.15.")
    blocks.weight.mul_(3.5)
    assert (outcome := scale(case(blocks))).level == "look"
    assert outcome.fix == f"on the object: scaling_factor = {1 / 3.5:.4g}"


@pytest.mark.parametrize(("shift", "level"), [(0.0, "fine"), (2.0, "look"), (5.0, "wrong")])
def test_scale_reports_channels_that_are_off_centre(case, blocks, coloured, shift, level):
    std = std_of(blocks, coloured)
    blocks.latent_space, moved, encode = at_scale(1 / std), shift * std, blocks.encode
    blocks.encode = lambda x: encode(x) + moved
    assert scale(case(blocks)).level == level


@pytest.mark.parametrize(("off", "level"), [(1.0, "fine"), (2.0, "look")])
def test_scale_leaves_dead_channels_out(case, blocks, coloured, off, level):
    encode = blocks.encode
    blocks.encode = lambda x: torch.cat([encode(x)[:, :3], 0 * encode(x)[:, 3:]], 1)
    std, mean = torch.std_mean(blocks.encode(coloured), (0, 2, 3), correction=0)
    stds = (*(float(s) / off for s in std[:3]), *[1.0] * 9)
    blocks.latent_space = LatentSpace("per channel", tuple(mean.tolist()), stds)
    outcome = scale(case(blocks))
    assert outcome.level == level
    assert "over all live channels, " in outcome.evidence


def test_scale_names_statistics_of_other_channels(case):
    model = Autoencoder.from_preset("tiny").model
    model.register_to_config(latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    outcome = scale(case(model))
    assert (outcome.level, outcome.evidence) == ("wrong", "4 means and 4 deviations for 8 channels.")
    assert outcome.fix.count(", ") > 2 * 7
    assert "latent_space" not in wiring(case(model)).fix


def of_channels(blocks, coloured, patch):
    """The measured mean and deviation of each packed channel."""
    latents = torch.nn.functional.pixel_unshuffle(blocks.encode(coloured), patch)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3), correction=0)
    return LatentSpace("packed", tuple(mean.tolist()), tuple(std.tolist()), patch)


def test_packing_names_statistics_in_another_order(case, blocks, coloured):
    assert packing(case(blocks)).level == "skipped"
    blocks.latent_space = space = of_channels(blocks, coloured, 2)
    assert packing(case(blocks)).level == "fine"
    assert scale(case(blocks)).level == "fine"
    mean, std = (torch.tensor(values).view(12, 4).T.flatten().tolist() for values in (space.mean, space.std))
    blocks.latent_space = LatentSpace("packed", tuple(mean), tuple(std), 2)
    outcome = packing(case(blocks))
    assert (outcome.level, "values.view(4, 12).T.flatten()" in outcome.fix) == ("wrong", True)


def test_scale_of_packed_channels_is_mended_where_the_class_keeps_it(case):
    torch.manual_seed(0)
    model = AutoencoderKLFlux2(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
    )
    model.bn.running_var.fill_(1e4)
    outcome = scale(case(model))
    assert outcome.level == "wrong"
    assert "latents_mean" not in outcome.fix
    code = outcome.fix.partition("on these, ")[2]
    assert code.count(",") == 2 * 15  # 16 packed channels of 4
    exec(code, {"vae": model, "torch": torch})
    assert scale(case(model)).level == "fine"


def test_scale_of_packed_channels_of_an_object_is_mended_as_it_declares_them(case, blocks, coloured):
    blocks.latent_space = LatentSpace("packed", (9.0,) * 48, (1.0,) * 48, 2)
    code = scale(case(blocks)).fix.partition("on the object: ")[2]
    found = {}
    exec(code, {"LatentSpace": LatentSpace}, found)
    assert (found["latent_space"].patch, len(found["latent_space"].mean)) == (2, 48)
    blocks.latent_space = found["latent_space"]
    assert scale(case(blocks)).level == "fine"


def test_channels_names_dead_ones(case, blocks):
    assert channels(case(blocks)).level == "fine"
    blocks.weight[[1, 5]] = 0
    outcome = channels(case(blocks))
    assert (outcome.level, "Of 12 channels, 1, 5:" in outcome.evidence) == ("wrong", True)
    blocks.weight.zero_()
    assert channels(case(blocks)).verdict.startswith("No channel varies")


def with_noise(blocks, logvar):
    encode = blocks.encode
    blocks.encode = lambda x: SimpleNamespace(mean=encode(x), logvar=logvar.expand_as(encode(x)))
    return blocks


@pytest.mark.parametrize(("share", "level"), [(0.5, "fine"), (0.985, "fine"), (0.995, "wrong")])
def test_posterior_has_collapsed_where_noise_is_all_but_a_hundredth(case, blocks, coloured, share, level):
    variances = blocks.encode(coloured).var((0, 2, 3), correction=0)
    blocks.weight.mul_(0.01)  # so that the noise has no more than unit variance
    logvar = (variances * 1e-4 * share / (1 - share)).log().view(-1, 1, 1)
    assert posterior(case(with_noise(blocks, logvar))).level == level


def test_posterior_tells_collapse_of_some_channels_from_an_exploded_variance(case, blocks):
    assert posterior(case(blocks)).verdict == "latents have no variance"
    encode = blocks.encode
    logvar = torch.full((12, 1, 1), -20.0)
    logvar[3] = 1.9
    outcome = posterior(case(with_noise(blocks, logvar)))
    assert (outcome.level, "collapsed in channels 3:" in outcome.verdict) == ("look", True)
    blocks.encode = encode
    exploded = with_noise(blocks, torch.full((12, 1, 1), 12.0))
    assert "exploded in all channels" in posterior(case(exploded)).verdict
