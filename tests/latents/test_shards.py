import json
import os
import random
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_matching.data.fingerprint import Fingerprint
from spectrum_matching.data.images import ImageChoice, open_images
from spectrum_matching.data.walk import BadFile
from spectrum_matching.files.documents import seal
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.foreign.pairing import pair
from spectrum_matching.latents.latent_set import LatentInfo
from spectrum_matching.latents.open_latents import latent_batches, open_latents
from spectrum_matching.latents.shards import (
    CacheIndex,
    ShardEntry,
    finish_cache,
    finished_shards,
    read_index,
    start_cache,
    started_cache,
    verify_cache,
    write_index,
    write_shard,
)

GRID = (3, 5)


def index_of(shards: list[ShardEntry], n_images: int = 100, channels: int = 2, **change: object) -> CacheIndex:
    info = LatentInfo(
        channels=channels,
        grid=GRID,
        classes=("a", "<b>"),
        autoencoder='a "name" & <b>',
        images=ImageChoice("embedded", 24),
        fingerprint=Fingerprint(6, "0123456789abcdef"),
        n_images=(n_images, n_images),
        latent_space=LatentSpace("per channel", (0.5,) * channels, (1.5,) * channels),
        global_space=LatentSpace("shift and scale", (0.5,), (1.5,)),
    )
    return CacheIndex(
        info=replace(info, **change),
        encoder_digest="fedcba",
        dtype="float16",
        shard_images=4,
        versions={"torch": torch.__version__},
        shards=tuple(shards),
        labels="0123456789abcdef",
    )


def tensors(n: int, first: int = 0, channels: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean, logvar = torch.randn(2, n, channels, *GRID, generator=generator).half()
    return {"mean": mean, "logvar": logvar, "label": torch.arange(n), "index": first + torch.arange(n)}


def write_cache(folder: Path) -> None:
    write_index(folder, index_of([write_shard(folder, k, tensors(4, 4 * k, seed=k)) for k in range(3)], 12))


def change_index(folder: Path, change: dict) -> None:
    path = folder / "index.json"
    content = json.loads(path.read_text())
    content |= {key: change.pop(key) for key in ("format",) if key in change}
    path.write_text(seal(json.dumps(content | {"cache": content["cache"] | change, "sha256": ""})))


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_write_shard_and_open_latents_round_trip(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    channels = data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
    optional = data.draw(st.sets(st.sampled_from(["logvar", "label", "mean_flip", "logvar_flip"])))
    order = data.draw(st.permutations(range(sum(counts))))
    shards, written = [], []
    with tempfile.TemporaryDirectory(prefix="a <b> & 'c' é") as name:
        for number, n in enumerate(counts):
            generator = torch.Generator().manual_seed(number)
            every = {
                key: torch.randn(n, channels, *GRID, generator=generator).to(dtype)
                for key in ("mean", "logvar", "mean_flip", "logvar_flip")
            }
            every["label"] = torch.randint(0, 1000, (n,), generator=generator)
            mine = {key: value for key, value in every.items() if key == "mean" or key in optional}
            mine["index"] = torch.tensor(order[len(written) : len(written) + n])
            shards.append(write_shard(Path(name), number, mine))
            written += [{key: value[i] for key, value in mine.items()} for i in range(n)]
        index = index_of(shards, len(order), channels)
        write_index(Path(name), index)
        assert read_index(Path(name)) == index
        verify_cache(Path(name))
        found = open_latents(name)
        assert (found.layout, found.info.channels, found.info.grid) == ("specmatch", channels, GRID)
        assert found.info.latent_space == index.info.latent_space
        assert len(found) == len(written)
        for row, source in zip(found, written, strict=True):
            assert row.mean.equal(source["mean"].float())
            assert (row.logvar is None) == ("logvar" not in optional)
            assert row.logvar is None or row.logvar.equal(source["logvar"].float())
            assert row.label == int(source.get("label", -1))
            assert row.image == int(source["index"])


def test_write_index_leaves_no_other_files(tmp_path: Path) -> None:
    write_cache(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.json",
        *(f"latents-{k:05d}.safetensors" for k in range(3)),
    ]


def test_write_shard_names_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "latents-00000.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"cannot write .*latents-00000.safetensors: "):
        write_shard(tmp_path, 0, tensors(2))
    assert [path.name for path in tmp_path.iterdir()] == ["latents-00000.safetensors"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"mean": torch.full((4, 2, *GRID), torch.nan)}, "mean holds NaN"),
        ({"logvar": torch.zeros(4, 1, *GRID)}, "logvar is"),
        ({"label": torch.zeros(4)}, "label is torch.float32"),
        ({"index": torch.arange(3)}, "index is"),
        ({"image": torch.zeros(4)}, "a shard holds mean and index"),
        ({"mean": torch.zeros(4, 2, *GRID, dtype=torch.int32)}, "expected floats"),
    ],
)
def test_write_shard_refuses_other_tensors(tmp_path: Path, change: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        write_shard(tmp_path, 0, tensors(4) | change)
    assert not list(tmp_path.iterdir())


def test_write_shard_takes_tensors_that_share_memory(tmp_path: Path) -> None:
    mean, logvar = torch.randn(1, 4, *GRID).chunk(2, dim=1)
    write_index(
        tmp_path, index_of([write_shard(tmp_path, 0, {"mean": mean, "logvar": logvar, "index": torch.arange(1)})])
    )
    row = open_latents(tmp_path)[0]
    assert row.mean.equal(mean[0])
    assert row.logvar.equal(logvar[0])


def test_open_latents_names_truncated_or_missing_shard(tmp_path: Path) -> None:
    write_cache(tmp_path)
    shard = tmp_path / "latents-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"00001.safetensors is damaged.*the same `specmatch cache` writes it"):
        open_latents(tmp_path)
    shard.unlink()
    with pytest.raises(ValueError, match=r"latents-00001.safetensors is missing"):
        open_latents(tmp_path)


def test_open_latents_and_verify_cache_notice_every_flipped_bit(tmp_path: Path) -> None:
    write_cache(tmp_path)
    shard = tmp_path / "latents-00002.safetensors"
    whole = verify_cache(tmp_path)
    assert whole == (3, sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")))
    content = shard.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 60):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(flipped)
        for read in (open_latents, verify_cache):
            with pytest.raises(ValueError, match=r"00002.safetensors is damaged: its SHA-256 is not that of index"):
                read(tmp_path)
    shard.write_bytes(content)
    assert verify_cache(tmp_path) == whole


def test_index_notices_a_changed_digit_of_the_scale(tmp_path: Path) -> None:
    write_cache(tmp_path)
    path = tmp_path / "index.json"
    text = path.read_text()
    assert '"std": [\n' in text
    start, _, end = text.partition('"std": [\n')
    i = next(i for i, letter in enumerate(end) if letter in "123456789")
    path.write_text(f'{start}"std": [\n{end[:i]}{(int(end[i]) + 1) % 10}{end[i + 1 :]}')
    with pytest.raises(ValueError, match=r"index.json is damaged: its content is not that of its SHA-256; delete its"):
        open_latents(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_open_shard_without_permission_is_not_damaged(tmp_path: Path) -> None:
    write_cache(tmp_path)
    (tmp_path / "latents-00000.safetensors").chmod(0)
    with pytest.raises(ValueError, match="Permission denied; check the permissions"):
        open_latents(tmp_path)


def test_open_cache_refuses_image_in_two_shards(tmp_path: Path) -> None:
    write_index(tmp_path, index_of([write_shard(tmp_path, k, tensors(4, 2 * k)) for k in range(2)]))
    with pytest.raises(ValueError, match="more than once"):
        open_latents(tmp_path)


def test_open_cache_refuses_shards_of_other_shape(tmp_path: Path) -> None:
    write_index(tmp_path, index_of([write_shard(tmp_path, 0, tensors(4))], channels=3))
    with pytest.raises(ValueError, match=r"holds latents \(4, 2, 3, 5\), not \(4, 3, 3, 5\)"):
        open_latents(tmp_path)


def test_open_cache_refuses_shards_of_other_tensors(tmp_path: Path) -> None:
    shards = [write_shard(tmp_path, k, tensors(4, 4 * k)) for k in range(2)]
    unlabelled = {name: values for name, values in tensors(4, 8).items() if name != "label"}
    write_index(tmp_path, index_of([*shards, write_shard(tmp_path, 2, unlabelled)], 12))
    said = r"00002.safetensors holds index, logvar, mean, the first one index, label, logvar, mean: delete"
    with pytest.raises(ValueError, match=said):
        open_latents(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "specmatch-latents-9"},
        {"shards": [{"name": "latents-00000.safetensors"}]},
        {"info": {"grid": 3}},
        {"info": {"latent_space": {"mean": "much"}}},
        {"surprise": 1},
    ],
)
def test_read_index_reports_damage_in_one_line(tmp_path: Path, change: dict) -> None:
    write_cache(tmp_path)
    change_index(tmp_path, change)
    with pytest.raises(
        ValueError, match=r"index.json .* .?specmatch-latents-4.*; delete its folder and cache"
    ) as caught:
        open_latents(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shards", [[], [{"name": "../../other.safetensors", "n": 1, "n_bytes": 1, "sha256": ""}]])
def test_read_index_refuses_other_shard_names(tmp_path: Path, shards: list) -> None:
    write_cache(tmp_path)
    change_index(tmp_path, {"shards": shards})
    with pytest.raises(ValueError, match="names no shards"):
        open_latents(tmp_path)


def test_open_latents_without_index_takes_other_layout(tmp_path: Path) -> None:
    write_cache(tmp_path)
    (tmp_path / "index.json").unlink()
    with pytest.raises(
        ValueError, match=r"expected latents \(n, c, h, w\) .* read by their index.json, which is missing"
    ):
        open_latents(tmp_path)


def test_pair_needs_images_of_cache_digest(tmp_path: Path, image_folder: Path) -> None:
    images = open_images(str(image_folder), 24, split="all")
    shards, known = (
        [write_shard(tmp_path, 0, tensors(4, 7))],
        {"images": images.choice, "fingerprint": images.fingerprint},
    )
    write_index(tmp_path, index_of(shards, len(images), **known))
    found = open_latents(tmp_path)
    assert found.info.images.source == str(image_folder)
    assert found.info.images.is_available()
    assert pair(found, images).indices == (7, 8, 9, 10)
    with pytest.raises(ValueError, match="the same split"):
        pair(found, open_images(str(image_folder), 24, split="train", held_out=0.3))


def test_finished_shards_of_unfinished_cache(tmp_path: Path) -> None:
    index = index_of([], 12)
    start_cache(tmp_path, index)
    for number in (0, 2):
        write_shard(tmp_path, number, tensors(4, 4 * number))
    write_shard(tmp_path, 1, tensors(4, 4))
    (tmp_path / ".latents-00001.json").unlink()  # killed before its entry was written
    (tmp_path / "latents-00002.safetensors").write_bytes(b"cut")
    assert started_cache(tmp_path) == index
    assert list(finished_shards(tmp_path, index, 12)) == [0]
    with pytest.raises(ValueError, match="is an unfinished cache; rerun the same `specmatch cache` to resume"):
        open_latents(tmp_path)
    for number in (1, 2):
        write_shard(tmp_path, number, tensors(4, 4 * number))
    finish_cache(tmp_path, index, finished_shards(tmp_path, index, 12).values())
    assert len(open_latents(tmp_path)) == 12
    assert not list(tmp_path.glob(".*"))


def test_finished_shards_hold_every_one_of_their_items(tmp_path: Path) -> None:
    index = index_of([], 12)
    bad = [BadFile("x.png", "broken")]
    write_shard(tmp_path, 0, tensors(4, 0))
    write_shard(tmp_path, 1, tensors(3, 4), bad)  # one bad file of four
    write_shard(tmp_path, 2, tensors(3, 8))  # one too few
    assert set(finished_shards(tmp_path, index, 12)) == {0, 1}
    assert set(finished_shards(tmp_path, index, 11)) == {0, 1, 2}
    write_shard(tmp_path, 1, tensors(4, 4) | {"index": torch.tensor([4, 5, 5, 6])})  # one image twice
    assert list(finished_shards(tmp_path, index, 12)) == [0]


def test_finished_shards_hold_the_tensors_of_the_index(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, tensors(4))
    write_shard(tmp_path, 1, {name: values for name, values in tensors(4, 4).items() if name != "label"})
    index = index_of([], 8)
    assert list(finished_shards(tmp_path, index, 8)) == [0]
    assert list(finished_shards(tmp_path, replace(index, labels=""), 8)) == [1]
    assert not finished_shards(tmp_path, replace(index, info=replace(index.info, holds="mean")), 8)


def anonymous_memory() -> int:
    """Bytes of this process that no file lies behind."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel says what memory is whose")
def test_latent_batches_memory_is_independent_of_cache(tmp_path: Path) -> None:
    mean = torch.randn(512, 2, 128, 128)  # 64 MiB
    shards = [write_shard(tmp_path, k, {"mean": mean, "index": torch.arange(512) + 512 * k}) for k in range(2)]
    write_index(tmp_path, replace(index_of(shards, 1024, grid=(128, 128)), dtype="float32"))
    found = open_latents(tmp_path)
    batches = latent_batches(found, 8, range(len(found)))
    next(batches)
    before = anonymous_memory()
    most = max(anonymous_memory() for _ in batches)
    assert most - before < shards[0].n_bytes / 2  # not even one shard is held


def test_cached_latents_page_program_reads_unit_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cached_latents.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shard = tensors(8)
    shard |= {f"{name}_flip": shard[name].flip(-1) for name in ("mean", "logvar")}
    (tmp_path / "latents").mkdir()
    write_index(Path("latents"), index_of([write_shard(Path("latents"), 0, shard)], 8, flips=True))
    scope: dict[str, object] = {}
    exec(program.replace("end=1000", "end=2"), scope)
    batch, space = scope["batch"], LatentSpace("per channel", (0.5,) * 2, (1.5,) * 2)
    assert scope["x"].shape == (256, 2, *GRID)
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(256, 2, *GRID, generator=generator) for _ in range(2)][-1]
    expected = space.to_unit(batch.mean + (batch.logvar / 2).exp() * noise)
    torch.testing.assert_close(scope["x"], expected)


@pytest.mark.parametrize("row", [-1, 12])
def test_reading_refuses_rows_that_are_not_there(tmp_path: Path, row: int) -> None:
    write_cache(tmp_path)
    found = open_latents(tmp_path)
    for read in (found.read, lambda row: found.read_batch([(row, False)])):
        with pytest.raises(IndexError, match=f"row {row} of 12"):
            read(row)
    with pytest.raises(ValueError, match="holds no mirrored latents"):
        found.read_batch([(0, True)])
