import math

import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.data.arrays import TensorImages
from spectrum_matching.data.images import open_images
from spectrum_matching.data.masks import open_masks
from spectrum_matching.metrics.latents.region_similarity import srss
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.vision.encoders import VisionEncoder, open_vision
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.studies.directional_energy import measure as module
from spectrum_matching.studies.directional_energy.measure import (
    far_of,
    measure_directional_energy,
    open_encoder,
    target_filters,
)


def numbered(n, size=16):
    """Images whose first value is their number, over 100."""
    images = torch.full((n, 3, size, size), -0.5)
    images[:, 0, 0, 0] = torch.arange(n) / 100
    return TensorImages(images)


def encoder_of(fields):
    """An encoder that gives image i the field `fields(i)` (d, h, w)."""

    def encode(images):
        return torch.stack([fields(round(100 * float(image[0, 0, 0]))) for image in images]).flatten(2).mT

    shape = fields(0).shape
    return VisionEncoder("made", "00", shape[0], "none", torch.device("cpu"), lambda side: (shape[1], shape[2]), encode)


def noise(i, shape=(48, 16, 16), mean=0.0):
    return mean + torch.randn(shape, generator=torch.Generator().manual_seed(i))


def measured(fields, n=6, **options):
    return measure_directional_energy({"made": encoder_of(fields)}, numbered(n), **options)


def test_measure_directional_energy_shares_sum_to_1_and_three_forms_agree():
    (result,) = measured(lambda i: noise(i, (8, 12, 16), mean=0.7)).encoders
    assert result.grid == (12, 16)
    assert sum(result.counts) == 12 * 16 - 1
    assert len(result.filters) == len({own.filter for own in result.filters}) == 9
    for own in result.filters:
        total = own.dc.value + sum(share.value for share in own.shares)
        assert total == pytest.approx(1, abs=1e-12)
        assert own.energy.value == pytest.approx(1 - own.dc.value, abs=1e-12)
        assert own.deviation < 1e-12
        assert own.n_without == 0
        assert own.measurements["srss"].value is None
    plain, whole = result.filters[0], next(own for own in result.filters if own.family == "less the mean")
    assert plain.dc.value > 0.3
    assert whole.dc.value < 0.01


def test_measure_directional_energy_of_white_noise_is_even_with_known_contrast():
    (result,) = measured(noise, n=12).encoders
    plain = result.filters[0]
    for share, count in zip(plain.shares, result.counts, strict=True):
        assert abs(share.value - count / 256) < 5 * share.standard_error + 1e-4
    contrast = plain.measurements["rmsc"]
    assert contrast.white == pytest.approx(math.sqrt(1 - 1 / 256))
    assert contrast.value == pytest.approx(contrast.white, abs=5e-4)


def test_measure_directional_energy_of_a_checkerboard_is_known_by_hand():
    signs = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8))

    def board(i):
        return signs * torch.tensor([3.0, 4.0])[:, None, None] * (1 + i)

    (result,) = measured(board).encoders
    plain = result.filters[0]
    assert plain.energy.value == pytest.approx(1)
    assert plain.energy.standard_error == pytest.approx(0, abs=1e-12)
    assert plain.shares[-1].value > 0.6
    assert result.far == 3
    # Cosines are -1 at odd and +1 at even distances.
    assert plain.measurements["cds"].value == pytest.approx(-4 / 42)
    pairs = np.array(
        [[abs(a - c) + abs(b - d) for c in range(8) for d in range(8)] for a in range(8) for b in range(8)]
    )
    expected = -1 - np.mean((-1.0) ** pairs[pairs >= 3])
    assert plain.measurements["lds"].value == pytest.approx(expected, abs=1e-9)


def test_measure_directional_energy_does_not_depend_on_batch_size():
    def fields(i):
        return noise(i, (5, 8, 8), 0.3)

    first = measured(fields, batch_size=1)
    assert measured(fields, batch_size=1) == first
    (one_by_one,), (batched,) = first.encoders, measured(fields, batch_size=4).encoders
    for one, other in zip(one_by_one.filters, batched.filters, strict=True):
        assert one.energy.value == pytest.approx(other.energy.value, abs=1e-13)
        assert one.measurements["lds"].standard_error == pytest.approx(
            other.measurements["lds"].standard_error, rel=1e-9
        )
    assert first.sample.n_images == 6
    assert measured(fields, n_images=3).encoders[0].filters[0].energy != one_by_one.filters[0].energy


def test_measure_directional_energy_counts_tokens_without_direction():
    def fields(i):
        field = noise(i, (5, 8, 8))
        if i == 2:
            field[:, 0, 0] = 0
        return field

    study = measured(fields)
    (result,) = study.encoders
    assert result.filters[0].n_without == 1
    assert result.filters[0].deviation < 1e-12
    assert result.filters[0].energy.value + result.filters[0].dc.value == pytest.approx(1 - 1 / 64 / 6, abs=1e-12)
    (note,) = study.notes
    assert "made: images with tokens that are zero" in note
    assert "are: 1." in note


def test_notes_of_a_single_image_without_a_mask(image_folder, tmp_path):
    images = open_images(str(image_folder), 32, split="all")
    for name in images.names[1:]:
        Image.fromarray(np.zeros((40, 48), np.uint8)).save(tmp_path / name)
    (note,) = module._notes((), open_masks(tmp_path, images), len(images), ())
    assert note == f"1 image has no mask, such as {images.names[0]}; SRSS is of the others."


def test_measure_directional_energy_takes_srss_of_balanced_masks_alone(image_folder, tmp_path):
    images = open_images(str(image_folder), 32, split="all")
    shares = {}
    for i, name in enumerate(images.names[:6]):
        mask = np.zeros((40, 48), np.uint8)
        mask[:, : (4 if i == 0 else 16 + i)] = 255  # the first is cut away
        Image.fromarray(mask).save(tmp_path / name)
        shares[name] = i
    masks = open_masks(tmp_path, images)
    encoder = open_encoder("gradients:2", torch.device("cpu"))
    study = measure_directional_energy({"gradients": encoder}, images, masks=tmp_path)
    (result,) = study.encoders
    grid, far = result.grid, result.far
    expected = []
    for i in range(6):
        mask = masks.read([i], grid)[0]
        if 0.25 <= float(mask.double().mean()) <= 0.75:
            field = open_vision("gradients:2")(images[i].image[None]).field.double()
            expected.append(float(srss(field, mask[None], far=far)))
    assert len(expected) == 5
    assert result.filters[0].measurements["srss"].value == pytest.approx(np.mean(expected), rel=1e-9)
    assert "18 images have no mask" in study.notes[-1]
    assert study.masks == str(tmp_path)
    (plain,) = measure_directional_energy({"gradients": encoder}, images, n_images=2).encoders
    refused = plain.filters[0].measurements["srss"]
    assert refused.value is None
    assert refused.refused == "no masks were given"


def test_target_filters_come_with_and_without_std_on_any_grid():
    filters = target_filters((16, 24), (0.6, 1.0))
    assert [own.name for own in filters] == [
        "none",
        *("less 0.6 mean", "less 0.6 mean, by std", "less the mean", "less the mean, by std"),
        *("band-pass", "band-pass, by std", "high-pass", "high-pass, by std"),
    ]
    assert filters[5].apply.outer == pytest.approx(3.2)
    assert filters[7].apply.inner == 0
    assert target_filters((16, 16), outer=2.0)[5].apply.outer == 2.0
    assert [far_of((n, n)) for n in (16, 8, 4)] == [6, 3, 2]


def test_open_encoder_takes_posterior_means_of_an_autoencoder(small_autoencoder):
    encoder = open_encoder(f"autoencoder:{small_autoencoder}", torch.device("cpu"))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert encoder(images).field.shape == (2, encoder.width, 8, 8)
    means = Autoencoder.from_pretrained(small_autoencoder).eval().encode(images).mean
    torch.testing.assert_close(encoder(images).field, means)
    (result,) = measure_directional_energy({"own": encoder}, TensorImages(images)).encoders
    assert result.grid == (8, 8)
    assert isinstance(result.filters[0].dc, Measurement)


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        (lambda i: noise(i, (3, 3, 8)), {}, "made: 3 x 8 tokens are too few"),
        (lambda i: noise(i) / 0, {}, "made: its tokens are not finite"),
        (noise, {"inner": 4.0}, "0 < inner < outer, got inner 4 and outer 3.2 tokens on a grid of 16 x 16"),
        (noise, {"inner": 0.0}, "0 < inner < outer"),
        (noise, {"n_images": 1}, "1 images can be read; standard errors need two"),
    ],
)
def test_measure_directional_energy_refuses_in_one_line(fields, options, message):
    with pytest.raises(ValueError, match=message) as error:
        measured(fields, **options)
    assert "\n" not in str(error.value)
