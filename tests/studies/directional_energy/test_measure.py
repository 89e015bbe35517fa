import math

import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.data.images import open_images
from spectrum_matching.data.masks import open_masks
from spectrum_matching.data.tensors import TensorImages
from spectrum_matching.metrics import srss
from spectrum_matching.nets.vision.encoders import open_vision
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.studies.directional_energy.measure import (
    Encoder,
    far_of,
    filters_of,
    notes_of,
    open_encoder,
    read_encoder,
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
        return torch.stack([fields(round(100 * float(image[0, 0, 0]))) for image in images])

    grid = tuple(fields(0).shape[1:])
    return Encoder("made", "00", len(fields(0)), "none", lambda side: grid, encode)


def noise(i, shape=(48, 16, 16), mean=0.0):
    return mean + torch.randn(shape, generator=torch.Generator().manual_seed(i))


def read(fields, n=6, inner=0.5, **options):
    encoder = encoder_of(fields)
    return read_encoder("made", encoder, numbered(n), filters_of("made", encoder, 8, inner=inner), **options)


def test_shares_add_up_energy_is_what_is_not_dc_and_the_three_agree():
    found = read(lambda i: noise(i, (8, 12, 16), mean=0.7)).encoder
    assert found.grid == (12, 16)
    assert sum(found.counts) == 12 * 16 - 1
    assert len(found.filters) == len({own.filter for own in found.filters}) == 9
    for own in found.filters:
        total = own.dc.value + sum(share.value for share in own.shares)
        assert total == pytest.approx(1, abs=1e-12)
        assert own.energy.value == pytest.approx(1 - own.dc.value, abs=1e-12)
        assert own.deviation < 1e-12
        assert own.n_without == 0
        assert own.measurements["srss"].value is None
    plain, whole = found.filters[0], next(own for own in found.filters if own.family == "less the mean")
    assert plain.dc.value > 0.3
    assert whole.dc.value < 0.01


def test_white_noise_has_even_density_and_the_contrast_that_is_said_of_it():
    found = read(noise, n=12).encoder
    plain = found.filters[0]
    for share, count in zip(plain.shares, found.counts, strict=True):
        assert abs(share.value - count / 256) < 5 * share.standard_error + 1e-4
    contrast = plain.measurements["rmsc"]
    assert contrast.white == pytest.approx(math.sqrt(1 - 1 / 256))
    assert contrast.value == pytest.approx(contrast.white, abs=5e-4)


def test_a_checkerboard_of_two_opposite_tokens_is_known_by_hand():
    signs = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8))

    def board(i):
        return signs * torch.tensor([3.0, 4.0])[:, None, None] * (1 + i)

    found = read(board).encoder
    plain = found.filters[0]
    assert plain.energy.value == pytest.approx(1)
    assert plain.energy.standard_error == pytest.approx(0, abs=1e-12)
    assert plain.shares[-1].value > 0.6
    assert found.far == 3
    # Cosines are -1 at odd and +1 at even distances.
    assert plain.measurements["cds"].value == pytest.approx(-4 / 42)
    pairs = np.array(
        [[abs(a - c) + abs(b - d) for c in range(8) for d in range(8)] for a in range(8) for b in range(8)]
    )
    expected = -1 - np.mean((-1.0) ** pairs[pairs >= 3])
    assert plain.measurements["lds"].value == pytest.approx(expected, abs=1e-9)


def test_numbers_depend_neither_on_the_batch_nor_on_the_run():
    def fields(i):
        return noise(i, (5, 8, 8), 0.3)

    first = read(fields, batch_size=1)
    assert read(fields, batch_size=1) == first
    for one, other in zip(first.encoder.filters, read(fields, batch_size=4).encoder.filters, strict=True):
        assert one.energy.value == pytest.approx(other.energy.value, abs=1e-13)
        assert one.measurements["lds"].standard_error == pytest.approx(
            other.measurements["lds"].standard_error, rel=1e-9
        )
    assert first.n_images == 6
    assert read(fields, n_images=3).encoder.filters[0].energy != first.encoder.filters[0].energy


def test_tokens_without_direction_are_counted_and_said():
    def fields(i):
        field = noise(i, (5, 8, 8))
        if i == 2:
            field[:, 0, 0] = 0
        return field

    found = read(fields).encoder
    assert found.filters[0].n_without == 1
    assert found.filters[0].deviation < 1e-12
    assert found.filters[0].energy.value + found.filters[0].dc.value == pytest.approx(1 - 1 / 64 / 6, abs=1e-12)
    (note,) = notes_of([found], None)
    assert "made: images with tokens that are zero" in note
    assert "are: 1." in note


def test_regions_are_those_of_the_masks_of_balanced_images(image_folder, tmp_path):
    images = open_images(str(image_folder), 32, split="all")
    shares = {}
    for i, name in enumerate(images.names[:6]):
        mask = np.zeros((48, 40), np.uint8)
        mask[:, : (4 if i == 0 else 16 + i)] = 255  # the first is cut away
        Image.fromarray(mask).save(tmp_path / name)
        shares[name] = i
    masks = open_masks(tmp_path, images)
    encoder = open_encoder("gradients:2", torch.device("cpu"))
    filters = filters_of("gradients", encoder, 32)
    found = read_encoder("gradients", encoder, images, filters, masks=masks, n_images=8).encoder
    grid, far = found.grid, found.far
    expected = []
    for i in range(6):
        mask = masks[i, grid]
        if 0.25 <= float(mask.double().mean()) <= 0.75:
            field = open_vision("gradients:2")(images[i].image[None]).field.double()
            expected.append(float(srss(field, mask[None], far=far)))
    assert len(expected) == 5
    assert found.filters[0].measurements["srss"].value == pytest.approx(np.mean(expected), rel=1e-9)
    (note,) = notes_of([], masks)
    assert "18 images have no mask" in note
    refused = read_encoder("gradients", encoder, images, filters, n_images=2).encoder.filters[0].measurements["srss"]
    assert refused.value is None
    assert refused.refused == "no masks were given"


def test_filters_are_each_with_and_without_std_and_sigmas_follow_the_grid():
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


def test_an_autoencoder_is_read_by_its_posterior_means(small_autoencoder):
    encoder = open_encoder(f"autoencoder:{small_autoencoder}", torch.device("cpu"))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert encoder.fields(images).shape == (2, encoder.width, 8, 8)
    found = read_encoder("own", encoder, TensorImages(images), filters_of("own", encoder, 32)).encoder
    assert found.grid == (8, 8)
    assert isinstance(found.filters[0].dc, Measurement)


@pytest.mark.parametrize(
    ("fields", "options", "said"),
    [
        (lambda i: noise(i, (3, 3, 8)), {}, "made: 3 x 8 tokens are too few"),
        (lambda i: noise(i) / 0, {}, "made: its tokens are not finite"),
        (noise, {"inner": 4.0}, "0 < inner < outer, got inner 4 and outer 3.2 tokens on a grid of 16 x 16"),
        (noise, {"inner": 0.0}, "0 < inner < outer"),
        (noise, {"n_images": 1}, "1 images can be read; standard errors need two"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(fields, options, said):
    with pytest.raises(ValueError, match=said) as error:
        read(fields, **options)
    assert "\n" not in str(error.value)
