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
from spectrum_matching.records.coverage import Coverage
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
    ("delta", "key"),
    [(0.0, "spectrum-steeper"), (0.5, "spectrum-steeper"), (1.0, "spectrum-at-target"), (1.9, "spectrum-flatter")],
)
def test_with_findings_judges_spectra_of_known_delta(delta, key, images):
    found = keys(Flattened(delta), images)
    assert {k for k in found if k.startswith("spectrum")} == {key}
    assert f"best delta of latents {delta:.2f}"[:-1] in found[key].evidence
    assert " 0.0 dB" not in found[key].verdict


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

    (one,) = [found for key, found in keys(Flattened(1.0, channels=4), images).items() if key == "dead-channels"]
    assert one.verdict == "1 of 4 channels is dead: it carries nothing."
    assert one.evidence.startswith("Channel 3 of latents has ")

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
    assert f"PSNR {psnr:.2f} ±" in found["weak-reconstruction"].evidence


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


def with_gap(analysis, gap, error=0.0):
    first, mildest, *rest = analysis.decoding.lowpass
    lowpass = (first, replace(mildest, gap=Measurement(gap, error)), *rest)
    return with_decoding(analysis, lowpass=lowpass, n_tests=50)


@pytest.mark.parametrize(
    ("interval", "key"),
    [
        ((-0.1, below(MATCHED[0])), "spectrum-steeper"),
        ((-0.1, MATCHED[0]), "spectrum-undecided"),
        ((below(MATCHED[0]), 1.0), "spectrum-undecided"),
        (MATCHED, "spectrum-at-target"),
        ((1.0, above(MATCHED[1])), "spectrum-undecided"),
        ((MATCHED[1], 2.1), "spectrum-undecided"),
        ((above(MATCHED[1]), 2.1), "spectrum-flatter"),
        ((0.0, 2.0), "spectrum-undecided"),
    ],
)
def test_matched_separates_intervals(interval, key, analysis):
    found = judged(with_best_delta(analysis, sum(interval) / 2, interval))
    assert [key for key in found if key.startswith("spectrum")] == [key]
    assert found[key].level == "neutral"


def test_spectrum_names_the_readings_that_differ(analysis):
    def match(variant, interval):
        return replace(
            analysis.view("mean").match(variant), best_delta=interval[0], best_delta_interval=interval, best_gap=0.1
        )

    steep, flat = (0.0, 0.1), (2.0, 2.1)
    same = judged(with_view(analysis, matches=(match("scale_free", steep), match("paper", steep))))
    assert "paper" not in same["spectrum-steeper"].verdict
    other = judged(with_view(analysis, matches=(match("scale_free", steep), match("paper", flat))))
    assert "As the paper’s code reads it, it is flatter than the target" in other["spectrum-steeper"].verdict
    # An undecided reading says nothing else.
    wide = judged(with_view(analysis, matches=(match("scale_free", steep), match("paper", (0.0, 2.0)))))
    assert "paper" not in wide["spectrum-steeper"].verdict


def test_spectrum_judges_samples_and_names_means_that_differ(analysis):
    mean = with_best_delta(analysis, 0.0, (0.0, 0.1)).view("mean")
    sample = replace(with_best_delta(analysis, 2.0, (2.0, 2.1)).view("mean"), kind="sample")
    found = judged(replace(analysis, views=(mean, sample)))["spectrum-flatter"]
    assert "Posterior means, without their noise, are steeper than the target" in found.verdict
    assert "(delta 0.00)" in found.verdict
    # The tables beside it give the numbers of the means.
    assert found.verdict.startswith("The spectrum of posterior samples is flatter")
    assert found.evidence.startswith("Scale-free best delta of posterior samples 2.00")
    alone = judged(replace(analysis, views=(mean,)))["spectrum-steeper"]
    assert alone.verdict.startswith("The spectrum of latents is steeper")
    assert "samples" not in alone.verdict + alone.evidence


def test_spectrum_says_that_a_best_delta_is_the_end_of_the_search(analysis):
    found = judged(with_best_delta(analysis, 2.5, (2.4, 2.5)))["spectrum-flatter"]
    assert "(best delta ≥ 2.50, 95 % 2.40 … ≥ 2.50)" in found.verdict
    assert "≥ 2.50 (95 % 2.40 … ≥ 2.50;" in found.evidence
    assert "gain" not in found.advice  # by which power is not known


def test_findings_label_every_interval(analysis):
    normalisation = replace(analysis.normalisation, std=Measurement(1.5, 0.01))
    numbers = {**analysis.decoding.measurements, "psnr": Measurement(15.0, 0.2)}
    decoding = replace(analysis.decoding, measurements=numbers)
    noise = {**analysis.view("mean").measurements, "posterior_noise": Measurement(0.2, 0.001)}
    changed = replace(with_view(analysis, measurements=noise), normalisation=normalisation, decoding=decoding)
    evidence = [finding.evidence for finding in with_findings(changed).findings]
    assert sum("±" in each for each in evidence) >= 4
    assert all("95 %" in each for each in evidence if " ± " in each)


def test_findings_name_the_latents_that_their_numbers_are_of(analysis):
    # Means of their own stand in the tables: a number of samples without a name would seem to contradict them.
    mean = analysis.view("mean")
    channel = mean.channels[0]
    channels = (channel, replace(channel, kurtosis=50.0, state="outlier"), replace(channel, std=0.0, state="dead"))
    noise = {**mean.measurements, "posterior_noise": Measurement(0.2, 0.001)}
    mean = replace(mean, channels=channels, measurements=noise)
    normalisation = replace(analysis.normalisation, channel_means=(-2.0, 2.0))
    whole = replace(analysis, normalisation=normalisation, views=(mean, replace(mean, kind="sample")))
    found = judged(whole)
    of_decoder = {key for key in found if key.startswith(("decoder", "weak", "reconstruction"))}
    assert {"noisy-posterior", "off-centre", "dead-channels", "outlier-channels"} <= found.keys()
    for key in found.keys() - of_decoder:
        assert "posterior samples" in found[key].evidence, key
    for finding in judged(replace(whole, views=(mean,))).values():
        assert "samples" not in finding.evidence or finding.key == "noisy-posterior"


def with_high_band(analysis, interval, factor):
    """The target at delta 1 with the power of its high half times a factor, and a best delta in the interval."""
    match = analysis.view("mean").match("scale_free")
    latent = [p * (factor if f > 0.25 else 1) for p, f in zip(match.target(1.0), match.frequencies, strict=True)]
    shares = tuple(p / sum(latent) for p in latent)
    match = replace(match, latent=shares, best_delta_interval=interval, best_delta=interval[0])
    return with_view(analysis, matches=(match, replace(match, variant="paper")))


@pytest.mark.parametrize(
    ("interval", "factor", "clause", "reason"),
    [
        ((0.0, 0.1), 0.5, r", with \d\.\d dB less power above", "more power at high frequencies"),
        ((0.0, 0.1), 2.0, r", though it has \d\.\d dB more power above .*: no single slope", None),
        ((2.0, 2.1), 2.0, r", with \d\.\d dB more power above", "removes the excess"),
        ((2.0, 2.1), 0.5, r", though it has \d\.\d dB less power above .*: no single slope", None),
        ((0.0, 0.1), 1.0, None, None),
    ],
)
def test_spectrum_says_where_high_frequencies_contradict_the_slope(interval, factor, clause, reason, analysis):
    found = judged(with_high_band(analysis, interval, factor))
    (finding,) = [finding for key, finding in found.items() if key.startswith("spectrum")]
    assert bool(re.search(clause or "power above", finding.verdict)) == (clause is not None)
    for words in ("more power at high frequencies", "removes the excess"):
        assert (words in finding.advice) == (words == reason)
    assert finding.advice.startswith("To bring it there, fine-tune with ESM")
    assert ("a gain on its latents" in finding.advice) == ("no single slope" not in (clause or ""))


@pytest.mark.parametrize("noise", [None, NOISY_POSTERIOR / 2, 2 * NOISY_POSTERIOR])
def test_spectrum_blames_posterior_noise_only_where_there_is_some(noise, analysis):
    changed = with_best_delta(analysis, 2.0, (2.0, 2.1))
    if noise:
        view = changed.view("mean")
        changed = with_view(changed, measurements=view.measurements | {"posterior_noise": Measurement(noise, 0.0)})
    advice = judged(changed)["spectrum-flatter"].advice
    assert ("KL term" in advice) == (noise == 2 * NOISY_POSTERIOR)


@pytest.mark.parametrize(("n_total", "is_left"), [(24, False), (25, True)])
def test_more_images_are_advised_where_some_are_left(n_total, is_left, analysis):
    changed = with_gap(with_best_delta(analysis, 1.0, (0.0, 2.0)), ALIGNED, 0.5)
    # A bad file that opening found is none of the set's.
    sample = replace(analysis.sample, coverage=Coverage(24, n_total), bad_files=("a.png",))
    found = judged(with_decoding(replace(changed, sample=sample), n_tests=24))
    more, tests = "Measure more images.", "Run the decoder’s tests on more images."
    if not is_left:
        more = "All images of this set were measured: measure a larger one."
        tests = "The decoder’s tests ran on all images of this set: measure a larger one."
    assert found["spectrum-undecided"].advice == more
    assert found["decoder-undecided"].advice == tests


def test_tests_are_advised_on_images_that_were_measured(analysis):
    found = judged(with_decoding(with_gap(analysis, ALIGNED, 0.5), n_tests=23))
    assert found["decoder-undecided"].advice == "Run the decoder’s tests on more images."


@pytest.mark.parametrize(
    ("gap", "error", "key"),
    [
        (below(ALIGNED), 0.0, "decoder-aligned"),
        (ALIGNED, 0.0, "decoder-partly-aligned"),
        (below(MISALIGNED), 0.0, "decoder-partly-aligned"),
        (MISALIGNED, 0.0, "decoder-misaligned"),
        (ALIGNED - 0.1, 0.1, "decoder-undecided"),
        (ALIGNED - 0.3, 0.1, "decoder-aligned"),
        (ALIGNED + 0.1, 0.1, "decoder-undecided"),
        (ALIGNED + 0.3, 0.1, "decoder-partly-aligned"),
        (MISALIGNED - 0.1, 0.1, "decoder-undecided"),
        (MISALIGNED + 0.3, 0.1, "decoder-misaligned"),
    ],
)
def test_aligned_and_misaligned_separate_intervals(gap, error, key, analysis):
    assert [key for key in judged(with_gap(analysis, gap, error)) if key.startswith("decoder")] == [key]


def test_intervals_of_few_tests_are_those_of_student(analysis):
    changed = with_gap(analysis, 0.87, 0.06)
    assert "decoder-aligned" in judged(changed)
    found = judged(with_decoding(changed, n_tests=10))["decoder-undecided"]
    assert "gap 0.87 ± 0.14 dB (95 %" in found.evidence


def test_a_number_without_standard_error_decides_nothing(analysis):
    found = judged(with_gap(analysis, 0.0, None))
    assert "decoder-undecided" in found
    assert "decoder-aligned" not in found


def test_decoder_idle_is_a_diagonal_below_even(analysis):
    transfer = analysis.decoding.transfer
    even = sum(transfer.even[: len(transfer.frequencies)]) / len(transfer.frequencies)
    for diagonal, error, gap, key in (
        (below(even), 0.0, 0.0, "decoder-idle"),
        (even, 0.0, 0.0, "decoder-aligned"),
        (even, 0.1, 0.0, "decoder-undecided"),
        (below(even), 0.0, ALIGNED, "decoder-partly-aligned"),
    ):
        changed = with_decoding(analysis, transfer=replace(transfer, diagonal=Measurement(diagonal, error)))
        assert key in judged(with_gap(changed, gap))


@pytest.mark.parametrize("convention", ["none", "scale"])
@pytest.mark.parametrize(
    ("std", "error", "side"),
    [
        (below(UNIT_SCALE), 0.0, "matches"),
        (UNIT_SCALE, 0.0, "wrong"),
        (UNIT_SCALE - 0.01, 0.01, "undecided"),
        (UNIT_SCALE + 0.01, 0.01, "undecided"),
        (UNIT_SCALE + 0.03, 0.01, "wrong"),
        (1 / UNIT_SCALE, 0.0, "matches"),
        (below(1 / UNIT_SCALE), 0.0, "wrong"),
        (1 / UNIT_SCALE - 0.01, 0.01, "undecided"),
    ],
)
def test_unit_scale_separates_intervals(std, error, side, convention, analysis):
    normalisation = replace(analysis.normalisation, std=Measurement(std, error), convention=convention)
    side = "undeclared" if convention == "none" and side == "wrong" else side
    found = judged(replace(analysis, normalisation=normalisation))
    assert [key for key in found if key.startswith("scale")] == [f"scale-{side}"]


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


@pytest.mark.parametrize(("convention", "declares"), [("none", False), ("scale", True), ("per channel", True)])
def test_scale_and_centre_speak_of_a_declaration_where_there_is_one(convention, declares, analysis):
    normalisation = replace(analysis.normalisation, convention=convention, channel_means=(-2.0, 0.0))
    found = judged(replace(analysis, normalisation=normalisation))
    (scale,) = [finding for key, finding in found.items() if key.startswith("scale")]
    assert ("declared normalisation" in scale.evidence) == declares
    assert found["off-centre"].verdict.startswith(
        "Normalised as declared, some" if declares else "Some channels are far"
    )
    assert "−2 … 0" in found["off-centre"].evidence


@pytest.mark.parametrize(
    ("convention", "stds", "is_reported"),
    [
        ("none", (1.0, 1.0), True),
        ("scale", (1.0, 1.0), True),
        ("per channel", (1.0, OUTLYING), False),
        ("packed", (1.0, OUTLYING), False),
        ("per channel", (1.0, above(OUTLYING)), True),
    ],
)
def test_outliers_of_scale_are_those_that_the_normalisation_leaves(convention, stds, is_reported, analysis):
    channel = replace(analysis.view("mean").channels[0], kurtosis=0.0)
    loud, heavy = replace(channel, std=20.0, state="outlier"), replace(channel, kurtosis=2 * HEAVY, state="outlier")
    normalisation = replace(analysis.normalisation, convention=convention, channel_stds=stds)
    changed = replace(analysis, normalisation=normalisation)
    found = judged(with_view(changed, channels=(channel, channel, loud)))
    assert ("outlier-channels" in found) == is_reported
    tails = judged(with_view(changed, channels=(channel, loud, heavy)))["outlier-channels"]
    assert tails.verdict.startswith("2 of 3 channels differ " if is_reported else "1 of 3 channels differs ")
    assert ("channel by channel" in tails.advice) == is_reported


@pytest.mark.parametrize(("off", "key"), [(1.0, "scale-matches"), (1.4, "scale-wrong"), (0.7, "scale-wrong")])
def test_dead_channels_do_not_count_in_the_scale(off, key, images):
    class Dead(nn.Module):
        """Two live channels of different scale and a third that is dead, of the normalisation of each times `off`."""

        def encode(self, images):
            x = nn.functional.avg_pool2d(images, 4)
            return torch.stack([x[:, 0], 20 * x[:, 1], 0 * x[:, 2]], 1)

        def decode(self, latents):
            x = torch.stack([latents[:, 0], latents[:, 1] / 20, latents[:, 0]], 1)
            return nn.functional.interpolate(x, scale_factor=4)

    model = Dead()
    std, mean = torch.std_mean(model.encode(images), (0, 2, 3), correction=0)
    stds = (*(float(s) / off for s in std[:2]), 1.0)
    model.latent_space = LatentSpace("per channel", tuple(mean.tolist()), stds)
    analysis = analyze(model, images, n_tests=2)
    found = {finding.key: finding for finding in analysis.findings}
    assert key in found
    assert "over all live channels together" in found[key].evidence
    assert "dead-channels" in found
    assert "outlier" in [channel.state for channel in analysis.view("mean").channels]  # of raw latents, and not after
    assert "outlier-channels" not in found


@pytest.mark.parametrize(
    ("noise", "error", "keys"),
    [
        (below(NOISY_POSTERIOR), 0.0, set()),
        (NOISY_POSTERIOR, 0.0, {"noisy-posterior"}),
        (NOISY_POSTERIOR - 0.01, 0.01, {"posterior-undecided"}),
        (NOISY_POSTERIOR + 0.01, 0.01, {"posterior-undecided"}),
        (NOISY_POSTERIOR + 0.03, 0.01, {"noisy-posterior"}),
    ],
)
def test_noisy_posterior_separates_intervals(noise, error, keys, analysis):
    view = analysis.view("mean")
    mean = replace(view, measurements=view.measurements | {"posterior_noise": Measurement(noise, error)})
    found = judged(replace(analysis, views=(mean, replace(view, kind="sample"))))
    assert found.keys() & {"noisy-posterior", "posterior-undecided"} == keys


@pytest.mark.parametrize(
    ("psnr", "error", "keys"),
    [
        (below(WEAK_PSNR), 0.0, {"weak-reconstruction"}),
        (WEAK_PSNR, 0.0, set()),
        (WEAK_PSNR - 0.1, 0.1, {"reconstruction-undecided"}),
        (WEAK_PSNR + 0.1, 0.1, {"reconstruction-undecided"}),
        (WEAK_PSNR - 0.3, 0.1, {"weak-reconstruction"}),
    ],
)
def test_weak_psnr_separates_intervals(psnr, error, keys, analysis):
    measurements = analysis.decoding.measurements | {"psnr": Measurement(psnr, error)}
    found = judged(with_decoding(analysis, measurements=measurements))
    assert found.keys() & {"weak-reconstruction", "reconstruction-undecided"} == keys


def test_docs_state_the_thresholds_of_every_finding():
    page = (Path(__file__).parents[2] / "docs" / "analyze.md").read_text()
    rows = {key: row for row in page.splitlines() if row.startswith("| `") for key in re.findall(r"`([^`]+)`", row)}
    stated = {
        "spectrum-flatter": f"above {MATCHED[1]:g}",
        "spectrum-at-target": f"within {MATCHED[0]:g} … {MATCHED[1]:g}",
        "spectrum-steeper": f"below {MATCHED[0]:g}",
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
    stated |= {key: "holds a threshold" for key in FINDING_KEYS if key.endswith("-undecided")}
    assert stated.keys() == set(FINDING_KEYS) <= rows.keys()
    for key, text in stated.items():
        assert text in rows[key], key
