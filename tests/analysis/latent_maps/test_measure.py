"""Truth by construction: latents that are known functions of one another's, of photographs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from codecs_of_tests import Halving
from spectrum_matching.analysis.latent_maps import compare_latents
from spectrum_matching.analysis.latent_maps.layout import layouts
from spectrum_matching.data.images import open_images
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.mapped import LatentMap

MIXING = torch.tensor([[1.0, 0.5, -0.2], [0.3, -1.0, 0.4], [0.2, 0.1, 2.0]])


class Mixed(Halving):
    """Halving with its channels mixed and moved."""

    def encode(self, images):
        return F.conv2d(super().encode(images), MIXING[:, :, None, None]) + 1

    def decode(self, latents):
        return super().decode(F.conv2d(latents - 1, MIXING.inverse()[:, :, None, None]))


class Neighbours(Halving):
    """Latents are a convolution of Halving's."""

    def __init__(self):
        super().__init__()
        self.map = LatentMap((3, 5), 3)
        torch.manual_seed(0)
        nn.init.normal_(self.map.conv.weight)

    def encode(self, images):
        return self.map(super().encode(images))

    def decode(self, latents):
        return super().decode(latents[:, :3])


class Noise(Halving):
    """Latents have nothing to do with the images."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def encode(self, images):
        b, _, h, w = images.shape
        return torch.randn(b, 3, h // 2, w // 2, generator=self.generator)


class Unshuffled(nn.Module):
    """Latents are all pixels, each block of them the channels of one position."""

    def __init__(self, factor):
        super().__init__()
        self.multiple = factor

    def encode(self, images):
        return F.pixel_unshuffle(images, self.multiple)

    def decode(self, latents):
        return F.pixel_shuffle(latents, self.multiple)


class Quartering(nn.Module):
    """Latents are the images at a quarter of their size."""

    multiple = 4

    def encode(self, images):
        return F.avg_pool2d(images, 4)

    def decode(self, latents):
        return F.interpolate(latents, scale_factor=4)


@pytest.fixture(scope="module")
def photographs():
    images = open_images("embedded", 32, split="held_out")
    return torch.stack([images[10 * i].image for i in range(24)])


def between(photographs, second, n_tests=6):
    return compare_latents({"A": Halving(), "B": second}, photographs, n_tests=n_tests)


def test_an_autoencoder_is_a_drop_in_for_itself(photographs):
    record = between(photographs, Halving()).record
    assert [each.answer for each in record.directions] == ["drop-in", "drop-in"]
    for direction in record.directions:
        assert [route.kernel for route in direction.routes] == [0, 1, 3]
        assert [float(route.r2) for route in direction.routes] == pytest.approx([1, 1, 1], abs=1e-6)
        assert [float(route.loss) for route in direction.routes] == pytest.approx([0, 0, 0], abs=1e-3)
        assert [float(cosine) for cosine in direction.cosines] == pytest.approx([1, 1, 1])
        for share in direction.routes[0].bands.shares:
            assert float(share) == 1
    assert float(record.spaces[0].psnr) == float(record.direction("A", "B").routes[0].psnr)


def test_mixed_channels_are_a_drop_in_after_a_map_of_single_positions(photographs):
    compared = between(photographs, Mixed())
    for direction in compared.record.directions:
        assert (direction.answer, direction.kernel) == ("after a map", 1)
        unmapped, single, wide = direction.routes
        assert float(unmapped.loss) > 3
        assert float(single.r2) == pytest.approx(1, abs=1e-6)
        assert float(wide.r2) == pytest.approx(1, abs=1e-5)
        assert float(single.psnr) == pytest.approx(float(compared.record.spaces[0].psnr), abs=1e-2)
    weight = compared.maps["A", "B"][0].conv
    assert torch.allclose(weight.weight[:, :, 0, 0], MIXING, atol=1e-3)
    assert torch.allclose(weight.bias, torch.ones(3), atol=1e-3)


def test_a_convolution_needs_the_neighbours(photographs):
    compared = between(photographs, Neighbours())
    single, wide = compared.record.direction("A", "B").routes
    assert (single.kernel, wide.kernel) == (1, 3)
    assert float(single.r2) < 0.9
    assert float(wide.r2) == pytest.approx(1, abs=1e-4)
    assert compared.record.direction("A", "B").cosines == ()
    assert float(wide.bands.shares[-1]) > 0.99 > float(single.bands.shares[-1])


def test_nothing_of_noise_is_explained(photographs):
    compared = between(photographs, Noise())
    for direction in compared.record.directions:
        # The mean of all images, which is all that is left, is nearer to them than what noise decodes to.
        assert direction.answer != "drop-in"
        assert direction.answer != "after a map"
        for route in direction.routes[1:]:
            assert route.r2.value < route.r2.half_width
            assert route.r2.value > -0.2
            assert route.r2_fitted > route.r2.value
        assert all(abs(float(cosine)) < 0.1 for cosine in direction.cosines)


def test_finer_latents_are_stacked_onto_the_coarser_grid(photographs):
    compared = between(photographs, Quartering())
    there, back = compared.record.directions
    assert (there.patches, back.patches) == ((2, 1), (1, 2))
    # The mean of 2 × 2 positions is a linear map of these; four positions are not one of their mean.
    assert float(there.routes[0].r2) == pytest.approx(1, abs=1e-6)
    assert float(back.routes[0].r2) < 0.999
    assert (there.answer, there.kernel, there.yardstick) == ("after a map", 1, "B")
    fine = Halving().encode(photographs)
    assert torch.allclose(compared.maps["A", "B"][0](fine), Quartering().encode(photographs), atol=1e-4)
    assert compared.maps["B", "A"][0](Quartering().encode(photographs)).shape == fine.shape


def test_pictures_and_tests_are_of_the_same_images_whatever_the_batches(photographs):
    one, other = (
        compare_latents({"A": Halving(), "B": Mixed()}, photographs, n_tests=5, batch_size=size).record
        for size in (24, 7)
    )
    shown = [
        [(each.image, each.source, each.target, each.kernel) for each in record.pictures] for record in (one, other)
    ]
    assert sorted(shown[0]) == sorted(shown[1])
    assert len({picture.image for picture in one.pictures}) == 3
    assert one.n_tests == other.n_tests == 5
    for a, b in zip(one.directions, other.directions, strict=True):
        assert [float(route.r2) for route in a.routes] == pytest.approx([float(route.r2) for route in b.routes])


@pytest.mark.parametrize(
    ("networks", "n_images", "size", "message"),
    [
        ({"A": Halving()}, 24, 32, "one latent space has no other to be compared with"),
        ({"A": Halving(), "B": Halving()}, 1, 32, "standard errors need two images and two tests or more; got 1 and 6"),
        ({"A": Halving(), "B": Halving()}, 24, 31, "A: size 31 is not a multiple of 2"),
        ({"A": Quartering(), "B": Halving()}, 2, 12, "2 images are too few to fit a map from A’s 3 channels: take 5"),
        (
            {"A": Unshuffled(2), "B": Unshuffled(32)},
            24,
            96,
            "from A to B would have 3,072 inputs at each position of the coarser grid; at most 2,400",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(networks, n_images, size, message, generator):
    images = torch.rand(24, 3, size, size, generator=generator) * 2 - 1
    with pytest.raises(ValueError, match=message):
        compare_latents(networks, images, n_images=n_images, n_tests=6)


def test_the_least_number_of_images_is_enough():
    networks = {name: Autoencoder(Unshuffled(4)) for name in "AB"}
    with pytest.raises(ValueError, match="56 images are too few to fit a map from A’s 48 channels: take 57"):
        layouts(networks, 12, 56)
    assert layouts(networks, 12, 57)


def test_constant_latents_are_refused(photographs):
    class Constant(Halving):
        def encode(self, images):
            return torch.tensor([0.1, -0.7, 1.3])[:, None, None].expand_as(super().encode(images))

    with pytest.raises(ValueError, match="B: its latents are the same for all images; check its weights"):
        between(photographs, Constant())


def test_grids_that_do_not_divide_one_another_are_refused(photographs):
    class Thirds(nn.Module):
        multiple = 6

        def encode(self, images):
            return F.avg_pool2d(images, 3)

        def decode(self, latents):
            return F.interpolate(latents, scale_factor=3)

    images = F.interpolate(photographs, (24, 24))
    with pytest.raises(ValueError, match="factors 2 of A and 3 of B do not divide one another"):
        compare_latents({"A": Halving(), "B": Thirds()}, images)


def test_few_images_leave_the_wide_map_out(photographs):
    record = compare_latents({"A": Halving(), "B": Mixed()}, photographs[:2], n_tests=2).record
    assert [route.kernel for route in record.directions[0].routes] == [0, 1]
    why = "as 256 latent positions are too few: take more images, or larger ones."
    assert record.notes == tuple(f"{name}: no 3 × 3 map was fitted from its 27 inputs, {why}" for name in "AB")
