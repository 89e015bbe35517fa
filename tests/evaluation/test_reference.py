import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file, save_file

from spectrum_matching.evaluation.accumulate import accumulate
from spectrum_matching.evaluation.generation import evaluate_generation
from spectrum_matching.evaluation.reference import (
    compute_reference,
    load_reference,
    open_reference,
    reference_of,
    save_reference,
    tensors_of,
)
from spectrum_matching.metrics.images.catalogue import SET_SCORES
from spectrum_matching.records.coverage import Coverage


def to_bytes(images):
    return ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.fixture
def reference(extractor, photographs):
    return compute_reference("photographs", photographs(0, 60).split(16), extractor)


def test_load_reference_returns_what_was_saved(reference, extractor, photographs, tmp_path):
    path = tmp_path / "r.safetensors"
    save_reference(reference, path)
    back = load_reference(path)
    assert replace(back, statistics=None) == replace(reference, statistics=None)
    for name, values in tensors_of(reference.statistics).items():
        torch.testing.assert_close(tensors_of(back.statistics)[name], values, rtol=1e-12, atol=1e-12)
    first, second = (evaluate_generation("a", [photographs(1, 40)], r, extractor) for r in (reference, back))
    assert list(first.scores) == list(second.scores)
    values = [score.value for score in second.scores.values()]
    assert [score.value for score in first.scores.values()] == pytest.approx(values, rel=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["r.safetensors"]


def pictures_of_two_classes(seed, n):
    """Dark and bright pictures (n, 3, 16, 16), half and half, sorted by class."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.tensor([-0.5, 0.5]).repeat_interleave(n // 2)[:, None, None, None]
    coarse = means + 0.1 * torch.randn(n, 3, 2, 2, generator=generator)
    return coarse.repeat_interleave(8, -1).repeat_interleave(8, -2) + 0.02 * torch.randn(
        n, 3, 16, 16, generator=generator
    )


def test_scores_do_not_depend_on_the_order_of_the_reference(extractor):
    """Of a sorted reference the first images are of one class, and half of good samples would seem to be off it."""
    pictures, n_kept = pictures_of_two_classes(0, 1200), 300
    shuffled = pictures[torch.randperm(1200, generator=torch.Generator().manual_seed(0))]
    batches = pictures_of_two_classes(1, 200).split(50)

    def scored(images):
        statistics = accumulate(images.split(100), extractor, SET_SCORES, n_kept)
        reference = reference_of("pictures", statistics, extractor)
        return evaluate_generation("samples", batches, reference, extractor)

    by_class, mixed, first = map(scored, (pictures, shuffled, pictures[:n_kept]))
    assert by_class.value("fid") == pytest.approx(mixed.value("fid"), rel=1e-6)
    for key, tolerance in (("precision", None), ("recall", 0.1), ("kid", None), ("swd", 0.2)):
        one, other = by_class.scores[key], mixed.scores[key]
        allowed = tolerance or 2 * math.hypot(one.standard_error, other.standard_error)
        assert abs(one.value - other.value) < allowed, key
        assert abs(first.value(key) - other.value) > allowed or key == "recall", key
    assert by_class.value("precision") > 0.7 > 0.5 > first.value("precision")
    assert str(by_class.protocol.kept_reference) == "300 of 1,200 images"
    assert by_class.protocol.kept_images == Coverage(200, 200)


def test_load_reference_refuses_damaged_and_foreign_files(reference, tmp_path):
    path = tmp_path / "r.safetensors"
    save_reference(reference, path)
    content = path.read_bytes()
    with_one_changed = bytearray(content)
    with_one_changed[-3] ^= 1
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    old = tmp_path / "old.safetensors"
    save_file(load_file(path), old, {"specmatch": json.dumps({"format": "specmatch-reference-0"})})
    cases = {
        path: (bytes(with_one_changed), "is damaged: its content is not that of its checksums"),
        tmp_path / "cut.safetensors": (content[:-100], "cannot be read as a reference"),
        other: (other.read_bytes(), "is not a reference written by specmatch"),
        old: (old.read_bytes(), "specmatch-reference-0"),
    }
    for place, (data, complaint) in cases.items():
        place.write_bytes(data)
        with pytest.raises(ValueError, match=complaint) as caught:
            load_reference(place)
        assert "\n" not in str(caught.value)


def test_evaluate_generation_refuses_another_extractor_first(reference, extractor):
    def never():
        raise AssertionError("an image was drawn")
        yield

    with pytest.raises(ValueError, match=r"made by quarters 0{16}, but the images' features are of other 1{16}"):
        evaluate_generation("a", never(), reference, replace(extractor, name="other", digest="1" * 16))


def test_compute_reference_refuses_one_image(extractor, photographs):
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        compute_reference("one", [photographs(0, 1)], extractor)


def test_open_reference_reads_moments_of_pytorch_fid(extractor, photographs, tmp_path):
    real, images = (torch.nn.functional.adaptive_avg_pool2d(photographs(s, 80), 2).flatten(1).numpy() for s in (0, 1))
    mu, sigma = real.mean(0), np.cov(real, rowvar=False)
    np.savez(tmp_path / "fid.npz", mu=mu, sigma=sigma)
    found = evaluate_generation(
        "a", photographs(1, 80).split(32), open_reference(tmp_path / "fid.npz", extractor), extractor
    )
    own = np.cov(images, rowvar=False)
    root = scipy.linalg.sqrtm(own @ sigma).real
    expected = ((images.mean(0) - mu) ** 2).sum() + np.trace(own + sigma - 2 * root)
    assert found.value("fid") == pytest.approx(expected, rel=1e-5)
    refused = {key for key, score in found.scores.items() if score.value is None}
    assert refused == {"precision", "recall", "kid", "spectrum_error", "swd"}
    assert any("nothing says which extractor" in line for line in found.warnings)
    assert found.protocol.n_reference == 0


def test_open_reference_reads_batches_of_adm(extractor, photographs, tmp_path):
    few = photographs(0, 30)
    moments = compute_reference("all", [photographs(0, 200)], extractor).statistics.moments
    np.savez(
        tmp_path / "adm.npz",
        arr_0=to_bytes(few),
        arr_1=np.arange(30),
        mu=moments["features"].mean,
        sigma=moments["features"].covariance(),
        mu_s=moments["spatial"].mean,
        sigma_s=moments["spatial"].covariance(),
    )
    images = photographs(1, 50)
    found = evaluate_generation("a", [images], open_reference(tmp_path / "adm.npz", extractor), extractor)
    by_moments = evaluate_generation(
        "a", [images], compute_reference("all", [photographs(0, 200)], extractor), extractor
    )
    by_images = evaluate_generation("a", [images], compute_reference("few", [few], extractor), extractor)
    for key in ("fid", "sfid"):
        assert found.value(key) == pytest.approx(by_moments.value(key), rel=1e-6)
    for key in ("precision", "kid", "swd", "spectrum_error"):
        assert found.value(key) == pytest.approx(by_images.value(key), rel=1e-6)


def test_open_reference_refuses_other_archives(extractor, tmp_path):
    path = tmp_path / "x.npz"
    cases = [
        ({"weights": np.zeros(3)}, extractor, "holds weights: expected mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.zeros((3, 4))}, extractor, r"are \(3,\) and \(3, 4\)"),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, None, "name the extractor"),
        ({"mu": np.array([{}]), "sigma": np.eye(3)}, extractor, "an array of objects"),
        ({"arr_0": np.zeros((2, 8, 8, 3))}, extractor, r"arr_0 is float64 \(2, 8, 8, 3\), expected uint8"),
        ({"arr_0": np.zeros((2, 8, 9, 3), np.uint8)}, extractor, "expected square images"),
    ]
    for arrays, which, complaint in cases:
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=complaint) as caught:
            open_reference(path, which)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot be read as \.npz"):
        open_reference(path, extractor)
    with pytest.raises(ValueError, match=r"no reference .*: make one by `specmatch evaluate reference"):
        open_reference(tmp_path / "none.npz", extractor)
