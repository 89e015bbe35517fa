import multiprocessing
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spectrum_matching.data.arrays import TensorImages
from spectrum_matching.data.images import ImageSet, open_images
from spectrum_matching.data.order import PositionedBatches, fixed_batches, image_batches
from spectrum_matching.seeding import spread

PIXELS = torch.rand(23, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**40)


@settings(deadline=None)
@given(n=sizes, batch_size=sizes, seed=seeds, epochs=st.integers(1, 4))
def test_positioned_batches_hold_every_image_once_an_epoch(n: int, batch_size: int, seed: int, epochs: int) -> None:
    steps = -(-n * epochs // batch_size)
    batches = list(PositionedBatches(n, batch_size, seed, end=steps))
    assert {len(batch) for batch in batches} == {batch_size}
    keys = [key for batch in batches for key in batch]
    for epoch in range(epochs):
        part = keys[epoch * n : (epoch + 1) * n]
        assert sorted(part) == [(index, epoch) for index in range(n)]


# A number of items in each bucket, with none in some.
filled = st.lists(st.integers(0, 20), min_size=1, max_size=4).filter(any)


def bucket_of_each(counts: list[int], seed: int) -> list[int]:
    """The bucket of each item, of so many items in each, mixed up."""
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(seed)).tolist()
    return [[bucket for bucket, n in enumerate(counts) for _ in range(n)][place] for place in order]


@settings(deadline=None)
@given(counts=filled, batch_size=sizes, seed=seeds, epochs=st.integers(1, 4))
def test_positioned_batches_hold_one_bucket_and_every_image_of_it_once_an_epoch(
    counts: list[int], batch_size: int, seed: int, epochs: int
) -> None:
    buckets = bucket_of_each(counts, seed)
    steps = sum(epochs * n // batch_size for n in counts)
    batches = list(PositionedBatches(len(buckets), batch_size, seed, end=steps, buckets=buckets))
    assert len(batches) == steps
    streams: dict[int, list[tuple[int, int]]] = {bucket: [] for bucket in range(len(counts))}
    for batch in batches:
        (bucket,) = {buckets[index] for index, _ in batch}
        assert len(batch) == batch_size
        streams[bucket] += batch
    for bucket, stream in streams.items():
        members = [index for index, of in enumerate(buckets) if of == bucket]
        assert len(stream) == epochs * len(members) // batch_size * batch_size  # all but less than a batch
        for epoch in range(len(stream) // max(len(members), 1)):
            part = stream[epoch * len(members) : (epoch + 1) * len(members)]
            assert sorted(part) == [(index, epoch) for index in members]


def test_positioned_batches_mix_buckets_within_an_epoch() -> None:
    buckets = [0] * 40 + [1] * 40
    first, second = (
        [buckets[batch[0][0]] for batch in islice(PositionedBatches(80, 4, seed, buckets=buckets), 20)]
        for seed in (0, 1)
    )
    assert sorted(first) == sorted(second) == [0] * 10 + [1] * 10
    assert len({tuple(first), tuple(second), (0, 1) * 10, (1, 0) * 10, tuple(sorted(first))}) == 5


@settings(deadline=None)
@given(counts=filled, share=st.integers(1, 8), world=st.integers(1, 4), seed=seeds)
def test_positioned_batches_of_ranks_join_to_global_batch(counts: list[int], share: int, world: int, seed: int) -> None:
    options = {"end": 6, "buckets": bucket_of_each(counts, seed)}
    whole = PositionedBatches(sum(counts), share * world, seed, **options)
    ranks = [
        PositionedBatches(sum(counts), share * world, seed, rank=rank, world=world, **options) for rank in range(world)
    ]
    for batch, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        assert batch == [key for part in parts for key in part]


@settings(deadline=None)
@given(counts=filled, batch_size=sizes, seed=seeds, start=st.integers(0, 30))
def test_positioned_batches_start_skips_steps(counts: list[int], batch_size: int, seed: int, start: int) -> None:
    n, buckets = sum(counts), bucket_of_each(counts, seed)
    skipped = list(islice(PositionedBatches(n, batch_size, seed, buckets=buckets), start, start + 3))
    begun = PositionedBatches(n, batch_size, seed, start=start, end=start + 3, buckets=buckets)
    assert list(begun) == skipped


def test_positioned_batches_refuse_buckets_of_other_items() -> None:
    with pytest.raises(ValueError, match="5 images and buckets of 4"):
        PositionedBatches(5, 1, buckets=[0] * 4)


def test_positioned_batches_shuffle_by_epoch_and_seed() -> None:
    first, second = PositionedBatches(50, 50, 0, end=2)
    (other,) = PositionedBatches(50, 50, 1, end=1)
    assert [i for i, _ in first] != [i for i, _ in second]
    assert first != other
    assert first != sorted(first)


@pytest.mark.parametrize(("n", "batch_size", "world"), [(0, 4, 1), (5, 0, 1), (5, 6, 4)])
def test_positioned_batches_refuse_impossible_orders(n: int, batch_size: int, world: int) -> None:
    with pytest.raises(ValueError, match=r"no images|multiple of the \d process"):
        PositionedBatches(n, batch_size, 0, world=world)


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    for grey in range(11):
        Image.new("L", (16, 16), 20 * grey).save(tmp_path / f"{grey:02d}.png")
    return open_images(str(tmp_path), 16, split="all", flip=True)


def greys(images: torch.Tensor) -> list[int]:
    return [round((value + 1) * 127.5 / 20) for value in images.mean((1, 2, 3)).tolist()]


def test_image_batches_hold_images_of_their_positions(images: ImageSet) -> None:
    batches = list(image_batches(images, PositionedBatches(11, 4, 3, end=5)))
    keys = list(PositionedBatches(11, 4, 3, end=5))
    assert [greys(batch.images) for batch in batches] == [[index for index, _ in batch] for batch in keys]


def test_image_batches_do_not_depend_on_workers(images: ImageSet) -> None:
    alone = list(image_batches(images, PositionedBatches(11, 4, 3, start=1, end=5)))
    helped = list(image_batches(images, PositionedBatches(11, 4, 3, start=1, end=5), workers=2))
    assert all(torch.equal(one.images, two.images) for one, two in zip(alone, helped, strict=True))
    apart = [torch.cat([batch.images for batch in fixed_batches(images, 4, workers=workers)]) for workers in (0, 2)]
    assert torch.equal(*apart)


def test_fixed_batches_order_and_smaller_last(images: ImageSet) -> None:
    assert [greys(batch.images) for batch in fixed_batches(images, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [len(batch.images) for batch in fixed_batches(images, 3, 7)] == [3, 3, 1]


@settings(deadline=None, max_examples=12)
@given(spoiled=st.sets(st.integers(0, 6), min_size=1, max_size=6), batch_size=st.integers(1, 4))
def test_fixed_batches_name_each_bad_image_once(
    tmp_path_factory: pytest.TempPathFactory, spoiled: set[int], batch_size: int
) -> None:
    folder = tmp_path_factory.mktemp("images")
    for grey in range(7):
        Image.new("L", (16, 16), 20 * grey).save(folder / f"{grey}.png")
        if grey in spoiled:
            (folder / f"{grey}.png").write_bytes((folder / f"{grey}.png").read_bytes()[:45])
    batches = list(fixed_batches(open_images(str(folder), 16, split="all"), batch_size))
    assert [grey for batch in batches for grey in greys(batch.images)] == sorted(set(range(7)) - spoiled)
    named = Counter(file.name for batch in batches for file in batch.bad)
    assert named == Counter(f"{grey}.png" for grey in spoiled)


def test_fixed_batches_refuse_bad_images_alone(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("L", (16, 16)).save(tmp_path / f"{name}.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    with pytest.raises(ValueError, match="none of 1 images can be read"):
        list(fixed_batches(open_images(str(tmp_path), 16, split="all"), 2, 1))


def test_image_batches_leave_global_generator_alone(images: ImageSet) -> None:
    before = torch.get_rng_state()
    list(image_batches(images, PositionedBatches(11, 4, 3, end=2)))
    list(fixed_batches(images, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_positioned_batches_shuffle_once_an_epoch():
    drawn = []

    class Counted(PositionedBatches):
        def _order(self, epoch, members):
            drawn.append(epoch)
            return super()._order(epoch, members)

    list(Counted(10, 4, seed=0, end=10))
    assert drawn == [0, 1, 2, 3]


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 24), batch_size=st.integers(1, 8), world=st.integers(2, 4))
def test_fixed_batches_of_any_size_and_world_hold_the_same_images(n: int, batch_size: int, world: int) -> None:
    chosen = TensorImages(PIXELS)
    alone = list(fixed_batches(chosen, batch_size, n))
    shared = [b for rank in range(world) for b in fixed_batches(chosen, batch_size, n, rank=rank, world=world)]
    for batches in (alone, shared):
        assert sorted(index for batch in batches for index in batch.indices) == spread(23, n)
        assert all(torch.equal(batch.images, PIXELS[list(batch.indices)]) for batch in batches)
        assert {(batch.n_total, batch.n_classes) for batch in batches} == {(23, 0)}


def test_fixed_batches_see_every_class_of_a_sorted_folder(tmp_path: Path) -> None:
    for number in range(40):
        (folder := tmp_path / f"class{number // 10}").mkdir(exist_ok=True)
        Image.new("L", (16, 16)).save(folder / f"{number}.png")
    (batch,) = fixed_batches(open_images(str(tmp_path), 16, split="all"), 16, 8)
    assert batch.labels.bincount().tolist() == [2, 2, 2, 2]
    assert (batch.n_total, batch.n_classes) == (40, 4)


def test_fixed_batches_of_ranks_hold_every_image_once():
    shares = [list(fixed_batches(TensorImages(PIXELS), 4, rank=rank, world=3)) for rank in range(3)]
    numbers = [number for share in shares for batch in share for number in batch.indices]
    assert sorted(numbers) == list(range(23))
    for batch in (batch for share in shares for batch in share):
        assert torch.equal(batch.images, PIXELS[list(batch.indices)])


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_fixed_batches_names_bad_files_in_any_batch(image_folder, tmp_path, batch_size):
    bad = [0, 1, 4, 5, 8]
    for number, path in enumerate(sorted(image_folder.iterdir())[:9]):
        content = path.read_bytes()
        # Cut short, so that opening finds an image and reading does not.
        (tmp_path / f"{number}{path.suffix}").write_bytes(content[: len(content) // 2] if number in bad else content)
    chosen = open_images(str(tmp_path), 16, split="all")
    assert len(chosen) == 9
    batches = list(fixed_batches(chosen, batch_size))
    assert [number for batch in batches for number in batch.indices] == [2, 3, 6, 7]
    assert [file.name[0] for batch in batches for file in batch.bad] == [str(number) for number in bad]
    assert all(len(batch.images) == len(batch.indices) > 0 for batch in batches)


@pytest.mark.parametrize("kind", ["measuring", "training"])
def test_batches_are_read_by_at_most_one_process_for_each_processor(images: ImageSet, kind: str) -> None:
    most, before = os.cpu_count() or 1, set(multiprocessing.active_children())
    if kind == "measuring":
        batches = fixed_batches(images, 2, workers=most + 2)
    else:
        batches = image_batches(images, PositionedBatches(11, 4, 3), workers=most + 2)
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == most
