import pytest
import torch

from spectrum_matching.metrics.images.distances import FeatureStatistics, frechet_distance
from spectrum_matching.metrics.images.frechet_error import enough_for_influence, frechet_influence


def draws(seed, n, d=5):
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows * torch.linspace(0.3, 2, d) + 0.2 * rows.flip(1)


def statistics(rows):
    return FeatureStatistics().add(rows)


def test_it_is_the_distance_s_derivative_in_the_weight_of_an_image():
    rows, reference = draws(0, 400) + 0.3, statistics(draws(1, 500))
    images = statistics(rows)
    influence = frechet_influence(rows, images, reference)
    expected = []
    for i in range(10):
        doubled = statistics(torch.cat([rows.repeat(50, 1), rows[i : i + 1]]))
        expected.append(
            (frechet_distance(doubled, reference) - frechet_distance(statistics(rows.repeat(50, 1)), reference)) * 20001
        )
    known = influence[:10] - influence.mean()
    torch.testing.assert_close(known, torch.tensor(expected, dtype=torch.float64), rtol=0.02, atol=0.02)


def test_the_standard_error_is_that_of_repetition():
    reference = statistics(draws(9999, 20000))
    values, predicted = [], []
    for i in range(150):
        rows = 1.2 * draws(i, 200) + 0.2
        values.append(frechet_distance(statistics(rows), reference))
        predicted.append(float(frechet_influence(rows, statistics(rows), reference).std()) / 200**0.5)
    assert sum(predicted) / 150 == pytest.approx(float(torch.tensor(values).std()), rel=0.2)


def test_images_in_pairs_have_the_error_of_their_difference():
    values, predicted = [], []
    for i in range(150):
        real = draws(i, 200)
        rows = real + 0.5 * draws(1000 + i, 200)
        a, b = statistics(rows), statistics(real)
        values.append(frechet_distance(a, b))
        paired = frechet_influence(rows, a, b) + frechet_influence(real, b, a)
        predicted.append(float(paired.std()) / 200**0.5)
    assert sum(predicted) / 150 == pytest.approx(float(torch.tensor(values).std()), rel=0.2)


def test_covariances_that_lack_rank_give_no_nan():
    rows = draws(0, 50)
    rows[:, 0] = 1
    flat = statistics(rows)
    assert frechet_influence(rows, flat, statistics(draws(1, 50))).isfinite().all()
    assert not enough_for_influence(14, 5)
    assert enough_for_influence(15, 5)
