import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from latents_of_tests import MemoryLatents
from spectrum_matching.analysis import analyze, generative, numbers
from spectrum_matching.analysis.conditions import failures, read_conditions
from spectrum_matching.analysis.generative import Steps, check_reference
from spectrum_matching.analysis.options import AnalysisOptions, open_reference_data
from spectrum_matching.data import open_images
from spectrum_matching.latents.encode import autoencoder_encoder, encode_images
from spectrum_matching.latents.write_cache import Storage, write_cache
from spectrum_matching.metrics.catalogue import GENERATIVE_METRICS
from spectrum_matching.metrics.generative.interpolation import INTERPOLATION, RAW, UNIT_INTERPOLATION, fit_interpolation
from spectrum_matching.metrics.generative.model import Fitting, GenerativeMetric, distances
from spectrum_matching.metrics.images.frechet import FLOOR_METRIC, frechet_distance
from spectrum_matching.metrics.images.pixels import round_to_bytes
from spectrum_matching.metrics.images.statistics import RunningMoments
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.seeding import indexed_noise


def write_pictures(folder, n, size=32, seed=0, classes=""):
    generator = np.random.default_rng(seed)
    for i in range(n):
        coarse = Image.fromarray(generator.integers(0, 256, (size // 4, size // 4, 3), dtype=np.uint8))
        path = folder / classes[i % len(classes) : i % len(classes) + 1] if classes else folder
        path.mkdir(parents=True, exist_ok=True)
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(path / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return open_images(str(write_pictures(tmp_path_factory.mktemp("data") / "measured", 24)), 32, split="all")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A folder of other images, in two classes."""
    return write_pictures(tmp_path_factory.mktemp("data") / "others", 30, seed=1, classes="ab")


def features(x):
    """Six features of images: means and deviations of colours."""
    return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1)


@pytest.fixture(scope="module")
def tiny():
    return Autoencoder.from_preset("tiny")


@pytest.fixture(scope="module")
def options(images, others):
    return AnalysisOptions(features=features, reference=open_reference_data(str(others), images))


@pytest.fixture(scope="module")
def measured(tiny, images, options):
    return analyze(tiny, images, n_tests=2, options=options, seed=5)


@pytest.fixture(scope="module")
def cached(tiny, others, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    encoder = autoencoder_encoder("tiny", tiny, 32, torch.device("cpu"))
    job = encode_images(
        encoder, open_images(str(others), 32, split="all"), Storage("float32", flips=False), batch_size=8, workers=0
    )
    write_cache(job, folder, Accelerator())
    return folder


def samples(autoencoder, images, what, seed):
    """One sample of the posterior of each image (n, c, h, w)."""
    with torch.inference_mode():
        posterior = autoencoder.eval().encode(torch.stack([images[i].image for i in range(len(images))]))
    noise = indexed_noise(posterior.mean.shape, range(len(images)), what, seed)
    return posterior.mean + (posterior.logvar / 2).exp() * noise


def distance(a, b):
    moments = (RunningMoments().add(features(round_to_bytes(x))) for x in (a, b))
    return frechet_distance(*moments)


def test_analyze_measures_interpolation_as_restated(measured, tiny, images, others):
    reference = open_images(str(others), 32, split="all")
    evaluated = MemoryLatents(samples(tiny, images, "posterior", 5))
    fitting = Fitting(MemoryLatents(samples(tiny, reference, "reference", 5)), evaluated, seed=5)
    pixels = torch.stack([images[i].image for i in range(24)])
    with torch.inference_mode():
        decoded = tiny.decode(tiny.encode(pixels).mean)
        for key, space in (("interpolation_fid", RAW), ("interpolation_fid_unit", fitting.reference.space)):
            generated = tiny.decode(fit_interpolation(fitting, space).sample(range(24)))
            for end, target in (("", pixels), ("_reconstructions", decoded)):
                found = measured.generative.measurements[key + end]
                assert found.value == pytest.approx(distance(generated, target), rel=1e-4)
                assert found.standard_error > 0


def test_analyze_records_the_protocol_of_generation(measured, others, tmp_path):
    record = measured.generative
    assert (record.reference, record.holds) == (str(others), "sample")
    assert (record.coverage.n_images, record.coverage.n_total, record.coverage.n_classes) == (30, 30, 2)
    assert (record.n_evaluated, record.n_generated) == (24, 24)
    assert len(record.reference_digest) == 16
    keys = {metric.key for entry in GENERATIVE_METRICS for metric in entry.metrics} | {FLOOR_METRIC.key}
    assert record.measurements.keys() == keys
    assert {metric.key for metric in INTERPOLATION.metrics} <= numbers(measured).keys()
    assert measured.measurement("interpolation_fid") is record.measurements["interpolation_fid"]
    assert failures(read_conditions(["interpolation_fid > 0"]), [measured])
    ANALYSES.write(tmp_path / "analysis.json", [measured])
    assert ANALYSES.read(tmp_path / "analysis.json") == [measured]


def test_analyze_gives_the_same_generation_from_images_and_from_their_cache(measured, tiny, images, options, cached):
    reference = open_reference_data(f"latents:{cached}", images)
    again = analyze(tiny, images, n_tests=2, options=replace(options, reference=reference), seed=5, batch_size=5)
    for metric in (*INTERPOLATION.metrics, *UNIT_INTERPOLATION.metrics):
        number, other = (each.generative.measurements[metric.key] for each in (measured, again))
        assert other.value == pytest.approx(number.value, rel=1e-4)
    assert again.generative.coverage == measured.generative.coverage
    assert again.generative.reference == str(cached)


def count_passes(model, monkeypatch):
    """Return a list to which the numbers of images are added that the model encodes or decodes from now on."""
    passes = []

    def count(run):
        def counted(values):
            passes.append(len(values))
            return run(values)

        return counted

    monkeypatch.setattr(model, "encode", count(model.encode))
    monkeypatch.setattr(model, "decode", count(model.decode))
    return passes


def test_analyze_reports_all_of_the_work(tiny, images, options, monkeypatch):
    calls = []
    report = {"progress": lambda *call: calls.append(call)}
    with monkeypatch.context() as patched:
        passes = count_passes(tiny, patched)
        analyze(tiny, images, n_tests=2, options=replace(options, reference=None), batch_size=8, **report)
    done, totals = zip(*calls, strict=True)
    assert set(totals) == {sum(passes)}
    assert list(done) == sorted(done)
    assert done[-1] == totals[-1]
    calls.clear()
    analyze(tiny, images, n_tests=2, options=options, batch_size=8, **report)
    done, totals = zip(*calls, strict=True)
    assert set(totals) == {sum(passes) + 30 + len(GENERATIVE_METRICS) * (30 + 24)}
    assert list(done) == sorted(done)
    assert done[-1] == totals[-1]


def test_analyze_refuses_generation_of_too_few_images_before_any_work(tiny, images, options, monkeypatch):
    monkeypatch.setattr(generative, "open_reference_latents", None)  # is not called
    few = analyze(tiny, images, n_images=6, n_tests=2, options=options)
    (reason,) = {number.refused for number in few.generative.measurements.values()}
    assert reason.startswith("6 images cannot fill a covariance of 6 features")
    assert few.generative.n_generated == 0


def test_analyze_refuses_a_model_that_cannot_be_fitted_or_decoded(tiny, images, options, monkeypatch):
    class Broken:
        def sample(self, indices):
            return torch.full((len(indices), 8, 8, 8), math.nan)

    def unfit(fitting):
        raise ValueError("no classes")

    facts = {"source": "a test", "evidence": "none"}
    broken = GenerativeMetric(distances("broken", "broken", "none", **facts), lambda fitting: Broken())
    unfitted = GenerativeMetric(distances("unfitted", "unfitted", "none", **facts), unfit)
    monkeypatch.setattr(generative, "GENERATIVE_METRICS", (broken, unfitted, INTERPOLATION))
    found = analyze(tiny, images, n_tests=2, options=options).generative.measurements
    assert "not finite" in found["broken"].refused
    assert found["unfitted_reconstructions"].refused == "no classes"
    assert found["interpolation_fid"].value is not None


def test_steps_add_up_to_the_whole():
    calls = []
    steps = Steps(lambda *call: calls.append(call), 30)
    first, second = steps.part(10), steps.part(20)
    first(1, 2)
    first(2, 2)
    second(3, 4)
    second(4, 4)
    assert calls == [(5, 30), (10, 30), (25, 30), (30, 30)]


def test_reference_needs_features(images, others):
    with pytest.raises(ValueError, match=r"a reference needs features.*--features"):
        AnalysisOptions(reference=open_reference_data(str(others), images))
    with pytest.raises(ValueError, match="1 reference latents are too few"):
        open_reference_data(str(others), images, 1)


def test_check_reference_refuses_latents_of_another_autoencoder_or_shape(tiny, images, options, cached):
    latents = replace(options, reference=open_reference_data(f"latents:{cached}", images))
    check_reference("tiny", tiny, 32, latents)
    with pytest.raises(ValueError, match=r"holds latents of another autoencoder \(tiny [0-9a-f]{16}\) than second"):
        check_reference("second", Autoencoder.from_preset("tiny", seed=1), 32, latents)
    with pytest.raises(ValueError, match=r"holds latents of 8 x 8 x 8, but tiny makes 8 x 16 x 16 of images of 64"):
        check_reference("tiny", tiny, 64, latents)


def test_open_reference_data_leaves_out_the_images_measured_where_it_can(tmp_path):
    folder = str(write_pictures(tmp_path / "all", 20))
    held_out = open_images(folder, 32, split="held_out", held_out=0.4, seed=3)
    rest = open_reference_data(folder, held_out)
    assert not set(rest.data.names) & set(held_out.names)
    assert len(rest.data) + len(held_out) == 20
    assert rest.notes == ()
    whole = open_reference_data(folder, open_images(folder, 32, split="all"))
    assert len(whole.data) == 20
    assert "holds images that are measured" in whole.notes[0]


def test_open_reference_data_notes_a_cache_of_the_images_measured(cached, others):
    assert (
        "holds images that are measured"
        in open_reference_data(f"latents:{cached}", open_images(str(others), 32, split="all")).notes[0]
    )


def test_analyze_interpolates_within_means_of_a_deterministic_codec(images, others):
    class Cells(nn.Module):
        multiple = 4

        def encode(self, x):
            return nn.functional.avg_pool2d(x, 4)

        def decode(self, z):
            return nn.functional.interpolate(z, scale_factor=4)

    options = AnalysisOptions(features=features, reference=open_reference_data(str(others), images, 20))
    record = analyze(Cells(), images, n_tests=2, options=options).generative
    assert record.coverage.n_images == 20
    assert record.measurements["interpolation_fid"].value > 0
    assert record.holds == "sample"


def test_paired_images_have_the_numbers_of_those_they_are_paired_with(tiny):
    """Of more images than features are kept of, those of the same images are then kept on both sides."""

    class Noise:
        def sample(self, indices):
            return indexed_noise((len(indices), tiny.channels, 4, 4), indices, "numbers")

    numbers = [40, 7, 23, 1, 99]
    drawn = generative._Images(tiny, features, torch.device("cpu"), 2, 5, lambda done, total: None, numbers)
    statistics = drawn.of(Noise())
    plain = replace(drawn, indices=None).of(Noise())
    assert statistics.rows("indices").tolist() == sorted(numbers)
    order = sorted(range(5), key=numbers.__getitem__)
    torch.testing.assert_close(statistics.rows("features"), plain.rows("features")[order])
