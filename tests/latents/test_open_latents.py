import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spectrum_matching.latents.latent_set import BadLatentError, LatentSet
from spectrum_matching.latents.open_latents import is_cached, latent_batches, open_latents
from spectrum_matching.seeding import spread

C, H, W = 3, 4, 5


def moments(n: int, seed: int = 0) -> np.ndarray:
    """Means and log-variances (n, 2c, h, w) float32, white."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2 * C, H, W), dtype=np.float32)


def write_repa(root: Path, stored: np.ndarray, labels: list[int] | None = None) -> None:
    """As `dataset_tools.py encode` does: mean and std, numbered, five digits of the number as the folder."""
    entries = []
    for number, array in enumerate(stored):
        name = f"{number:08d}"[:5] + f"/img-mean-std-{number:08d}.npy"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / name, np.concatenate([array[:C], np.exp(array[C:] / 2)]))
        entries.append([name, labels[number] if labels else None])
    (root / "dataset.json").write_text(json.dumps({"labels": entries if labels else None}))


def write_mar(root: Path, stored: np.ndarray, names: list[str]) -> None:
    for name, array in zip(names, stored, strict=True):
        path = root / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, moments=array, moments_flip=array[..., ::-1])


def check_moments(found: LatentSet, stored: np.ndarray, labels: list[int]) -> None:
    assert len(found) == len(stored)
    assert (found.info.channels, found.info.grid, found.info.bad) == (C, (H, W), ())
    for row, array, label in zip(found, stored, labels, strict=True):
        torch.testing.assert_close(row.mean, torch.from_numpy(array[:C]), rtol=0, atol=0)
        torch.testing.assert_close(row.logvar, torch.from_numpy(array[C:]), rtol=1e-5, atol=1e-5)
        assert row.mean.dtype == row.logvar.dtype == torch.float32
        assert row.label == label
    assert found.info.latent_space is None


def test_open_latents_repa_from_folder_or_parent(tmp_path: Path) -> None:
    stored = moments(5)
    write_repa(tmp_path / "vae-sd", stored, labels=[3, 1, 4, 1, 5])
    (tmp_path / "images").mkdir()
    (tmp_path / "images/dataset.json").write_text('{"labels": null}')
    for folder in (tmp_path, tmp_path / "vae-sd"):
        found = open_latents(folder)
        assert found.layout == "repa"
        assert found.info.images.source == str(tmp_path / "images")
        check_moments(found, stored, [3, 1, 4, 1, 5])
        assert [row.image for row in found] == [0, 1, 2, 3, 4]
        assert "standard deviation" in found.notes[0]
        assert "0.18215" in found.notes[0]


def test_open_latents_repa_without_labels_or_images(tmp_path: Path) -> None:
    write_repa(tmp_path / "latents", moments(2))
    found = open_latents(tmp_path / "latents")
    check_moments(found, moments(2), [-1, -1])
    assert found.info.images is None


def test_open_latents_refuses_two_repa_sets(tmp_path: Path) -> None:
    write_repa(tmp_path / "vae-a", moments(2))
    write_repa(tmp_path / "vae-b", moments(2))
    with pytest.raises(ValueError, match="name one: vae-a, vae-b"):
        open_latents(tmp_path)


def test_read_takes_zero_deviation_and_refuses_negative(tmp_path: Path) -> None:
    write_repa(tmp_path, moments(2))
    one, other = sorted(tmp_path.rglob("*.npy"))
    np.save(one, np.zeros((2 * C, H, W), np.float32))
    np.save(other, moments(1)[0])
    found = open_latents(tmp_path)
    assert found[0].logvar.eq(-30).all()
    with pytest.raises(BadLatentError, match="log-variances"):
        found[1]


def test_open_latents_mar_names_images_by_path(tmp_path: Path) -> None:
    stored = moments(4)
    names = ["n01/a_1.JPEG", "n01/b.JPEG", "n02 x/<b>'\"&.JPEG", "n03/é\n.png"]
    write_mar(tmp_path, stored, names)
    found = open_latents(tmp_path)
    assert found.layout == "mar"
    check_moments(found, stored, [0, 0, 1, 2])
    assert [row.image for row in found] == names


def test_open_latents_names_bad_files(tmp_path: Path) -> None:
    names = [f"c/{i:03d}.png" for i in range(60)]
    write_mar(tmp_path, moments(60), names)
    (tmp_path / "c/003.png.npz").write_text("<html>")
    (tmp_path / "c/004.png.npz").write_bytes(b"")
    path = tmp_path / "c/005.png.npz"
    path.write_bytes(path.read_bytes()[:-50])
    np.savez(tmp_path / "c/006.png.npz", moments=np.zeros((2, 2, 2), np.float32))
    np.savez(tmp_path / "c/007.png.npz", moments=np.zeros((3, 2, 2), np.float32))
    np.savez(tmp_path / "c/008.png.npz", moments=np.full((2 * C, H, W), np.nan, np.float32))
    found = open_latents(tmp_path)
    assert [file.name for file in found.info.bad] == [f"c/00{i}.png.npz" for i in range(3, 8)]
    assert "(2, 2, 2), the others have (6, 4, 5)" in found.info.bad[3].reason
    assert len(found) == 55
    batches = list(latent_batches(found, 7, range(len(found))))
    assert [file for batch in batches for file in batch.bad] == [("c/008.png.npz", "holds NaN or infinite values")]
    assert sum(len(batch.mean) for batch in batches) == 54
    assert {found[row].image for batch in batches for row in batch.rows} == set(names) - {
        f"c/00{i}.png" for i in range(3, 9)
    }


def test_read_refuses_overflow_of_float32(tmp_path: Path) -> None:
    write_mar(tmp_path, moments(2).astype(np.float64) * 1e300, ["a/0", "a/1"])
    with pytest.raises(BadLatentError, match="infinite"):
        open_latents(tmp_path)[0]


def test_latent_batches_name_bad_rows_at_end(tmp_path: Path) -> None:
    stored = moments(12)
    stored[9:] = np.inf
    write_mar(tmp_path, stored, [f"c/{i:02d}" for i in range(12)])
    found = open_latents(tmp_path)
    *good, bad = spread(len(found), 4)
    (batch,) = latent_batches(found, 8, [*good, bad])
    assert batch.rows == tuple(good)
    assert [file.name for file in batch.bad] == [f"c/{bad:02d}.npz"]
    assert batch.mean.shape == batch.logvar.shape == (3, C, H, W)
    assert batch.labels.tolist() == [0, 0, 0]
    every = list(latent_batches(found, 3, range(12)))
    assert [len(batch.mean) for batch in every] == [3, 3, 3]
    assert [len(batch.bad) for batch in every] == [0, 0, 3]
    write_mar(tmp_path, np.full_like(stored, np.nan), [f"c/{i:02d}" for i in range(12)])
    with pytest.raises(ValueError, match="none of 12"):
        list(latent_batches(open_latents(tmp_path), 4, range(12)))


def test_open_latents_digest_follows_names_and_lengths(tmp_path: Path) -> None:
    write_mar(tmp_path, moments(3), ["a/1", "a/2", "b/3"])
    before = open_latents(tmp_path).digest
    assert open_latents(tmp_path).digest == before
    (tmp_path / "a/2.npz").rename(tmp_path / "a/4.npz")
    assert open_latents(tmp_path).digest != before


def test_open_latents_reports_wrong_folders_in_one_line(tmp_path: Path) -> None:
    def complaint(folder: Path) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            open_latents(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "none; check the path" in complaint(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "is empty" in complaint(tmp_path / "empty")
    other = tmp_path / "other"
    other.mkdir()
    (other / "readme.txt").write_text("hello")
    for sought in ("index.json", "dataset.json", ".safetensors", ".npz"):
        assert sought in complaint(other)
    html = tmp_path / "html"
    write_repa(html, moments(1))
    (html / "00000/img-mean-std-00000000.npy").write_text("<!DOCTYPE html>")
    assert "img-mean-std-00000000.npy: not a NumPy array: it begins with '<!DOCTYP')" in complaint(html)
    mixed = tmp_path / "mixed"
    write_mar(mixed, moments(8), [f"a/{i}" for i in range(8)])
    for i in range(4):
        np.savez(mixed / f"a/{i}.npz", moments=np.zeros((4, 2, 2), np.float32))
    assert "mixed shapes (4 of (" in complaint(mixed)
    write_repa(tmp_path / "repa", moments(2))
    (tmp_path / "repa/dataset.json").write_text("{")
    assert "dataset.json is damaged" in complaint(tmp_path / "repa")


def test_open_latents_says_how_to_encode_by_what_is_an_autoencoder(small_autoencoder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "export").symlink_to(small_autoencoder)
    for folder in (small_autoencoder, tmp_path / "run"):
        with pytest.raises(ValueError, match=f"holds a network, not latents: .* `specmatch cache {folder} --out"):
            open_latents(folder)


def test_is_cached_knows_our_own_caches_without_the_prefix(latent_cache, small_autoencoder, tmp_path):
    assert is_cached(str(latent_cache))
    assert is_cached(f"latents:{tmp_path}")
    assert not any(map(is_cached, (str(tmp_path), str(small_autoencoder), "owner/name", "python:a.py:b")))
