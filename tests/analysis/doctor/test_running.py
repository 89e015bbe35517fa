from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spectrum_matching.analysis.doctor.running import batches, determinism, finite, half_precision, runs, sizes, tiling
from spectrum_matching.nets.autoencoder import Autoencoder


def tiny():
    return Autoencoder.from_preset("tiny").model


def test_checks_are_fine_with_a_sound_network(case):
    examination = case(tiny())
    checks = (runs, finite, half_precision, batches, determinism, sizes, tiling)
    assert {check.__name__: check(examination).level for check in checks} == {
        check.__name__: "fine" for check in checks
    }


def test_runs_names_what_the_network_raises(case, blocks):
    examination = case(blocks)
    blocks.decode = None
    outcome = runs(examination)
    assert (outcome.level, "decode of (4, 12, 16, 16) fails" in outcome.evidence) == ("wrong", True)


def test_finite_names_the_first_layer(case):
    model = tiny()
    examination = case(model)
    model.decoder.mid_block.resnets[0].conv1.bias.data[0] = torch.inf
    outcome = finite(examination)
    assert outcome.level == "wrong"
    assert outcome.verdict == "Pictures are not finite."
    assert outcome.evidence == "First in decoder.mid_block.resnets.0.conv1."


def test_finite_looks_at_log_variances(case, blocks):
    encode, seen = blocks.encode, []

    def broken(images):  # from the images on, not in the trial on grey
        mean = encode(images)
        seen.append(images.std() > 0)
        return mean, torch.full_like(mean, torch.nan if seen[-1] else -4.0)

    blocks.encode = broken
    assert finite(case(blocks)).verdict == "Log-variances are not finite."


def test_half_precision_looks_at_the_largest_activation(case):
    model = tiny()
    model.decoder.conv_out.weight.data.mul_(1e-9)
    model.decoder.conv_in.bias.data[0] = 65000.0
    assert half_precision(case(model)).level == "fine"
    model.decoder.conv_in.bias.data[0] = 66000.0
    outcome = half_precision(case(model))
    assert (outcome.level, "decoder.conv_in" in outcome.evidence) == ("look", True)
    model.register_to_config(force_upcast=False)  # declares that float16 is safe
    assert half_precision(case(model)).level == "wrong"


def test_half_precision_skips_what_it_cannot_watch(case, blocks):
    assert half_precision(case(blocks)).level == "skipped"


@pytest.mark.parametrize(("share", "level"), [(1e-4, "fine"), (0.01, "wrong")])
def test_batches_compares_each_image_with_the_batch(case, blocks, share, level):
    encode = blocks.encode
    blocks.encode = lambda x: encode(x) + share * encode(x).mean((0, 2, 3), keepdim=True)
    outcome = batches(case(blocks))
    assert outcome.level == level
    assert ("out of encode" in outcome.verdict) == (level == "wrong")


def test_batches_tries_the_slicing_of_diffusers(case):
    model = tiny()
    assert "decode with slicing" in batches(case(model)).evidence
    assert not model.use_slicing
    decode = model._decode
    model._decode = lambda z: decode(z * (2 if model.use_slicing else 1))
    assert "out of decode with slicing" in batches(case(model)).verdict


def test_determinism_names_which_end_is_random(case, blocks):
    assert determinism(case(blocks)).verdict == "Twice the same gives the same bits."
    decode, draws = blocks.decode, torch.Generator().manual_seed(0)  # two draws of another may be nearly the same
    blocks.decode = lambda z: decode(z) + 0.01 * torch.randn((), generator=draws)
    outcome = determinism(case(blocks))
    assert (outcome.level, outcome.verdict) == ("look", "Decode draws random numbers.")
    blocks.decode = lambda z: decode(z) + 1e-6 * torch.randn((), generator=draws)
    assert determinism(case(blocks)).level == "fine"  # no more than rounding


def test_sizes_tries_odd_and_unequal_sides(case, blocks):
    assert "60 × 52 pixels, 15 × 13 times the multiple of 4" in sizes(case(blocks)).evidence
    halved = nn.AvgPool2d(2)
    decode = blocks.decode
    blocks.decode = lambda z: decode(z + 0 * nn.functional.interpolate(halved(z), scale_factor=2))
    outcome = sizes(case(blocks))
    assert (outcome.level, "(multiple = 8)" in outcome.fix) == ("wrong", True)


def test_sizes_takes_the_declared_multiple(case, blocks):
    halved, decode = nn.AvgPool2d(2), blocks.decode
    blocks.decode = lambda z: decode(z + 0 * nn.functional.interpolate(halved(z), scale_factor=2))
    blocks.multiple = 8
    assert "56 × 40 pixels" in sizes(case(blocks)).evidence
    assert sizes(case(blocks)).level == "fine"


@pytest.mark.parametrize("multiple", [32, 64])
def test_sizes_are_unequal_where_images_hold_few_multiples(case, blocks, multiple):
    blocks.multiple = multiple
    outcome = sizes(case(blocks))
    assert f"{3 * multiple} × {multiple} pixels, 3 × 1 times the multiple of {multiple}" in outcome.evidence
    assert outcome.level == "fine"
    decode = blocks.decode
    blocks.decode = lambda z: decode(z if z.shape[2] == z.shape[3] else z.mT.reshape(z.shape))
    outcome = sizes(case(blocks))
    assert (outcome.level, outcome.verdict) == ("wrong", "Images of unequal sides come back much worse.")


def test_tiling_restores_tiles_and_names_failures(case):
    model = tiny()
    before = {name: getattr(model, name) for name in vars(model) if "til" in name}
    assert tiling(case(model)).level == "fine"
    assert before == {name: getattr(model, name) for name in vars(model) if "til" in name}
    model.tile_latent_min_size //= 4  # decodes in other tiles than it encodes
    model.tile_overlap_factor = 1.0
    outcome = tiling(case(model))
    assert (outcome.level, outcome.verdict) == ("look", "It fails in tiles.")
    assert not model.use_tiling
    model.enable_tiling()
    examination = case(model)
    examination.images = examination.images[:, :, :32, :32]  # no larger than a tile: the rest of it runs
    assert tiling(examination).level == "wrong"
    assert model.use_tiling


def test_tiling_names_seams(case):
    model = tiny()
    decode = model._decode
    model._decode = lambda z: SimpleNamespace(sample=decode(z).sample + (1.0 if model.use_tiling else 0.0))
    outcome = tiling(case(model))
    assert (outcome.level, outcome.verdict) == ("look", "Tiles leave seams.")


def test_tiling_skips_classes_without_tiles(case, blocks):
    assert tiling(case(blocks)).level == "skipped"
