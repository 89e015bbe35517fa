import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from spectrum_matching.data.walk import BadFile
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.open_latents import open_latents

C, H, W = 3, 4, 5


def write_lightningdit(root: Path, latents: torch.Tensor, labels: list[int], ranks: int, shard: int) -> None:
    """As `extract_features.py` does: rank r takes images r, r + R, …, filled up from the start; shards of `shard`."""
    root.mkdir(parents=True, exist_ok=True)
    n = len(latents)
    padded = [i % n for i in range(-(-n // ranks) * ranks)]
    for rank in range(ranks):
        mine = padded[rank::ranks]
        for number, start in enumerate(range(0, len(mine), shard)):
            rows = mine[start : start + shard]
            save_file(
                {
                    "latents": latents[rows],
                    "latents_flip": latents[rows].flip(-1).contiguous(),
                    "labels": torch.tensor(labels)[rows],
                },
                str(root / f"latents_rank{rank:02d}_shard{number:03d}.safetensors"),
                metadata={"total_size": str(len(rows)), "dtype": str(latents.dtype), "device": "cpu"},
            )
    mean, std = latents.mean((0, 2, 3), keepdim=True), latents.std((0, 2, 3), keepdim=True)
    torch.save({"mean": mean, "std": std}, root / "latents_stats.pt")


@pytest.mark.parametrize("ranks", [1, 3])
def test_open_lightningdit_knows_image_of_every_row(tmp_path: Path, generator: torch.Generator, ranks: int) -> None:
    latents = torch.randn(20, C, H, W, generator=generator)
    labels = [i // 4 for i in range(20)]
    write_lightningdit(tmp_path, latents, labels, ranks, shard=4)
    found = open_latents(tmp_path)
    assert found.layout == "lightningdit"
    padded = 20 if ranks == 1 else 21
    assert len(found) == padded
    assert sorted(row.image for row in found) == list(range(padded))
    for row in found:
        assert row.mean.equal(latents[row.image % 20])
        assert row.label == labels[row.image % 20]
        assert row.logvar is None
    space = found.info.latent_space
    assert isinstance(space, LatentSpace)
    units = space.to_unit(latents)
    torch.testing.assert_close(units.mean((0, 2, 3)), torch.zeros(C), atol=1e-5, rtol=0)
    torch.testing.assert_close(units.std((0, 2, 3)), torch.ones(C))
    assert "sample" in found.notes[0]


def test_open_lightningdit_reads_half_precision_as_float32(tmp_path: Path, generator: torch.Generator) -> None:
    latents = torch.randn(4, C, H, W, generator=generator).bfloat16()
    write_lightningdit(tmp_path, latents, [0] * 4, 1, 4)
    assert open_latents(tmp_path)[2].mean.equal(latents[2].float())


def test_open_lightningdit_with_missing_shard_knows_no_images(tmp_path: Path) -> None:
    write_lightningdit(tmp_path, torch.randn(20, C, H, W), [0] * 20, 2, shard=4)
    (tmp_path / "latents_rank01_shard001.safetensors").unlink()
    assert {row.image for row in open_latents(tmp_path)} == {None}


@pytest.mark.parametrize("name", ["latents_rank00_shard000.safetensors", "latents_stats.pt"])
def test_open_lightningdit_names_damaged_file(tmp_path: Path, name: str) -> None:
    write_lightningdit(tmp_path, torch.randn(4, C, H, W), [0] * 4, 1, 4)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=name):
        open_latents(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_open_lightningdit_refuses_malicious_statistics(tmp_path: Path) -> None:
    class Malice:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch '{tmp_path}/mark'",)

    write_lightningdit(tmp_path, torch.randn(4, C, H, W), [0] * 4, 1, 4)
    torch.save({"mean": Malice(), "std": torch.ones(C)}, tmp_path / "latents_stats.pt")
    with pytest.raises(ValueError, match=r"latents_stats.pt cannot be read") as caught:
        open_latents(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "latents_stats.pt").write_bytes(pickle.dumps(Malice(), protocol=4))
    with pytest.raises(ValueError, match=r"latents_stats.pt cannot be read"):
        open_latents(tmp_path)
    assert not (tmp_path / "mark").exists()


def test_shard_latents_pickle_for_data_loader(tmp_path: Path) -> None:
    write_lightningdit(tmp_path, torch.randn(6, C, H, W), list(range(6)), 2, 2)
    found = open_latents(tmp_path)
    found[0]
    again = pickle.loads(pickle.dumps(found))
    assert [row.label for row in again] == [row.label for row in found]
    loader = torch.utils.data.DataLoader(found, batch_size=None, num_workers=1)
    assert [int(row.label) for row in loader] == [row.label for row in found]


def test_open_lightningdit_names_other_safetensors(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(save({"weight": torch.zeros(2)}))
    with pytest.raises(ValueError, match="holds weight; expected latents"):
        open_latents(tmp_path)


def test_open_latents_of_ones_own_without_labels(tmp_path: Path) -> None:
    latents = torch.randn(5, C, H, W)
    (tmp_path / "mine.safetensors").write_bytes(save({"latents": latents}))
    found = open_latents(tmp_path)
    assert [row.label for row in found] == [-1] * 5
    assert torch.equal(torch.stack([row.mean for row in found]), latents)
    assert found.n_classes == 0


def test_open_lightningdit_refuses_mixed_shapes(tmp_path: Path) -> None:
    write_lightningdit(tmp_path, torch.randn(4, C, H, W), [0] * 4, 1, 2)
    content = {"latents": torch.zeros(2, C, 2, 2), "labels": torch.zeros(2, dtype=torch.int64)}
    save_file(content, str(tmp_path / "latents_rank00_shard001.safetensors"))
    with pytest.raises(ValueError, match="mixed shapes"):
        open_latents(tmp_path)


def test_open_lightningdit_refuses_mixed_types(tmp_path: Path) -> None:
    write_lightningdit(tmp_path, torch.randn(4, C, H, W), [0] * 4, 1, 2)
    content = {"latents": torch.zeros(2, C, H, W).half(), "labels": torch.zeros(2, dtype=torch.int64)}
    save_file(content, str(tmp_path / "latents_rank00_shard001.safetensors"))
    with pytest.raises(ValueError, match=r"mixed shapes or types \(F16 .*, F32 "):
        open_latents(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"latents": torch.ones(2, C, H, W, dtype=torch.int64)},
        {"latents": torch.ones(2, C, 0, W)},
        {"latents": torch.ones(2, C, H)},
        {"latents": torch.ones(2, C, H, W), "latents_flip": torch.ones(2, C, H, 2)},
        {"latents": torch.ones(2, C, H, W), "latents_flip": torch.ones(2, C, H, W).half()},
        {"latents": torch.ones(3, C, H, W)},
    ],
)
def test_open_lightningdit_refuses_tensors_that_are_no_latents(
    tmp_path: Path, content: dict[str, torch.Tensor]
) -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    save_file(content | {"labels": labels}, str(tmp_path / "latents_rank00_shard000.safetensors"))
    with pytest.raises(ValueError, match=r"latents_rank00_shard000\.safetensors holds latents .* expected floats"):
        open_latents(tmp_path)


@pytest.mark.parametrize("label", [10**9, 2**40, -5])
def test_open_lightningdit_names_file_and_label_that_is_no_class(tmp_path: Path, label: int) -> None:
    write_lightningdit(tmp_path, torch.randn(4, C, H, W), [0, 1, 2, label], 1, 2)
    with pytest.raises(ValueError, match=rf"shard001\.safetensors: the label of row 1 is {label}; expected a class"):
        _ = open_latents(tmp_path).n_classes


@pytest.mark.parametrize("label", [10**9, -5, True, 1.5, "7", [1]])
def test_open_repa_names_file_and_label_that_is_no_class(tmp_path: Path, label: object) -> None:
    np.save(tmp_path / "img-mean-std-00000000.npy", np.ones((2 * C, H, W), np.float32))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["img-mean-std-00000000.npy", label]]}))
    with pytest.raises(
        ValueError, match=r"dataset\.json: the label of img-mean-std-00000000\.npy is .*expected a class"
    ):
        open_latents(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe junk", b"\x80\x04]", pickle.dumps({"mean": "\xe9"}), b"PK\x03\x04junk"]
)
def test_open_lightningdit_names_statistics_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    write_lightningdit(tmp_path, torch.randn(4, C, H, W), [0] * 4, 1, 4)
    (tmp_path / "latents_stats.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"latents_stats\.pt cannot be read \(\w+\); remove it to go without it$"):
        open_latents(tmp_path)


def test_open_latents_waits_for_no_pipe(tmp_path: Path) -> None:
    """A shard, statistics, and single files: each a named pipe, which nobody writes into."""
    write_lightningdit(tmp_path / "shards", torch.randn(4, C, H, W), [0] * 4, 1, 2)
    (tmp_path / "shards/latents_stats.pt").unlink()
    os.mkfifo(tmp_path / "shards/latents_stats.pt")
    with pytest.raises(ValueError, match=r"latents_stats\.pt cannot be read"):
        open_latents(tmp_path / "shards")
    os.mkfifo(tmp_path / "shards/latents_rank00_shard002.safetensors")
    with pytest.raises(ValueError, match=r"shard002\.safetensors: not a regular file, but a named pipe"):
        open_latents(tmp_path / "shards")
    (tmp_path / "one").mkdir()
    os.mkfifo(tmp_path / "one/x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: not a regular file, but a named pipe"):
        open_latents(tmp_path / "one")
    (tmp_path / "mar/a").mkdir(parents=True)
    np.savez(tmp_path / "mar/a/0.npz", moments=np.ones((2 * C, H, W), np.float32))
    os.mkfifo(tmp_path / "mar/a/1.npz")
    found = open_latents(tmp_path / "mar")
    assert len(found) == 1
    assert found.info.bad == (BadFile("a/1.npz", "not a regular file, but a named pipe"),)
    (tmp_path / "none").mkdir()
    os.mkfifo(tmp_path / "none/0.npy")
    with pytest.raises(ValueError, match=r"holds no cached latents \(0\.npy: not a regular file, but a named pipe\)"):
        open_latents(tmp_path / "none")


def test_open_latents_counts_each_file_once(tmp_path: Path) -> None:
    for name in ("a/0", "b/1"):
        (tmp_path / name).parent.mkdir()
        np.savez(tmp_path / f"{name}.npz", moments=np.ones((2 * C, H, W), np.float32))
    (tmp_path / "a/self").symlink_to("..")
    (tmp_path / "c").symlink_to("a")
    found = open_latents(tmp_path)
    assert [found.name(row) for row in range(len(found))] == ["a/0.npz", "b/1.npz"]
    assert found.info.classes == ("a", "b")
    assert any("second names (links)" in note for note in found.notes)
