import pytest
import torch

from spectrum_matching.evaluation.accumulate import ImageStatistics, accumulate, round_to_bytes
from spectrum_matching.evaluation.reference import tensors_of
from spectrum_matching.evaluation.shares import Numbered
from spectrum_matching.files.digests import digest_tensors


def assert_same(one, other):
    assert (one.n_images, one.size, one.features.count) == (other.n_images, other.size, other.features.count)
    a, b = tensors_of(one), tensors_of(other)
    assert a.keys() == b.keys()
    for name, values in a.items():
        torch.testing.assert_close(values, b[name], rtol=1e-9, atol=1e-9, msg=name)
    assert one.classes.score() == pytest.approx(other.classes.score(), rel=1e-9)


def test_shares_in_any_order_and_batches_are_the_whole(extractor, photographs):
    images = photographs(0, 30)
    whole = accumulate(images.split(7), extractor)
    numbers = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shares = [
        accumulate((Numbered(images[part], part.tolist()) for part in own.split(4)), extractor)
        for own in numbers.split(11)
    ]
    joined = ImageStatistics()
    for share in (*shares, ImageStatistics()):
        joined.merge(share)
    assert_same(joined, whole)
    assert_same(whole, accumulate([images], extractor))


def test_rows_are_kept_of_the_first_images_alone_and_sums_of_all(extractor, photographs):
    images = photographs(0, 30)
    whole, some = accumulate([images], extractor), accumulate(images.split(8), extractor, n_kept=10)
    for name in whole.row_names():
        assert torch.equal(some.rows(name), whole.rows(name)[:10])
    assert some.features.count == 30
    torch.testing.assert_close(some.mean_power(), whole.mean_power())
    backwards = accumulate([Numbered(images.flip(0), list(range(29, -1, -1)))], extractor, n_kept=10)
    assert torch.equal(backwards.rows("features"), some.rows("features"))


def test_images_are_seen_as_a_file_would_hold_them(extractor, photographs):
    images = photographs(0, 6)
    torch.testing.assert_close(round_to_bytes(images), images, rtol=0, atol=1e-6)
    levels = torch.arange(256) / 127.5 - 1
    assert torch.equal(round_to_bytes(levels), levels)
    jitter = (torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 0.5) / 128
    a, b = accumulate([images], extractor), accumulate([images + jitter], extractor)
    assert digest_tensors(tensors_of(a)) == digest_tensors(tensors_of(b))
    assert round_to_bytes(torch.tensor([-7.0, 7.0])).tolist() == [-1, 1]


def test_without_an_extractor_there_are_no_features(photographs):
    found = accumulate([photographs(0, 4)], None)
    assert not found.features.count
    assert set(found.row_names()) == {"indices", "power", "patches_0"}


def test_images_that_are_no_one_set_are_refused(extractor, photographs):
    with pytest.raises(ValueError, match=r"images are \(2, 3, 16, 8\), expected \(b, 3, size, size\)"):
        accumulate([photographs(0, 2)[..., :8]], extractor)
    with pytest.raises(ValueError, match="an image has 32 pixels a side, those before had 16"):
        accumulate([photographs(0, 2), photographs(0, 2, 32)], extractor)
    with pytest.raises(ValueError, match="not finite"):
        accumulate([photographs(0, 2) / 0], extractor)
    with pytest.raises(ValueError, match="of 16 and of 32 pixels a side are no one set"):
        accumulate([photographs(0, 2)], None).merge(accumulate([photographs(0, 2, 32)], None))
