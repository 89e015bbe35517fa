import numpy as np
import pytest
import scipy.linalg
import torch

from spectrum_matching.metrics.images.distances import FeatureStatistics, frechet_distance, frechet_refusal


def features(seed, n, d):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def statistics(rows, batch_size=64):
    found = FeatureStatistics()
    for batch in rows.split(batch_size):
        found.add(batch)
    return found


def by_square_root(a, b):
    """The textbook form, by SciPy's square root of a matrix."""
    difference = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return difference @ difference + np.trace(first + second - 2 * root)


def exact(rows, mean, deviation):
    """`rows` moved and scaled to have exactly this mean and this deviation in every direction."""
    centred = rows - rows.mean(0)
    covariance = centred.mT @ centred / (len(rows) - 1)
    whitener = torch.linalg.inv(torch.linalg.cholesky(covariance)).mT
    return centred @ whitener * deviation + mean


@pytest.mark.parametrize("d", [8, 64])
def test_the_distance_is_that_of_the_textbook_form(d):
    a, b = features(9, 400, d), features(10, 400, d) * 1.3 + 0.2
    expected = by_square_root(a.numpy(), b.numpy())
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(expected, rel=1e-8)


def test_the_distance_is_that_of_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    a, b = features(1, 300, 16), features(2, 300, 16) @ features(3, 16, 16)
    expected = _compute_fid(a.mean(0), a.mT.cov(), b.mean(0), b.mT.cov())
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("deviation", [0.5, 1.0, 3.0])
def test_scaled_isotropic_gaussians_are_apart_by_their_deviations(deviation):
    a, b = exact(features(1, 200, 6), 0.0, 1.0), exact(features(2, 300, 6), 0.0, deviation)
    found = frechet_distance(statistics(a), statistics(b))
    assert found == pytest.approx(6 * (deviation - 1) ** 2, rel=1e-9, abs=1e-10)


def test_shifted_gaussians_are_apart_by_their_means():
    a, mean = exact(features(1, 200, 5), 0.0, 1.0), torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    assert frechet_distance(statistics(a), statistics(a + mean)) == pytest.approx(55, rel=1e-9)


def test_fewer_vectors_than_values_give_a_number_that_is_not_negative():
    a, b = features(1, 10, 64), features(2, 12, 64)
    assert frechet_distance(statistics(a), statistics(a.clone())) == pytest.approx(0, abs=1e-10)
    assert 0 < frechet_distance(statistics(a), statistics(b)) < 1000
    flat = torch.ones(10, 64)
    assert frechet_distance(statistics(flat), statistics(flat)) == 0


def test_batches_and_their_order_make_no_difference_even_far_from_zero():
    rows = 1e6 + features(1, 100, 7)
    whole, cut = statistics(rows, 100), statistics(rows.flip(0), 7)
    merged = statistics(rows[:40]).merge(statistics(rows[40:])).merge(FeatureStatistics())
    for other in (cut, merged):
        assert other.count == 100
        torch.testing.assert_close(other.mean, whole.mean, rtol=1e-14, atol=0)
        torch.testing.assert_close(other.covariance(), whole.covariance(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(whole.covariance(), rows.mT.cov(), rtol=1e-8, atol=1e-8)


def test_merging_leaves_the_other_as_it_was():
    first, second = FeatureStatistics(), statistics(features(1, 8, 3))
    before = second.covariance()
    first.merge(second).add(features(2, 8, 3))
    assert torch.equal(second.covariance(), before)


def test_what_cannot_be_compared_is_refused():
    several = statistics(features(1, 8, 3))
    with pytest.raises(ValueError, match="at least 2 vectors, got 1"):
        frechet_distance(several, statistics(features(1, 1, 3)))
    with pytest.raises(ValueError, match="features of 3 and of 4 values"):
        frechet_distance(several, statistics(features(1, 8, 4)))
    with pytest.raises(ValueError, match="features have 4 values each, those before had 3"):
        several.add(features(1, 8, 4))
    with pytest.raises(ValueError, match="not finite"):
        several.add(torch.full((2, 3), torch.nan))
    with pytest.raises(ValueError, match=r"expected features \(b, d\), got \(2, 3, 1\)"):
        several.add(torch.zeros(2, 3, 1))


def test_too_few_images_are_refused_with_the_reason():
    assert frechet_refusal(257, 256) == ""
    assert frechet_refusal(256, 256).startswith("256 images cannot fill a covariance of 256 features")
