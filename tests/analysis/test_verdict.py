"""The verdict on latents of known properties, and at each of its thresholds."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from spectrum_matching.analysis import analyze
from spectrum_matching.analysis.verdict import (
    ALIGNED,
    MATCHED,
    MISALIGNED,
    NOISY_POSTERIOR,
    OFF_CENTRE,
    UNIT_SCALE,
    WEAK_PSNR,
    high_band_excess,
    with_findings,
)
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.metrics.latents.channels import HEAVY, OUTLYING
from spectrum_matching.metrics.latents.moments import DEAD
from spectrum_matching.records.analysis import FINDING_KEYS
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delta", "key"), [(0.0, "over-smoothed"), (0.5, "over-smoothed"), (1.0, "matched"), (1.9, "over-noisy")]
)
def test_with_findings_judges_spectra_of_known_delta(delta, key, images):
    found = keys(Flattened(delta), images)
    assert set(found) & {"over-smoothed", "matched", "over-noisy"} == {key}
    assert f"best delta {delta:.2f}"[:14] in found[key].evidence


@pytest.mark.slow
def test_high_band_excess_of_known_spectra(images):
    # The target is flattened band by band, these latents coefficient by coefficient, which differs within wide bands.
    match = analyze(Flattened(1.0), images, n_tests=2).view("mean").match("scale_free")
    assert abs(high_band_excess(match)) < 0.4
    flat = analyze(Flattened(2.0), images, n_tests=2).view("mean").match("scale_free")
    steep = analyze(Flattened(0.0), images, n_tests=2).view("mean").match("scale_free")
    assert high_band_excess(flat) > 1
    assert high_band_excess(steep) < -1


@pytest.mark.slow
def test_with_findings_judges_decoders_of_known_alignment(images):
    class Shuffled(Flattened):
        """Positions of blocks of 8 are permuted: each frequency of a block moves to others."""

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "key"),
    [(None, "scale-undeclared"), (LatentSpace("scale", (0.0,), (0.5,)), "scale-wrong"), ("measured", "scale-matches")],
)
def test_with_findings_compares_declared_scale_with_data(space, key, images):
    std = float(Flattened(1.0).encode(images).std())
    if space == "measured":
        space = LatentSpace("scale", (0.0,), (std,))
    found = keys(Flattened(1.0, latent_space=space), images)
    assert {k for k in found if k.startswith("scale")} == {key}
    if key == "scale-wrong":
        times = 0.5 / std
        assert f"{times:.2g} times too small" in found[key].verdict
        assert f"{1 / std:.4g}" in found[key].advice


@pytest.mark.slow
def test_with_findings_names_dead_and_outlier_channels(images):
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


def test_with_findings_gives_the_median_of_live_channels(analysis):
    channel = analysis.view("mean").channels[0]
    channels = [replace(channel, std=std, state="live") for std in (1.0, 2.0)]
    channels += [replace(channel, std=20.0, state="outlier"), replace(channel, std=0.0, state="dead")]
    found = judged(with_view(analysis, channels=(*channels, channels[1])))
    assert "(median deviation of live channels 2;" in found["outlier-channels"].evidence


@pytest.mark.slow
def test_with_findings_names_channels_off_centre(images):
    class Shifted(Flattened):
        def encode(self, images):
            return super().encode(images) + torch.tensor([0.0, 0.0, 5.0]).view(3, 1, 1)

        def decode(self, latents):
            return super().decode(latents - torch.tensor([0.0, 0.0, 5.0]).view(3, 1, 1))

    assert "5" in keys(Shifted(1.0), images)["off-centre"].evidence
    assert "off-centre" not in keys(Flattened(1.0), images)


def test_with_findings_names_idle_decoders(images):
    class Constant(Flattened):
        def decode(self, latents):
            return latents.new_zeros(len(latents), 3, SIDE, SIDE)

    found = keys(Constant(1.0), images)
    assert "decoder-idle" in found
    assert "decoder-aligned" not in found


def test_with_findings_names_weak_reconstructions(images):
    class Blind(Flattened):
        def decode(self, latents):
            return torch.zeros(len(latents), 3, SIDE, SIDE)

    bright = images.sign() * images.abs().sqrt()
    found = keys(Blind(1.0), bright)
    assert "weak-reconstruction" in found
    psnr = float(-10 * (bright.square().mean((1, 2, 3)) / 4).log10().mean())
    assert f"PSNR {psnr:.2f} dB" in found["weak-reconstruction"].evidence


@pytest.fixture(scope="module")
def analysis(images):
    return analyze(Flattened(1.0), images, n_tests=2)


def below(threshold):
    return math.nextafter(threshold, -math.inf)


def above(threshold):
    return math.nextafter(threshold, math.inf)


def judged(analysis):
    return {finding.key: finding for finding in with_findings(analysis).findings}


def with_view(analysis, **changes):
    return replace(analysis, views=(replace(analysis.view("mean"), **changes),))


def with_best_delta(analysis, delta, interval=(1.0, 1.0)):
    matches = tuple(
        replace(match, best_delta=delta, best_delta_interval=interval) for match in analysis.view("mean").matches
    )
    return with_view(analysis, matches=matches)


def with_decoding(analysis, **changes):
    return replace(analysis, decoding=replace(analysis.decoding, **changes))


def with_gap(analysis, gap):
    first, mildest, *rest = analysis.decoding.lowpass
    return with_decoding(analysis, lowpass=(first, replace(mildest, gap=Measurement(gap, 0.1)), *rest))


@pytest.mark.parametrize(
    ("delta", "key"),
    [
        (below(MATCHED[0]), "over-smoothed"),
        (MATCHED[0], "matched"),
        (MATCHED[1], "matched"),
        (above(MATCHED[1]), "over-noisy"),
    ],
)
def test_matched_separates_spectra(delta, key, analysis):
    found = judged(with_best_delta(analysis, delta))
    assert found.keys() & {"over-smoothed", "matched", "over-noisy"} == {key}


@pytest.mark.parametrize(
    ("delta", "interval", "level"),
    [
        (2.0, (MATCHED[1], 2.1), "warning"),
        (2.0, (above(MATCHED[1]), 2.1), "bad"),
        (0.0, (-0.1, MATCHED[0]), "warning"),
        (0.0, (-0.1, below(MATCHED[0])), "bad"),
    ],
)
def test_matched_decides_levels_by_the_interval(delta, interval, level, analysis):
    found = judged(with_best_delta(analysis, delta, interval))
    assert found["over-noisy" if delta else "over-smoothed"].level == level


@pytest.mark.parametrize(
    ("gap", "key"),
    [
        (below(ALIGNED), "decoder-aligned"),
        (ALIGNED, "decoder-partly-aligned"),
        (below(MISALIGNED), "decoder-partly-aligned"),
        (MISALIGNED, "decoder-misaligned"),
    ],
)
def test_aligned_and_misaligned_separate_decoders(gap, key, analysis):
    assert [key for key in judged(with_gap(analysis, gap)) if key.startswith("decoder")] == [key]


def test_decoder_idle_is_a_diagonal_no_larger_than_even(analysis):
    transfer = analysis.decoding.transfer
    even = sum(transfer.even[: len(transfer.frequencies)]) / len(transfer.frequencies)
    for diagonal, gap, key in (
        (even, 0.0, "decoder-idle"),
        (above(even), 0.0, "decoder-aligned"),
        (even, ALIGNED, "decoder-partly-aligned"),
    ):
        changed = with_decoding(analysis, transfer=replace(transfer, diagonal=Measurement(diagonal, 0.1)))
        assert key in judged(with_gap(changed, gap))


@pytest.mark.parametrize("convention", ["none", "scale"])
@pytest.mark.parametrize(
    ("std", "matches"),
    [(UNIT_SCALE, True), (above(UNIT_SCALE), False), (1 / UNIT_SCALE, True), (below(1 / UNIT_SCALE), False)],
)
def test_unit_scale_separates_scales(std, matches, convention, analysis):
    normalisation = replace(analysis.normalisation, std=std, convention=convention)
    wrong = "scale-undeclared" if convention == "none" else "scale-wrong"
    found = judged(replace(analysis, normalisation=normalisation))
    assert [key for key in found if key.startswith("scale")] == ["scale-matches" if matches else wrong]


@pytest.mark.parametrize(
    ("means", "is_off"),
    [
        ((0.0, OFF_CENTRE), False),
        ((0.0, above(OFF_CENTRE)), True),
        ((-OFF_CENTRE, 0.0), False),
        ((below(-OFF_CENTRE), 0.0), True),
    ],
)
def test_off_centre_separates_channel_means(means, is_off, analysis):
    found = judged(replace(analysis, normalisation=replace(analysis.normalisation, channel_means=means)))
    assert ("off-centre" in found) == is_off


@pytest.mark.parametrize(("noise", "is_noisy"), [(below(NOISY_POSTERIOR), False), (NOISY_POSTERIOR, True)])
def test_noisy_posterior_separates_shares(noise, is_noisy, analysis):
    view = analysis.view("mean")
    mean = replace(view, measurements=view.measurements | {"posterior_noise": Measurement(noise)})
    found = judged(replace(analysis, views=(mean, replace(view, kind="sample"))))
    assert ("noisy-posterior" in found) == is_noisy


@pytest.mark.parametrize(("psnr", "is_weak"), [(below(WEAK_PSNR), True), (WEAK_PSNR, False)])
def test_weak_psnr_separates_reconstructions(psnr, is_weak, analysis):
    measurements = analysis.decoding.measurements | {"psnr": Measurement(psnr)}
    assert ("weak-reconstruction" in judged(with_decoding(analysis, measurements=measurements))) == is_weak


def test_docs_state_the_thresholds_of_every_finding():
    page = (Path(__file__).parents[2] / "docs" / "analyze.md").read_text()
    rows = {key: row for row in page.splitlines() if row.startswith("| `") for key in re.findall(r"`([^`]+)`", row)}
    stated = {
        "over-noisy": f"is above {MATCHED[1]:g}",
        "matched": f"lies in {MATCHED[0]:g} … {MATCHED[1]:g}",
        "over-smoothed": f"is below {MATCHED[0]:g}",
        "noisy-posterior": f"{NOISY_POSTERIOR:.0%}".replace("%", " %") + " or more",
        "decoder-aligned": f"under {ALIGNED:g} dB",
        "decoder-partly-aligned": f"{ALIGNED:g} to {MISALIGNED:g} dB",
        "decoder-misaligned": f"{MISALIGNED:g} dB or more",
        "decoder-idle": f"under {ALIGNED:g} dB",
        "scale-matches": f"within a factor of {UNIT_SCALE:g} of 1",
        "scale-wrong": f"within a factor of {UNIT_SCALE:g} of 1",
        "scale-undeclared": "nothing is declared",
        "off-centre": f"above {OFF_CENTRE:g}",
        "dead-channels": f"at most {DEAD * 1e6:g} millionth",
        "outlier-channels": f"over {OUTLYING:g} times or under 1/{OUTLYING:g} of the median, or excess kurtosis above "
        f"{HEAVY:g}",
        "weak-reconstruction": f"under {WEAK_PSNR:g} dB",
    }
    assert stated.keys() == set(FINDING_KEYS) <= rows.keys()
    for key, text in stated.items():
        assert text in rows[key], key
