import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from spectrum_matching.data.images import ImageSet, open_images
from spectrum_matching.latents.foreign.pairing import pair
from spectrum_matching.latents.latent_set import LatentSet
from spectrum_matching.latents.open_latents import open_latents

SIZE, GRID = 16, 4
# Class "a-b" sorts before "a" by whole path, after it by folder; files stand before or after folders of like names.
NAMES = ["a/a_0.png", "a/a_2.png", "a/a_1/a_x.png", "a-b/a-b_1.png", "b/b_0.png", "b/b_1 <é>.png"]


def write_images(root: Path, names: list[str] = NAMES) -> ImageSet:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(sum(name.encode())).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, "PNG")
    return open_images(str(root), SIZE, split="all")


def encode(path: Path) -> np.ndarray:
    """Block means as mean, zeros as log-variance: a latent that says which image it is of."""
    pixels = np.asarray(Image.open(path), np.float32) / 127.5 - 1
    blocks = pixels.reshape(GRID, SIZE // GRID, GRID, SIZE // GRID, 3).mean((1, 3)).transpose(2, 0, 1)
    return np.concatenate([blocks, np.zeros_like(blocks)])


def image_folder_order(root: Path, names: list[str]) -> list[tuple[Path, int]]:
    """torchvision's: classes sorted; in each, os.walk sorted; in each folder, files sorted."""
    classes = sorted({name.split("/")[0] for name in names})
    samples = []
    for label, class_name in enumerate(classes):
        for folder, _, files in sorted(
            (str(d), None, sorted(f.name for f in d.iterdir() if f.is_file()))
            for d in [root / class_name, *(d for d in (root / class_name).rglob("*") if d.is_dir())]
        ):
            samples += [(Path(folder, file), label) for file in files]
    return samples


def write_lightningdit(root: Path, samples: list[tuple[Path, int]], ranks: int) -> None:
    root.mkdir()
    n = len(samples)
    padded = [i % n for i in range(-(-n // ranks) * ranks)]
    for rank in range(ranks):
        mine = [samples[i] for i in padded[rank::ranks]]
        for shard, start in enumerate(range(0, len(mine), 2)):
            part = mine[start : start + 2]
            latents = torch.from_numpy(np.stack([encode(path)[:3] for path, _ in part])).contiguous()
            labels = torch.tensor([label for _, label in part])
            content = {"latents": latents, "latents_flip": latents.flip(-1).contiguous(), "labels": labels}
            save_file(content, str(root / f"latents_rank{rank:02d}_shard{shard:03d}.safetensors"))


def check(latents: LatentSet, images: ImageSet) -> str:
    """Every latent is that of the image it is paired with; the note says how."""
    indices, note = pair(latents, images)
    assert len(indices) == len(latents)
    for row, index in zip(latents, indices, strict=True):
        expected = encode(Path(images.source, images.names[index]))[:3]
        torch.testing.assert_close(row.mean, torch.from_numpy(expected))
    return note


def test_pair_mar_by_name(tmp_path: Path) -> None:
    flat = [name for name in NAMES if name.count("/") == 1]
    images = write_images(tmp_path / "images", flat)
    for name in flat[1:]:
        path = tmp_path / "latents" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        moments = encode(tmp_path / "images" / name)
        np.savez(path, moments=moments, moments_flip=moments[..., ::-1])
    assert "name" in check(open_latents(tmp_path / "latents"), images)


def test_pair_mar_by_stem_unless_stems_collide(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ["a/x.png", "a/y.png"])
    for name, source in (("a/x.JPEG", "a/x.png"), ("a/y", "a/y.png")):
        path = tmp_path / "latents" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, moments=encode(tmp_path / "images" / source))
    latents = open_latents(tmp_path / "latents")
    check(latents, images)
    images = write_images(tmp_path / "images", ["a/x.bmp"])
    with pytest.raises(ValueError, match=r"1 of 2 latents .* have no image .* a/x.JPEG.npz"):
        pair(latents, images)


def write_repa(root: Path, paths: list[Path], labels: list[int]) -> None:
    entries = []
    for number, path in enumerate(paths):
        name = f"{number:08d}"[:5] + f"/img-mean-std-{number:08d}.npy"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        moments = encode(path)
        np.save(root / name, np.concatenate([moments[:3], np.exp(moments[3:] / 2)]))
        entries.append([name, labels[number]])
    (root / "dataset.json").write_text(json.dumps({"labels": entries}))


def test_pair_repa_by_number(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [f"00000/img{number:08d}.png" for number in range(5)])
    (tmp_path / "images/dataset.json").write_text("{}")
    write_repa(tmp_path / "vae-sd", [tmp_path / "images" / name for name in images.names], [3, 1, 4, 1, 5])
    latents = open_latents(tmp_path)
    assert "number" in check(latents, latents.info.images.open(SIZE))
    (tmp_path / "images/00000/img00000003.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 5 latents .*/img-mean-std-00000003.npy"):
        pair(latents, latents.info.images.open(SIZE))


def test_pair_repa_by_order_of_other_images(tmp_path: Path) -> None:
    images = write_images(tmp_path / "photographs")
    paths = sorted((path for path in (tmp_path / "photographs").rglob("*.png")), key=str)
    classes = ["a", "a-b", "b"]
    write_repa(tmp_path / "vae-sd", paths, [classes.index(path.relative_to(images.source).parts[0]) for path in paths])
    assert "labels agree on 6" in check(open_latents(tmp_path / "vae-sd"), images)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_pair_lightningdit_by_torchvision_order(tmp_path: Path, ranks: int) -> None:
    images = write_images(tmp_path / "images")
    write_lightningdit(tmp_path / "latents", image_folder_order(tmp_path / "images", NAMES), ranks)
    assert "labels agree" in check(open_latents(tmp_path / "latents"), images)


def test_pair_notes_missing_labels(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ["x.png", "y.png"])
    write_repa(tmp_path / "latents", [tmp_path / "images" / name for name in images.names], [0, 0])
    (tmp_path / "latents/dataset.json").write_text('{"labels": null}')
    assert "no labels" in check(open_latents(tmp_path / "latents"), images)


def test_pair_refuses_other_images_in_one_line(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    samples = image_folder_order(tmp_path / "images", NAMES)
    write_lightningdit(tmp_path / "latents", samples, 2)
    latents = open_latents(tmp_path / "latents")

    def complaint(latents: LatentSet, images: ImageSet) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            pair(latents, images)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    fewer = write_images(tmp_path / "fewer", NAMES[:4])
    (tmp_path / "fewer/empty.png").touch()
    message = complaint(latents, open_images(fewer.source, SIZE, split="all"))
    assert "made from 6 images" in message
    assert "gives 4 (1 left out, such as empty.png)" in message
    write_lightningdit(tmp_path / "reversed", samples[::-1], 2)
    assert "labels disagree: latents_rank00_shard000.safetensors:0" in complaint(
        open_latents(tmp_path / "reversed"), images
    )
    (tmp_path / "latents/latents_rank01_shard001.safetensors").unlink()
    assert "ranks, shards or numbers are missing" in complaint(open_latents(tmp_path / "latents"), images)
