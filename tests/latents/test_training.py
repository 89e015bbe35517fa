import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from spectrum_matching.data.fingerprint import Fingerprint
from spectrum_matching.data.images import ImageChoice
from spectrum_matching.data.order import PositionedBatches
from spectrum_matching.latents.foreign.export import export_latents
from spectrum_matching.latents.latent_set import CachedBatch, LatentInfo, LatentSet, sample_moments, training_keys
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.shards import CacheIndex, finish_cache, start_cache, write_shard

C, GRID, N = 3, (2, 4), 23


def index_of(n: int = N, **change: object) -> CacheIndex:
    info = LatentInfo(
        channels=C,
        grid=GRID,
        flips=True,
        classes=("cat", "dog", "owl"),
        autoencoder="an autoencoder",
        images=ImageChoice("nowhere", 32, "train", 0.1, 3),
        fingerprint=Fingerprint(8, "fedcba"),
        n_images=(n, n),
    )
    info = replace(info, **{key: change.pop(key) for key in set(change) & set(info.__dict__)})
    return CacheIndex(info, encoder_digest="abcdef", versions={}, **({"dtype": "float32", "shard_images": 10} | change))


def moments(seed: int = 0, n: int = N) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ("mean", "logvar", "mean_flip", "logvar_flip")
    values = torch.randn(4, n, C, *GRID, generator=generator)
    values[2] = values[0].flip(-1) + 0.3 * values[2]  # like the mirrored latent, but not equal to it
    return dict(zip(names, values, strict=True)) | {"index": torch.arange(n), "label": torch.arange(n) % 3}


def write(folder: Path, tensors: dict[str, Tensor], cuts: tuple[int, ...] = (10, 13, 23), **change: object) -> Path:
    """A finished cache of these tensors, cut into shards of unlike lengths."""
    folder.mkdir(exist_ok=True)
    start_cache(folder, index := index_of(**change))
    starts = (0, *cuts[:-1])
    parts = [{k: v[a:b] for k, v in tensors.items()} for a, b in zip(starts, cuts, strict=True)]
    finish_cache(folder, index, [write_shard(folder, k, part) for k, part in enumerate(parts)])
    return folder


def batches(latents: LatentSet, *order: int, **options: object) -> Iterator[CachedBatch]:
    flip = bool(options.pop("flip", True))
    keys = training_keys(latents, PositionedBatches(len(latents), *order, **options), flip)
    return map(latents.read_batch, keys)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_read_batch_returns_written_rows(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in moments().items()}
    latents = open_latents(write(tmp_path, tensors, dtype=str(dtype).removeprefix("torch.")))
    keys = [(22, False), (0, True), (10, True), (9, False), (0, False), (12, True), (22, False)]
    batch = latents.read_batch(keys)
    for name in ("mean", "logvar"):
        expected = torch.stack([tensors[f"{name}_flip" if flip else name][item] for item, flip in keys])
        assert torch.equal(getattr(batch, name), expected.float())
    assert batch.labels.tolist() == [item % 3 for item, _ in keys]
    assert batch.rows == tuple(item for item, _ in keys)
    info = latents.info
    assert (len(latents), info.channels, info.grid, info.image_size) == (N, C, GRID, 32)
    assert (latents.n_classes, latents.classes, info.autoencoder) == (3, ("cat", "dog", "owl"), "an autoencoder")
    assert (info.holds, info.flips) == ("posterior", True)


@pytest.mark.parametrize("layout", ["repa", "mar", "lightningdit"])
def test_read_batch_agrees_across_layouts(tmp_path: Path, layout: str) -> None:
    ours = write(tmp_path / "ours", moments())
    export_latents(open_latents(ours), layout, tmp_path / "theirs")
    one, other = open_latents(ours), open_latents(tmp_path / "theirs")
    assert (other.n_classes, len(other.classes), len(other)) == (3, 3, N)
    assert other.info.flips == (layout != "repa")
    assert other.info.holds == ("sample" if layout == "lightningdit" else "posterior")
    # MAR's rows stand in the order of their classes.
    position = [int(str(row.image).split("/")[-1]) for row in open_latents(tmp_path / "theirs")]
    for flip in {False, other.info.flips}:
        keys = [(item, flip) for item in (0, 22, 7)]
        found, expected = other.read_batch(keys), one.read_batch([(position[item], flip) for item, _ in keys])
        assert torch.equal(found.labels, expected.labels)
        if layout != "lightningdit":
            assert torch.equal(found.mean, expected.mean)
            torch.testing.assert_close(found.logvar, expected.logvar, rtol=0, atol=1e-6)
        else:
            assert found.logvar is None
            assert ((found.mean - expected.mean).abs() < 6 * (expected.logvar / 2).exp()).all()


def test_training_keys_resume_and_split_among_ranks(tmp_path: Path) -> None:
    write(tmp_path, moments())
    whole = list(batches(open_latents(tmp_path), 6, 1, end=12))
    seen = [row for batch in whole for row in batch.rows]
    assert sorted(seen[:N]) == sorted(seen[N : 2 * N]) == list(range(N))
    assert seen[:N] != seen[N : 2 * N]
    resumed = list(batches(open_latents(tmp_path), 6, 1, start=7, end=12))
    assert all(torch.equal(a.mean, b.mean) for a, b in zip(whole[7:], resumed, strict=True))
    ranks = [list(batches(open_latents(tmp_path), 6, 1, rank=r, world=2, end=12)) for r in (0, 1)]
    for batch, one, other in zip(whole, *ranks, strict=True):
        assert torch.equal(batch.mean, torch.cat([one.mean, other.mean]))
        assert torch.equal(batch.logvar, torch.cat([one.logvar, other.logvar]))


def test_training_keys_mirror_half_of_epochs(tmp_path: Path) -> None:
    tensors = moments()
    write(tmp_path, tensors)
    latents = open_latents(tmp_path)
    for flip in (True, False):
        mirrored = [
            not torch.equal(mean, tensors["mean"][row])
            for batch in batches(latents, N, 0, flip=flip, end=40)
            for row, mean in zip(batch.rows, batch.mean, strict=True)
        ]
        share, spread = sum(mirrored) / len(mirrored), 0.5 / math.sqrt(40 * N)
        assert abs(share - flip / 2) < 4 * spread * flip + 1e-9


def test_training_keys_need_mirrored_latents_for_flips(tmp_path: Path) -> None:
    write(tmp_path, {k: v for k, v in moments().items() if "flip" not in k}, flips=False)
    latents = open_latents(tmp_path)
    with pytest.raises(ValueError, match="cache again with --flips"):
        batches(latents, 4)
    assert len(next(batches(latents, 4, flip=False)).rows) == 4


def test_sample_moments_has_unit_scale_after_normalise(tmp_path: Path) -> None:
    n = 4000
    tensors = moments(n=n)
    scale = torch.tensor([0.5, 1.0, 3.0]).view(3, 1, 1)
    tensors |= {k: tensors[k] * scale + 2 for k in ("mean", "mean_flip")}
    write(tmp_path, tensors, (n,), n=n, shard_images=n)
    latents = open_latents(tmp_path)
    batch = latents.read_batch([(item, False) for item in range(n)])
    samples = sample_moments(batch.mean, batch.logvar, torch.Generator().manual_seed(1))
    z = (samples - batch.mean) / (batch.logvar / 2).exp()
    assert abs(float(z.mean())) < 0.02
    assert abs(float(z.std()) - 1) < 0.02
    units = latents.space("channel").to_unit(samples)
    torch.testing.assert_close(units.mean((0, 2, 3)), torch.zeros(C), rtol=0, atol=0.03)
    torch.testing.assert_close(units.std((0, 2, 3)), torch.ones(C), rtol=0, atol=0.03)
    with pytest.raises(ValueError, match="statistics is 'channels', expected channel, centred or global"):
        latents.space("channels")
    units = latents.space("global").to_unit(samples)
    assert (float(units.mean()), float(units.std())) == pytest.approx((0, 1), abs=0.03)
    assert sample_moments(batch.mean, None, torch.Generator()) is batch.mean


def test_read_batch_refuses_rows_without_their_mirroring(tmp_path: Path) -> None:
    write(tmp_path, moments())
    with pytest.raises(ValueError, match="0 is no key: expected pairs"):
        open_latents(tmp_path).read_batch([0, 1])  # type: ignore[list-item]


def test_read_batch_names_damaged_shard(tmp_path: Path) -> None:
    write(tmp_path, moments())
    shard = tmp_path / "latents-00001.safetensors"
    content = bytearray(shard.read_bytes())
    latents = open_latents(tmp_path)
    stored = latents.read_batch([(11, False)]).mean.numpy().tobytes()
    place = content.index(stored)
    shard.write_bytes(content[:place] + b"\xff" * 4 + content[place + 4 :])  # a NaN, in a file of the right length
    with pytest.raises(
        ValueError, match=r"latents-00001.safetensors is damaged: its SHA-256 is not that of index.json; the same"
    ):
        open_latents(tmp_path).read_batch([(3, False), (11, False)])
    shard.write_bytes(content[:-1])
    with pytest.raises(
        ValueError,
        match=r"latents-00001.safetensors is damaged: \d+ bytes, not \d+; the same `specmatch cache` writes it again",
    ):
        open_latents(tmp_path)


def test_space_asks_for_import_without_statistics(tmp_path: Path) -> None:
    export_latents(open_latents(write(tmp_path / "ours", moments())), "repa", tmp_path / "repa")
    latents = open_latents(tmp_path / "repa")
    with pytest.raises(ValueError, match="import the folder by `specmatch cache"):
        latents.space("channel")
