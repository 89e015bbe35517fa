import pytest
import torch

from features_of_tests import features, moments
from spectrum_matching.metrics.images.statistics import ImageStatistics, RunningMoments


def test_running_moments_do_not_depend_on_batches_or_order():
    rows = 1e6 + features(1, 100, 7)
    whole, cut = moments(rows, 100), moments(rows.flip(0), 7)
    merged = moments(rows[:40]).merge(moments(rows[40:])).merge(RunningMoments())
    for other in (cut, merged):
        assert other.count == 100
        torch.testing.assert_close(other.mean, whole.mean, rtol=1e-14, atol=0)
        torch.testing.assert_close(other.covariance(), whole.covariance(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(whole.covariance(), rows.mT.cov(), rtol=1e-8, atol=1e-8)


def test_running_moments_merge_leaves_the_other():
    first, second = RunningMoments(), moments(features(1, 8, 3))
    before = second.covariance()
    first.merge(second).add(features(2, 8, 3))
    assert torch.equal(second.covariance(), before)


def test_running_moments_refuse_other_shapes_and_nan():
    several = moments(features(1, 8, 3))
    with pytest.raises(ValueError, match="features have 4 values each, earlier ones had 3"):
        several.add(features(1, 8, 4))
    with pytest.raises(ValueError, match="not finite"):
        several.add(torch.full((2, 3), torch.nan))
    with pytest.raises(ValueError, match=r"expected features \(b, d\), got \(2, 3, 1\)"):
        several.add(torch.zeros(2, 3, 1))


def test_running_moments_scalar_is_mean_with_standard_error():
    values = features(0, 30, 1)
    result = moments(values, 7).scalar()
    assert result.value == pytest.approx(float(values.mean()), rel=1e-12)
    assert result.standard_error == pytest.approx(float(values.std()) / 30**0.5, rel=1e-12)
    assert moments(values[:1]).scalar().standard_error is None


def test_image_statistics_refuse_bytes():
    with pytest.raises(ValueError, match=r"images are torch.uint8, expected floats in \[-1, 1\]"):
        ImageStatistics().add(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize(("lowest", "warns"), [(0.0, True), (-0.01, False)])
def test_image_statistics_warn_of_images_from_0(scale, lowest, warns, caplog):
    images = scale * torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0, 0] = lowest
    ImageStatistics().add(images)
    assert ("is below 0, expected [-1, 1]; scale them" in caplog.text) is warns
