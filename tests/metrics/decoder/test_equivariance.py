import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, pixel_unshuffle

from spectrum_matching.metrics.decoder.equivariance import Transform, equivariance_error, equivariance_transforms

ORACLES = json.loads((Path(__file__).parents[2] / "oracles" / "metric_values.json").read_text())["oracles"]
RECORDED = [entry for entry in ORACLES if entry["metric"] == "equivariance error (per image)"]

TRANSFORMS = {
    "rot90 x1": Transform(1),
    "rot90 x3": Transform(3),
    "2x2 mean (scale 0.5)": Transform(0, (1, 2), "area"),
    "torch bicubic scale_factor=0.25, align_corners=False, antialias=False": Transform(0, (1, 4), "bicubic"),
    "torch bicubic scale_factor=0.5, align_corners=False, antialias=False": Transform(0, (1, 2), "bicubic"),
    "torch bicubic scale_factor=0.75, align_corners=False, antialias=False": Transform(0, (3, 4), "bicubic"),
}
ENCODERS = {
    "8x8 average pooling": lambda images: avg_pool2d(images, 8),
    "4x4 average pooling": lambda images: avg_pool2d(images, 4),
    "space-to-depth 2": lambda images: pixel_unshuffle(images, 2),
    "space-to-depth, factor 2, channel order (c,dy,dx)": lambda images: pixel_unshuffle(images, 2),
}


def white(seed, shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).double()


def measured(encode, images, transform):
    return equivariance_error(encode, encode(images), images, transform)


@pytest.mark.parametrize("entry", RECORDED, ids=lambda e: f"{e['params']['encoder']}, {e['params']['tau']}")
def test_equivariance_error_reproduces_recorded_values(entry):
    error = measured(ENCODERS[entry["params"]["encoder"]], white(5, (2, 3, 64, 64)), TRANSFORMS[entry["params"]["tau"]])
    np.testing.assert_allclose(error.numpy(), entry["value"], rtol=entry["rtol"], atol=max(entry["atol"], 1e-12))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=str)
def test_equivariance_error_of_identity_is_zero(transform):
    assert measured(lambda images: images, white(0, (2, 3, 16, 16)), transform).tolist() == [0, 0]


def test_equivariance_error_of_constant_encoder_is_zero():
    for value in (0.0, 3.0):
        error = measured(lambda x, value=value: torch.full_like(x, value), white(0, (2, 3, 16, 16)), Transform(1))
        assert error.tolist() == [0, 0]


def test_equivariance_error_of_unrelated_latents_is_two():
    generator = torch.Generator().manual_seed(0)
    error = measured(lambda x: torch.randn(x.shape, generator=generator), white(0, (8, 3, 64, 64)), Transform(2))
    torch.testing.assert_close(error, torch.full_like(error, 2), rtol=0.05, atol=0)


def test_equivariance_error_ignores_scale_and_batch():
    images = white(1, (3, 3, 32, 32))
    reference = measured(lambda x: pixel_unshuffle(x, 4), images, Transform(1))
    torch.testing.assert_close(measured(lambda x: 100 * pixel_unshuffle(x, 4), images, Transform(1)), reference)
    alone = [measured(lambda x: pixel_unshuffle(x, 4), image, Transform(1)) for image in images.split(1)]
    torch.testing.assert_close(torch.cat(alone), reference)


def test_equivariance_error_of_averaging_encoder_by_resampling():
    images = white(2, (2, 3, 64, 64))
    for scale in ((1, 2), (1, 4)):
        assert measured(ENCODERS["4x4 average pooling"], images, Transform(0, scale, "area")).max() < 1e-24
        assert measured(ENCODERS["4x4 average pooling"], images, Transform(0, scale, "bicubic")).min() > 0.1


def test_equivariance_transforms_are_six_where_sizes_divide():
    transforms, left_out = equivariance_transforms((256, 256), (32, 32), 8)
    turns, scales = ["turn 90°", "turn 180°", "turn 270°"], ["scale 1/4", "scale 1/2", "scale 3/4"]
    assert [transform.name for transform in transforms] == [*turns, *scales, *scales]
    assert [transform.resampler for transform in transforms] == [None] * 3 + ["area"] * 3 + ["bicubic"] * 3
    assert left_out == ()


def test_equivariance_transforms_leave_out_fractional_grids():
    transforms, left_out = equivariance_transforms((96, 96), (6, 6), 16)
    assert transforms[3:] == (Transform(0, (1, 2), "area"), Transform(0, (1, 2), "bicubic"))
    assert left_out == (
        "scale 1/4: a 6 × 6 grid does not scale to whole positions",
        "scale 3/4: a 6 × 6 grid does not scale to whole positions",
    )


def test_equivariance_transforms_respect_the_encoders_multiple():
    transforms, left_out = equivariance_transforms((64, 64), (8, 8), 32)
    assert transforms[3:] == (Transform(0, (1, 2), "area"), Transform(0, (1, 2), "bicubic"))
    assert left_out[0] == "scale 1/4: 64 × 64 images do not scale to multiples of 32 pixels"


def test_equivariance_error_refuses_encoders_of_one_size():
    with pytest.raises(ValueError, match="the encoder's latents do not scale with its images"):
        measured(lambda x: torch.zeros(len(x), 4, 8, 8), white(0, (1, 3, 64, 64)), Transform(0, (1, 2), "area"))
