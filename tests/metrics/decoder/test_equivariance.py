import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, pixel_unshuffle

from spectrum_matching.metrics.decoder.equivariance import Shrink, Turn, equivariance_error, equivariance_moves

ORACLES = json.loads((Path(__file__).parents[2] / "oracles" / "metric_values.json").read_text())["oracles"]
RECORDED = [entry for entry in ORACLES if entry["metric"] == "equivariance error (per image)"]

MOVES = {
    "rot90 x1": Turn(1),
    "rot90 x3": Turn(3),
    "2x2 mean (scale 0.5)": Shrink(1, 2),
    "torch bicubic scale_factor=0.25, align_corners=False, antialias=False": Shrink(1, 4, "bicubic"),
    "torch bicubic scale_factor=0.5, align_corners=False, antialias=False": Shrink(1, 2, "bicubic"),
    "torch bicubic scale_factor=0.75, align_corners=False, antialias=False": Shrink(3, 4, "bicubic"),
}
ENCODERS = {
    "8x8 average pooling": lambda images: avg_pool2d(images, 8),
    "4x4 average pooling": lambda images: avg_pool2d(images, 4),
    "space-to-depth 2": lambda images: pixel_unshuffle(images, 2),
    "space-to-depth, factor 2, channel order (c,dy,dx)": lambda images: pixel_unshuffle(images, 2),
}


def white(seed, shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).double()


def measured(encode, images, move):
    return equivariance_error(encode, encode(images), images, move)


@pytest.mark.parametrize("entry", RECORDED, ids=lambda e: f"{e['params']['encoder']}, {e['params']['tau']}")
def test_recorded_values_are_met(entry):
    error = measured(ENCODERS[entry["params"]["encoder"]], white(5, (2, 3, 64, 64)), MOVES[entry["params"]["tau"]])
    np.testing.assert_allclose(error.numpy(), entry["value"], rtol=entry["rtol"], atol=max(entry["atol"], 1e-12))


@pytest.mark.parametrize("move", MOVES.values(), ids=lambda move: move.name)
def test_no_encoder_is_without_error(move):
    assert measured(lambda images: images, white(0, (2, 3, 16, 16)), move).tolist() == [0, 0]


def test_a_collapsed_encoder_is_without_error_too_even_at_zero():
    for value in (0.0, 3.0):
        error = measured(lambda x, value=value: torch.full_like(x, value), white(0, (2, 3, 16, 16)), Turn(1))
        assert error.tolist() == [0, 0]


def test_unrelated_latents_err_by_two():
    generator = torch.Generator().manual_seed(0)
    error = measured(lambda x: torch.randn(x.shape, generator=generator), white(0, (8, 3, 64, 64)), Turn(2))
    torch.testing.assert_close(error, torch.full_like(error, 2), rtol=0.05, atol=0)


def test_the_error_does_not_depend_on_the_scale_of_the_latents_nor_on_the_batch():
    images = white(1, (3, 3, 32, 32))
    reference = measured(lambda x: pixel_unshuffle(x, 4), images, Turn(1))
    torch.testing.assert_close(measured(lambda x: 100 * pixel_unshuffle(x, 4), images, Turn(1)), reference)
    alone = [measured(lambda x: pixel_unshuffle(x, 4), image, Turn(1)) for image in images.split(1)]
    torch.testing.assert_close(torch.cat(alone), reference)


def test_area_resampling_keeps_an_averaging_encoder_equivariant_at_whole_factors_where_bicubic_does_not():
    images = white(2, (2, 3, 64, 64))
    for scale in ((1, 2), (1, 4)):
        assert measured(ENCODERS["4x4 average pooling"], images, Shrink(*scale)).max() < 1e-24
        assert measured(ENCODERS["4x4 average pooling"], images, Shrink(*scale, "bicubic")).min() > 0.1


def test_all_six_moves_are_possible_where_everything_divides():
    moves, left_out = equivariance_moves((256, 256), (32, 32), 8)
    assert [move.name for move in moves] == [
        "turn 90°",
        "turn 180°",
        "turn 270°",
        "scale 1/4 (area)",
        "scale 1/2 (area)",
        "scale 3/4 (area)",
    ]
    assert left_out == ()


def test_what_does_not_come_out_whole_is_left_out_by_name():
    moves, left_out = equivariance_moves((96, 96), (6, 6), 16, "bicubic")
    assert moves[3:] == (Shrink(1, 2, "bicubic"),)
    assert left_out == (
        "scale 1/4 (bicubic): a 6 × 6 grid does not scale to whole cells",
        "scale 3/4 (bicubic): a 6 × 6 grid does not scale to whole cells",
    )


def test_scaled_images_must_be_of_a_size_that_the_encoder_takes():
    moves, left_out = equivariance_moves((64, 64), (8, 8), 32)
    assert moves[3:] == (Shrink(1, 2),)
    assert left_out[0] == "scale 1/4 (area): 64 × 64 images do not scale to multiples of 32 pixels"


def test_an_encoder_of_one_size_is_named():
    with pytest.raises(ValueError, match="the encoder's latents do not scale with its images"):
        measured(lambda x: torch.zeros(len(x), 4, 8, 8), white(0, (1, 3, 64, 64)), Shrink(1, 2))
