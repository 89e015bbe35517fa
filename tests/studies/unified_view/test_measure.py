import dataclasses

import pytest
import torch

from spectrum_matching.analysis import analyze
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.studies.unified_view.measure import measure_unified_view


@pytest.fixture(scope="module")
def measured():
    """A real analysis of four random images."""
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return analyze(Autoencoder.from_preset("tiny"), images, name="control", n_tests=2)


def shifted(analysis, name, seed, spectrum=0.0, decoder=0.0, psnr=0.0):
    """The analysis of another training, with gaps of the spectrum, low-pass gaps and PSNR raised by so much."""

    def raised(estimate, by):
        return dataclasses.replace(estimate, value=estimate.value + by)

    matches = tuple(
        dataclasses.replace(m, gaps=tuple(raised(gap, spectrum) for gap in m.gaps), best_gap=m.best_gap + spectrum)
        for m in analysis.view("mean").matches
    )
    views = tuple(dataclasses.replace(view, matches=matches) for view in analysis.views)
    points = tuple(
        dataclasses.replace(p, gap=raised(p.gap, decoder), decoded=raised(p.decoded, -decoder))
        for p in analysis.decoding.lowpass
    )
    measurements = dict(analysis.decoding.measurements)
    measurements["psnr"] = dataclasses.replace(measurements["psnr"], value=measurements["psnr"].value + psnr)
    return dataclasses.replace(
        analysis,
        subject=dataclasses.replace(analysis.subject, name=name, digest=f"{name} {seed}"),
        views=views,
        decoding=dataclasses.replace(analysis.decoding, lowpass=points, measurements=measurements),
    )


def seeds(analysis, name, shakes=(0.0, 0.02), **changes):
    """Two seeds that differ by a little in everything."""
    return [
        shifted(analysis, name, i, **{of: changes.get(of, 0.0) + shake for of in ("spectrum", "decoder", "psnr")})
        for i, shake in enumerate(shakes)
    ]


@pytest.fixture(scope="module")
def study(measured):
    return measure_unified_view(
        [
            *seeds(measured, "control"),
            *seeds(measured, "encoding", spectrum=-0.1),
            *seeds(measured, "decoding", decoder=-1.0, psnr=-2.0),
            *seeds(measured, "both", spectrum=-0.1, decoder=-1.0),
            *seeds(measured, "neither", spectrum=0.01),
            *seeds(measured, "away", spectrum=0.1, decoder=1.0),
            *seeds(measured, "alone", shakes=(0.0,), spectrum=-9.0),
        ],
        "control",
        "specmatch study unified-view",
    )


def words(study, name):
    changes = {change.key: change.word for change in study.of(name).changes}
    return changes["gap_scale_free"], changes["lowpass_gap"], changes["psnr"]


def test_measure_unified_view_acts_beyond_the_spread_of_seeds(study):
    assert words(study, "control") == ("undecided", "undecided", "undecided")
    assert words(study, "encoding") == ("acts", "undecided", "undecided")
    assert words(study, "decoding") == ("undecided", "acts", "lower")
    assert words(study, "both") == ("acts", "acts", "undecided")
    assert words(study, "neither") == ("undecided", "undecided", "undecided")
    assert words(study, "away") == ("worse", "worse", "undecided")
    assert words(study, "alone") == ("undecided", "undecided", "undecided")
    # What is read off low-passed images must rise, what is read off gaps must fall.
    assert study.of("decoding").change("lowpass_psnr").word == "acts"
    assert study.of("away").change("lowpass_psnr").word == "worse"
    assert "One seed of alone" in study.notes[0]


def test_measure_unified_view_changes_are_against_the_control_mean(study, measured):
    change = study.of("encoding").change("gap_paper")
    assert change.changes == pytest.approx((-0.11, -0.09))
    assert (change.mean, change.half_range) == pytest.approx((-0.1, 0.01))
    gap = measured.view("mean").match("paper").gap(1.0).value
    assert change.values == pytest.approx((gap - 0.1, gap - 0.08))
    own = study.of("control").change("lowpass_gap")
    assert own.mean == pytest.approx(0)
    some = [point.gap.value for point in measured.decoding.lowpass if point.keep < 15]
    assert own.values[0] == pytest.approx(sum(some) / len(some))


def test_measure_unified_view_curves_are_those_of_the_analyses(study, measured):
    first, match = study.of("control").seeds[0], measured.view("mean").match("scale_free")
    assert first.curve("scale_free").gaps == pytest.approx([gap.value for gap in match.gaps])
    assert first.curve("scale_free").best_delta == match.best_delta
    assert study.deltas == match.deltas
    assert study.keeps == tuple(point.keep for point in measured.decoding.lowpass if point.keep < 15)
    assert first.decoded == pytest.approx([p.decoded.value for p in measured.decoding.lowpass if p.keep < 15])


def test_measure_unified_view_takes_another_delta(study, measured):
    both = [*seeds(measured, "control"), *seeds(measured, "encoding", spectrum=-0.1)]
    other = measure_unified_view(both, "control", "", 0.4)
    gap = measured.view("mean").match("paper").gap(0.4).value
    assert other.of("control").change("gap_paper").values[0] == pytest.approx(gap)
    with pytest.raises(ValueError, match=r"--delta 0.45 was not analyzed; there are -0.5, "):
        measure_unified_view(both, "control", "", 0.45)


def refusals(measured):
    pair = [shifted(measured, "control", 0), shifted(measured, "other", 0)]
    first, other = pair

    def changed(**changes):
        return [first, dataclasses.replace(other, **changes)]

    sample = dataclasses.replace(measured.sample, digest="elsewhere")
    views = tuple(dataclasses.replace(view, matches=()) for view in other.views)
    tests = dataclasses.replace(other.decoding, n_tests=3)
    yield [], "--control control: no analysis has that name; there are none"
    yield [other], "--control control: no analysis has that name; there are other"
    yield ([first, shifted(measured, "control", 1)], "every analysis is of control: name those of another method too")
    yield [first, first, other], r"control and control are of the same weights \(control 0\)"
    yield changed(sample=sample), "control and other differ in their images .*: compare like with like"
    yield changed(latent_shape=(4, 8, 8)), r"differ in their latents \(8 x 8 x 8 and 4 x 8 x 8\)"
    yield changed(decoding=tests), "differ in their tests"
    yield changed(decoding=None), "other has no low-pass decoding curve: analyze an autoencoder, not cached latents"
    yield changed(views=views), "other was analyzed without images"


def test_measure_unified_view_refuses_what_is_not_comparable(measured):
    for analyses, message in refusals(measured):
        with pytest.raises(ValueError, match=message) as error:
            measure_unified_view(analyses, "control", "")
        assert "\n" not in str(error.value)


def test_measure_unified_view_compares_images_not_their_paths(measured):
    other = shifted(measured, "other", 0)
    other = dataclasses.replace(other, sample=dataclasses.replace(other.sample, source="the/same/images/"))
    study = measure_unified_view([shifted(measured, "control", 0), other], "control", "")
    assert study.of("other").seeds


def test_measure_unified_view_notes_different_code(measured):
    other = shifted(measured, "other", 0)
    other = dataclasses.replace(other, provenance=dataclasses.replace(other.provenance, commit="abc123"))
    study = measure_unified_view([shifted(measured, "control", 0), other], "control", "")
    assert "different code" in study.notes[1]
    assert "abc123" in study.notes[1]
