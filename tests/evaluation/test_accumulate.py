import pytest
import torch

from spectrum_matching.data.images import ImageBatch
from spectrum_matching.evaluation.accumulate import accumulate, reduce_over
from spectrum_matching.evaluation.reference import tensors_of
from spectrum_matching.files.digests import digest_tensors
from spectrum_matching.metrics.images.catalogue import SET_SCORES
from spectrum_matching.metrics.images.pixels import round_to_bytes
from spectrum_matching.metrics.images.statistics import ImageStatistics


def numbered(images, indices):
    return ImageBatch(images, torch.full((len(images),), -1), (), tuple(indices))


def everything(batches, extractor, n_kept=10_000):
    """Statistics of what any score keeps."""
    return accumulate(batches, extractor, SET_SCORES, n_kept)


def assert_same(one, other):
    assert (one.n_images, one.size) == (other.n_images, other.size)
    assert one.moments["features"].count == other.moments["features"].count
    a, b = tensors_of(one), tensors_of(other)
    assert a.keys() == b.keys()
    for name, values in a.items():
        torch.testing.assert_close(values, b[name], rtol=1e-9, atol=1e-9, msg=name)


def test_merge_of_shares_in_any_order_is_the_whole(extractor, photographs):
    images = photographs(0, 30)
    whole = everything(images.split(7), extractor)
    numbers = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shares = [
        everything((numbered(images[part], part.tolist()) for part in own.split(4)), extractor)
        for own in numbers.split(11)
    ]
    joined = ImageStatistics()
    for share in (*shares, ImageStatistics()):
        joined.merge(share)
    assert_same(joined, whole)
    assert_same(whole, everything([images], extractor))


def test_accumulate_keeps_rows_of_the_first_images_and_sums_of_all(extractor, photographs):
    images = photographs(0, 30)
    whole, some = everything([images], extractor), everything(images.split(8), extractor, n_kept=10)
    for name in whole.row_names():
        assert torch.equal(some.rows(name), whole.rows(name)[:10])
    assert some.moments["features"].count == 30
    torch.testing.assert_close(some.sums["power"], whole.sums["power"])
    backwards = everything([numbered(images.flip(0), range(29, -1, -1))], extractor, n_kept=10)
    assert torch.equal(backwards.rows("features"), some.rows("features"))


def test_accumulate_rounds_images_as_a_file_would(extractor, photographs):
    images = photographs(0, 6)
    torch.testing.assert_close(round_to_bytes(images), images, rtol=0, atol=1e-6)
    levels = torch.arange(256) / 127.5 - 1
    assert torch.equal(round_to_bytes(levels), levels)
    jitter = (torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 0.5) / 128
    a, b = everything([images], extractor), everything([images + jitter], extractor)
    assert digest_tensors(tensors_of(a)) == digest_tensors(tensors_of(b))
    assert round_to_bytes(torch.tensor([-7.0, 7.0])).tolist() == [-1, 1]


def test_accumulate_without_extractor_keeps_no_features(photographs):
    result = everything([photographs(0, 4)], None)
    assert not result.moments
    assert result.n_features == 0
    assert set(result.row_names()) == {"indices", "power", "patches_0"}


def test_accumulate_refuses_images_of_several_sizes(extractor, photographs):
    with pytest.raises(ValueError, match=r"images are \(2, 3, 16, 8\), expected \(b, 3, size, size\)"):
        everything([photographs(0, 2)[..., :8]], extractor)
    with pytest.raises(ValueError, match="an image has 32 pixels a side, earlier ones had 16"):
        everything([photographs(0, 2), photographs(0, 2, 32)], extractor)
    with pytest.raises(ValueError, match="not finite"):
        everything([photographs(0, 2) / 0], extractor)
    with pytest.raises(ValueError, match="cannot merge statistics of 16 px and 32 px images"):
        everything([photographs(0, 2)], None).merge(everything([photographs(0, 2, 32)], None))


def test_reduce_over_one_process_is_what_it_has(photographs):
    statistics = everything([photographs(0, 4)], None)
    assert reduce_over(statistics, None) is statistics
