"""Latents whose truth is known by construction, and the words that must be said of them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from spectrum_matching.analysis import analyze
from spectrum_matching.analysis.verdict import high_band_excess, with_findings
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.spectrum.dct import dct2, idct2

SIDE = 64


@pytest.fixture(scope="module")
def images(power_law_field):
    """A field of 1/f² for each image, in [-1, 1]."""
    field = power_law_field(0, (24, 3, SIDE, SIDE), 2.0).float()
    return field / field.abs().amax()


class Flattened(nn.Module):
    """Image by image: the spectrum times f^(delta/2) in amplitude, then a scale; the decoder undoes both."""

    def __init__(self, delta=1.0, scale=1.0, latent_space=None, channels=3):
        super().__init__()
        u = torch.arange(SIDE)
        frequency = torch.hypot(u[:, None] / (2 * SIDE), u / (2 * SIDE)).clamp_min(1 / (2 * SIDE))
        self.gain, self.scale, self.channels = frequency ** (delta / 2) * scale, scale, channels
        if latent_space:
            self.latent_space = latent_space

    def encode(self, images):
        latents = idct2(dct2(images) * self.gain)
        return torch.cat([latents, latents.new_zeros(len(latents), self.channels - 3, SIDE, SIDE)], 1)

    def decode(self, latents):
        return idct2(dct2(latents[:, :3]) / self.gain)


def keys(codec, images):
    return {finding.key: finding for finding in analyze(codec, images, n_tests=4).findings}


@pytest.mark.parametrize(
    ("delta", "key"), [(0.0, "over-smoothed"), (0.5, "over-smoothed"), (1.0, "matched"), (1.9, "over-noisy")]
)
def test_the_spectrum_is_judged_by_how_flattened_it_was_made(delta, key, images):
    found = keys(Flattened(delta), images)
    assert set(found) & {"over-smoothed", "matched", "over-noisy"} == {key}
    assert f"best delta {delta:.2f}"[:14] in found[key].evidence


def test_the_excess_at_high_frequencies_has_the_sign_and_size_it_was_made_with(images):
    # The target is flattened band by band, these latents coefficient by coefficient, which differs within wide bands.
    match = analyze(Flattened(1.0), images, n_tests=2).view("mean").match("scale_free")
    assert abs(high_band_excess(match)) < 0.4
    flat = analyze(Flattened(2.0), images, n_tests=2).view("mean").match("scale_free")
    steep = analyze(Flattened(0.0), images, n_tests=2).view("mean").match("scale_free")
    assert high_band_excess(flat) > 1
    assert high_band_excess(steep) < -1


def test_a_decoder_that_inverts_a_filter_is_aligned_and_one_that_shuffles_cells_is_not(images):
    class Shuffled(Flattened):
        """Blocks of 8 cells are mirrored: each frequency of a block moves to others."""

        def encode(self, images):
            order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
            blocks = super().encode(images).unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)[..., order]
            return blocks.unflatten(-1, (8, 8)).transpose(3, 4).reshape(len(images), 3, SIDE, SIDE)

        def decode(self, latents):
            order = torch.randperm(64, generator=torch.Generator().manual_seed(0)).argsort()
            blocks = latents.unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)[..., order]
            return super().decode(blocks.unflatten(-1, (8, 8)).transpose(3, 4).reshape(len(latents), 3, SIDE, SIDE))

    class Same(nn.Module):
        encode = decode = staticmethod(lambda x: x)

    assert "decoder-aligned" in keys(Same(), images)
    assert "decoder-misaligned" in keys(Shuffled(0.0), images)


@pytest.mark.parametrize(
    ("space", "key"),
    [
        (None, "scale-undeclared"),
        (LatentSpace("scale", (0.0,), (0.5,)), "scale-wrong"),
        ("measured", "scale-matches"),
    ],
)
def test_a_declared_scale_is_held_against_the_data(space, key, images):
    std = float(Flattened(1.0).encode(images).std())
    if space == "measured":
        space = LatentSpace("scale", (0.0,), (std,))
    found = keys(Flattened(1.0, latent_space=space), images)
    assert {k for k in found if k.startswith("scale")} == {key}
    if key == "scale-wrong":
        times = 0.5 / std
        assert f"{times:.2g} times too small" in found[key].verdict
        assert f"{1 / std:.4g}" in found[key].advice


def test_dead_channels_and_outliers_are_named(images):
    assert "Channels 3, 4 " in keys(Flattened(1.0, channels=5), images)["dead-channels"].evidence

    class Loud(Flattened):
        def encode(self, images):
            return super().encode(images) * torch.tensor([1.0, 1.0, 20.0]).view(3, 1, 1)

        def decode(self, latents):
            return super().decode(latents / torch.tensor([1.0, 1.0, 20.0]).view(3, 1, 1))

    found = keys(Loud(1.0), images)
    assert "channel 2 " in found["outlier-channels"].evidence
    assert "channel by channel" in found["outlier-channels"].advice

    class Spiky(Flattened):
        def encode(self, images):
            latents = super().encode(images)
            return torch.cat([latents[:, :2], (10 * latents[:, 2:]).pow(9)], 1)

        def decode(self, latents):
            return latents

    found = keys(Spiky(1.0), images)["outlier-channels"]
    assert "xcess kurtosis of channel 2" in found.evidence or "kurtosis of channel 2" in found.evidence


def test_channels_far_from_centred_are_named(images):
    class Shifted(Flattened):
        def encode(self, images):
            return super().encode(images) + torch.tensor([0.0, 0.0, 5.0]).view(3, 1, 1)

        def decode(self, latents):
            return super().decode(latents - torch.tensor([0.0, 0.0, 5.0]).view(3, 1, 1))

    assert "5" in keys(Shifted(1.0), images)["off-centre"].evidence
    assert "off-centre" not in keys(Flattened(1.0), images)


def test_a_decoder_that_ignores_its_latents_is_not_called_aligned(images):
    class Constant(Flattened):
        def decode(self, latents):
            return latents.new_zeros(len(latents), 3, SIDE, SIDE)

    found = keys(Constant(1.0), images)
    assert "decoder-idle" in found
    assert "decoder-aligned" not in found


@pytest.mark.parametrize(
    ("gap", "key"), [(0.99, "decoder-aligned"), (1.0, "decoder-partly-aligned"), (3.0, "decoder-misaligned")]
)
def test_the_decoder_is_judged_by_the_gap(gap, key, images):
    analysis = analyze(Flattened(1.0), images, n_tests=2)
    point = replace(analysis.decoding.lowpass[1], gap=Measurement(gap, 0.1))
    lowpass = (analysis.decoding.lowpass[0], point)
    judged = with_findings(replace(analysis, decoding=replace(analysis.decoding, lowpass=lowpass)))
    assert [f.key for f in judged.findings if f.key.startswith("decoder")] == [key]


def test_a_weak_reconstruction_is_said_beside_smooth_latents(images):
    class Blind(Flattened):
        def decode(self, latents):
            return torch.zeros(len(latents), 3, SIDE, SIDE)

    bright = images.sign() * images.abs().sqrt()
    found = keys(Blind(1.0), bright)
    assert "weak-reconstruction" in found
    psnr = float(-10 * (bright.square().mean((1, 2, 3)) / 4).log10().mean())
    assert f"PSNR {psnr:.2f} dB" in found["weak-reconstruction"].evidence
