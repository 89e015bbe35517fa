import numpy as np
import pytest
import scipy.linalg
import torch

from features_of_tests import features, moments
from spectrum_matching.metrics.images.frechet import (
    frechet_distance,
    frechet_influence,
    frechet_measurement,
    frechet_refusal,
    normalised_distance,
)
from spectrum_matching.metrics.images.statistics import RunningMoments
from spectrum_matching.records.measurement import Measurement


def by_square_root(a, b):
    """The textbook form, by SciPy's square root of a matrix."""
    difference = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return difference @ difference + np.trace(first + second - 2 * root)


def exact(rows, mean, deviation):
    """Shift and scale `rows` to exactly this mean and this deviation in every direction."""
    centred = rows - rows.mean(0)
    covariance = centred.mT @ centred / (len(rows) - 1)
    whitener = torch.linalg.inv(torch.linalg.cholesky(covariance)).mT
    return centred @ whitener * deviation + mean


@pytest.mark.parametrize("d", [8, 64])
def test_frechet_distance_equals_textbook_form(d):
    a, b = features(9, 400, d), features(10, 400, d) * 1.3 + 0.2
    expected = by_square_root(a.numpy(), b.numpy())
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_equals_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    a, b = features(1, 300, 16), features(2, 300, 16) @ features(3, 16, 16)
    expected = _compute_fid(a.mean(0), a.mT.cov(), b.mean(0), b.mT.cov())
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("deviation", [0.5, 1.0, 3.0])
def test_frechet_distance_of_scaled_gaussians(deviation):
    a, b = exact(features(1, 200, 6), 0.0, 1.0), exact(features(2, 300, 6), 0.0, deviation)
    found = frechet_distance(moments(a), moments(b))
    assert found == pytest.approx(6 * (deviation - 1) ** 2, rel=1e-9, abs=1e-10)


def test_frechet_distance_of_shifted_gaussians():
    a, mean = exact(features(1, 200, 5), 0.0, 1.0), torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    assert frechet_distance(moments(a), moments(a + mean)) == pytest.approx(55, rel=1e-9)


def test_frechet_distance_without_full_rank_is_not_negative():
    a, b = features(1, 10, 64), features(2, 12, 64)
    assert frechet_distance(moments(a), moments(a.clone())) == pytest.approx(0, abs=1e-10)
    assert 0 < frechet_distance(moments(a), moments(b)) < 1000
    flat = torch.ones(10, 64)
    assert frechet_distance(moments(flat), moments(flat)) == 0


def test_frechet_distance_refuses_other_sizes_and_single_vectors():
    several = moments(features(1, 8, 3))
    with pytest.raises(ValueError, match="at least 2 vectors, got 1"):
        frechet_distance(several, moments(features(1, 1, 3)))
    with pytest.raises(ValueError, match="features of 3 and of 4 values"):
        frechet_distance(several, moments(features(1, 8, 4)))


def test_frechet_refusal_from_both_sides():
    assert frechet_refusal(257, 256) == ""
    assert frechet_refusal(256, 256).startswith("256 images cannot fill a covariance of 256 features")


def draws(seed, n, d=5):
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows * torch.linspace(0.3, 2, d) + 0.2 * rows.flip(1)


def test_frechet_influence_is_derivative_in_weight_of_an_image():
    rows, reference = draws(0, 400) + 0.3, moments(draws(1, 500))
    images = moments(rows)
    influence = frechet_influence(rows, images, reference)
    expected = []
    for i in range(10):
        doubled = moments(torch.cat([rows.repeat(50, 1), rows[i : i + 1]]))
        expected.append(
            (frechet_distance(doubled, reference) - frechet_distance(moments(rows.repeat(50, 1)), reference)) * 20001
        )
    known = influence[:10] - influence.mean()
    torch.testing.assert_close(known, torch.tensor(expected, dtype=torch.float64), rtol=0.02, atol=0.02)


def test_frechet_influence_predicts_spread_of_repetitions():
    reference = moments(draws(9999, 20000))
    values, predicted = [], []
    for i in range(150):
        rows = 1.2 * draws(i, 200) + 0.2
        values.append(frechet_distance(moments(rows), reference))
        predicted.append(float(frechet_influence(rows, moments(rows), reference).std()) / 200**0.5)
    assert sum(predicted) / 150 == pytest.approx(float(torch.tensor(values).std()), rel=0.2)


def test_frechet_influence_of_pairs_predicts_spread():
    values, predicted = [], []
    for i in range(150):
        real = draws(i, 200)
        rows = real + 0.5 * draws(1000 + i, 200)
        a, b = moments(rows), moments(real)
        values.append(frechet_distance(a, b))
        paired = frechet_influence(rows, a, b) + frechet_influence(real, b, a)
        predicted.append(float(paired.std()) / 200**0.5)
    assert sum(predicted) / 150 == pytest.approx(float(torch.tensor(values).std()), rel=0.2)


def test_frechet_influence_without_full_rank_is_finite():
    rows = draws(0, 50)
    rows[:, 0] = 1
    flat = moments(rows)
    assert frechet_influence(rows, flat, moments(draws(1, 50))).isfinite().all()


def test_frechet_measurement_has_error_from_three_images_a_feature():
    reference = moments(features(1, 40, 5))
    for n, has_error in ((14, False), (15, True)):
        rows = features(0, n, 5)
        result = frechet_measurement(moments(rows), reference, 40, rows)
        assert (result.standard_error is not None) == has_error
    assert frechet_measurement(moments(rows), reference, 5, rows).refused.startswith("reference: 5 images cannot fill")
    assert frechet_measurement(moments(rows), reference, 0, rows).value is not None  # an unknown number


def test_normalised_distance_is_0_at_the_floor_and_1_at_the_gaussian():
    floor, gaussian = Measurement(0.1), Measurement(2.1, 0.04)
    assert normalised_distance(floor, floor, gaussian) == Measurement(0.0)
    assert float(normalised_distance(gaussian, floor, gaussian)) == 1
    assert float(normalised_distance(Measurement(1.1), floor, gaussian)) == pytest.approx(0.5)
    assert float(normalised_distance(Measurement(4.1), floor, gaussian)) == pytest.approx(2)
    # A decoder that halves all features quarters all distances and changes no share.
    assert float(normalised_distance(*map(Measurement, (0.3, 0.025, 0.525)))) == pytest.approx(
        float(normalised_distance(*map(Measurement, (1.2, 0.1, 2.1))))
    )


def test_normalised_distance_propagates_errors():
    generator = np.random.default_rng(0)
    numbers, errors = (1.1, 0.1, 2.1), (0.05, 0.01, 0.04)
    found = normalised_distance(*(Measurement(*pair) for pair in zip(numbers, errors, strict=True)))
    distance, floor, gaussian = (generator.normal(n, e, 200_000) for n, e in zip(numbers, errors, strict=True))
    assert found.standard_error == pytest.approx(((distance - floor) / (gaussian - floor)).std(), rel=0.02)
    fixed = normalised_distance(Measurement(1.1, 0.05), Measurement(0.1), Measurement(2.1))
    assert fixed.standard_error == pytest.approx(0.05 / 2)


def test_normalised_distance_is_refused_without_a_way():
    refused = normalised_distance(Measurement(1.0), Measurement(0.5), Measurement(0.4))
    assert refused.value is None
    assert "as near as the floor: 0.4" in refused.refused
    assert normalised_distance(Measurement(1.0), Measurement(None, refused="few"), Measurement(2.0)).refused == "few"


def test_frechet_measurement_of_independent_images_has_the_spread_of_both(generator):
    found = []
    for _ in range(200):
        a, b = (torch.randn(300, 3, generator=generator, dtype=torch.float64) + shift for shift in (0.0, 0.5))
        moments = RunningMoments().add(a), RunningMoments().add(b)
        found.append(frechet_measurement(*moments, 300, a, independent=b))
    spread = torch.tensor([each.value for each in found]).std()
    assert sum(each.standard_error for each in found) / 200 == pytest.approx(float(spread), rel=0.15)


def test_frechet_measurement_of_kept_rows_has_the_error_of_all_images(generator):
    a, b = (torch.randn(4000, 3, generator=generator, dtype=torch.float64) + shift for shift in (0.0, 0.5))
    moments = RunningMoments().add(a), RunningMoments().add(b)
    error = frechet_measurement(*moments, 4000, a, independent=b).standard_error
    assert frechet_measurement(*moments, 4000, a, independent=b[::8]).standard_error == pytest.approx(error, rel=0.1)
