import pytest
import torch

from spectrum_matching.data.arrays import TensorImages
from spectrum_matching.data.images import ImageBatch
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.accumulate import accumulate, reduce_over
from spectrum_matching.evaluation.reference import tensors_of
from spectrum_matching.files.digests import digest_tensors
from spectrum_matching.metrics.images.catalogue import SET_SCORES
from spectrum_matching.metrics.images.pixels import round_to_bytes
from spectrum_matching.metrics.images.statistics import SLACK, ImageStatistics
from spectrum_matching.seeding import spread_keys


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


def test_accumulate_keeps_rows_of_some_images_and_sums_of_all(extractor, photographs):
    images = photographs(0, 30)
    whole = everything([images], extractor)
    kept = sorted(spread_keys(torch.arange(30)).argsort()[:10].tolist())
    assert kept != list(range(10))
    for batch_size in (1, 8, 30):
        some = everything(images.split(batch_size), extractor, n_kept=10)
        for name in whole.row_names():
            assert torch.equal(some.rows(name), whole.rows(name)[kept]), (batch_size, name)
        assert some.moments["features"].count == 30
        torch.testing.assert_close(some.sums["power"], whole.sums["power"])
    backwards = everything([numbered(images.flip(0), range(29, -1, -1))], extractor, n_kept=10)
    assert torch.equal(backwards.rows("features"), some.rows("features"))


def test_accumulate_holds_few_more_rows_than_it_keeps(extractor, photographs):
    """However long the stream, and whatever the order in which images come."""
    images = photographs(0, 30).repeat(4, 1, 1, 1)
    by_key = spread_keys(torch.arange(120)).argsort(descending=True)  # every image displaces one before
    batches = (numbered(images[part], part.tolist()) for part in by_key.split(3))
    statistics = ImageStatistics(tuple(score.collect for score in SET_SCORES), n_kept=8)
    held = []
    for batch in batches:
        statistics.add(batch.images, extractor.extract, batch.indices)
        held.append(sum(map(len, statistics._rows["features"])))
    assert max(held) <= SLACK * 8
    assert statistics.rows("indices").tolist() == sorted(by_key[-8:].tolist())


def test_merge_of_shares_keeps_the_rows_of_the_whole(extractor, photographs):
    images, n_kept = photographs(0, 30), 7
    whole = everything(images.split(4), extractor, n_kept)
    for world in (2, 3):
        joined = ImageStatistics(n_kept=n_kept)
        for rank in range(world):
            own = range(rank, 30, world)
            joined.merge(everything([numbered(images[list(own)], own)], extractor, n_kept))
        assert_same(joined, whole)
        assert len(joined.rows("indices")) == n_kept


def test_statistics_say_how_many_images_of_how_many_classes(photographs):
    labels = torch.arange(30) // 3
    chosen = TensorImages(photographs(0, 30), labels)
    chosen.classes = tuple(map(str, range(10)))
    statistics = accumulate(fixed_batches(chosen, 4, 20), None, SET_SCORES, n_kept=5)
    assert str(statistics.images) == "20 of 30 images, of 10 of 10 classes"
    n = len({int(labels[index]) for index in statistics.rows("indices")})
    assert str(statistics.kept_images) == f"5 of 20 images, of {n} of 10 classes"
    plain = accumulate([photographs(0, 4)], None, SET_SCORES)
    assert (str(plain.images), str(plain.kept_images)) == ("4 of 4 images", "4 of 4 images")


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
    assert set(result.row_names()) == {"indices", "labels", "power", "patches_0"}


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
