import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spectrum_matching.data.fingerprint import Fingerprint
from spectrum_matching.latents.foreign.export import export_latents, read_latent_space
from spectrum_matching.latents.gain_choice import GainChoice
from spectrum_matching.latents.latent_set import LatentInfo, LatentSet
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.shards import CacheIndex, finish_cache, start_cache, write_shard
from spectrum_matching.spectrum import power_spectrum

C, GRID, N = 3, (2, 4), 300


def cached(folder: Path, labels: list[int] | None = None, **change: object) -> LatentSet:
    """A cache of 300 latents whose positions have gaps."""
    known = {
        "channels": C,
        "grid": GRID,
        "flips": True,
        "classes": ("cat", "dog", "owl") if labels is None or max(labels) >= 0 else (),
        "autoencoder": "an autoencoder",
        "fingerprint": Fingerprint(8, "fedcba"),
        "n_images": (2 * N, 2 * N),
    }
    folder.mkdir()
    index = CacheIndex(LatentInfo(**(known | change)), "abcdef", "float32", N, {})
    generator = torch.Generator().manual_seed(0)
    mean, logvar, logvar_flip, noise = torch.randn(4, N, C, *GRID, generator=generator)
    tensors = {"mean": mean, "logvar": logvar, "mean_flip": mean.flip(-1) + 0.3 * noise, "logvar_flip": logvar_flip}
    kept = {k: v for k, v in tensors.items() if index.info.flips or "flip" not in k}
    kept = {k: v for k, v in kept.items() if index.info.holds == "posterior" or "logvar" not in k}
    numbers = {"index": 2 * torch.arange(N), "label": torch.tensor(labels) if labels else torch.arange(N) % 3}
    start_cache(folder, index)
    finish_cache(folder, index, [write_shard(folder, 0, kept | numbers)])
    return open_latents(folder)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> LatentSet:
    return cached(tmp_path_factory.mktemp("cache") / "ours")


def test_export_latents_repa_layout(tmp_path: Path, ours: LatentSet) -> None:
    export_latents(ours, "repa", tmp_path)
    labels = dict(json.loads((tmp_path / "dataset.json").read_text())["labels"])
    assert len(labels) == N
    for row in (ours[0], ours[N - 1]):
        name = f"00000/img-mean-std-{row.image:08d}.npy"
        mean, std = np.split(np.load(tmp_path / name), 2)
        np.testing.assert_array_equal(mean, row.mean)
        np.testing.assert_allclose(std, (row.logvar / 2).exp(), rtol=1e-6)
        assert labels[name] == row.label


def test_export_latents_uvit_layout(tmp_path: Path, ours: LatentSet) -> None:
    export_latents(ours, "uvit", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * N
    for row, file, mirrored in ((0, 0, 256), (255, 255, 511), (256, 512, 556), (299, 555, 599)):
        for number, expected in ((file, ours[row]), (mirrored, ours.read(row, True))):
            moments, label = np.load(tmp_path / f"{number}.npy", allow_pickle=True)  # as U-ViT's trainer reads it
            np.testing.assert_array_equal(moments, torch.cat([expected.mean, expected.logvar]))
            assert label == expected.label


def test_export_latents_uvit_without_labels_has_arrays(tmp_path: Path) -> None:
    export_latents(cached(tmp_path / "ours", [-1] * N, flips=False), "uvit", tmp_path / "theirs")
    assert np.load(tmp_path / "theirs/299.npy").shape == (2 * C, *GRID)


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_export_latents_mar_layout(tmp_path: Path, ours: LatentSet, named: bool) -> None:
    names = [f"{('cat', 'dog', 'owl')[(i // 2) % 3]}/{i} <é>.png" for i in range(2 * N)] if named else None
    export_latents(ours, "mar", tmp_path, names=names)
    for number in (0, 1, N - 1):
        row, mirrored = ours[number], ours.read(number, True)
        name = names[row.image] if names else f"{('cat', 'dog', 'owl')[row.label]}/{row.image:08d}"
        with np.load(tmp_path / f"{name}.npz") as stored:
            np.testing.assert_array_equal(stored["moments"], torch.cat([row.mean, row.logvar]))
            np.testing.assert_array_equal(stored["moments_flip"], torch.cat([mirrored.mean, mirrored.logvar]))
    found = open_latents(tmp_path)
    assert found.info.classes == ("cat", "dog", "owl")
    assert sorted(found.labels.tolist()) == sorted(ours.labels.tolist())


def test_export_latents_mar_keeps_labels_of_unsorted_names(tmp_path: Path) -> None:
    ours = cached(tmp_path / "ours", classes=("b/c", "a", "a"))
    export_latents(ours, "mar", tmp_path / "theirs")
    found = open_latents(tmp_path / "theirs")
    assert all(row.label == ours[int(str(row.image).split("/")[-1]) // 2].label for row in found)


def test_export_latents_lightningdit_layout(tmp_path: Path, ours: LatentSet) -> None:
    for name in ("one", "two"):
        export_latents(ours, "lightningdit", tmp_path / name, seed=5)
    files = [load_file(tmp_path / name / "latents_rank00_shard000.safetensors") for name in ("one", "two")]
    assert all(torch.equal(files[0][key], files[1][key]) for key in ("latents", "latents_flip", "labels"))
    assert files[0]["labels"].tolist() == ours.labels.tolist()
    for key, rows in (("latents", list(ours)), ("latents_flip", [ours.read(i, True) for i in range(N)])):
        mean, logvar = (torch.stack([getattr(row, name) for row in rows]) for name in ("mean", "logvar"))
        z = (files[0][key] - mean) / (logvar / 2).exp()
        assert abs(float(z.mean())) < 0.05
        assert float(z.std()) == pytest.approx(1, abs=0.05)
    stats = torch.load(tmp_path / "one/latents_stats.pt", weights_only=True)
    assert stats["mean"].shape == stats["std"].shape == (1, C, 1, 1)
    assert ours.info.latent_space is not None
    for key in ("mean", "std"):
        assert stats[key].flatten().tolist() == pytest.approx(getattr(ours.info.latent_space, key), rel=1e-6)


@pytest.mark.parametrize("layout", ["lightningdit", "repa"])
def test_export_latents_with_a_gain_says_what_undoes_it(tmp_path: Path, layout: str) -> None:
    gained = cached(tmp_path / "ours", gain=GainChoice(flatten=1.0))
    export_latents(gained, layout, tmp_path / "theirs", seed=5)
    space = read_latent_space(tmp_path / "theirs.latent_space.json")
    theirs = open_latents(tmp_path / "theirs")
    units = torch.stack([row.mean for row in theirs])
    assert float(units.square().mean()) == pytest.approx(1, rel=0.05)
    assert theirs.info.flips == (layout != "repa")
    for is_mirrored in (False, True) if theirs.info.flips else (False,):
        pairs = [(theirs.read(i, is_mirrored), gained.read(i, is_mirrored)) for i in range(N)]
        z = torch.stack([(space.from_unit(u.mean[None])[0] - r.mean) / (r.logvar / 2).exp() for u, r in pairs])
        assert abs(float(z.mean())) < 0.05
        assert float(z.std()) == pytest.approx(1, abs=0.05)
    plain = torch.stack([space.without_gain.to_unit(row.mean[None])[0] for row in gained])
    high, low = (power_spectrum(x).mean((0, 1))[-1, -1] / power_spectrum(x).mean((0, 1))[0, 1] for x in (units, plain))
    assert high > 2 * low
    if layout == "lightningdit":
        stats = torch.load(tmp_path / "theirs/latents_stats.pt", weights_only=True)
        torch.testing.assert_close(stats["std"].flatten(), torch.ones(C), rtol=0.1, atol=0)


def test_export_latents_with_a_gain_of_nothing_writes_moments(tmp_path: Path) -> None:
    plain = cached(tmp_path / "ours", gain=GainChoice(flatten=0.0))
    export_latents(plain, "repa", tmp_path / "theirs")
    assert not (tmp_path / "theirs.latent_space.json").exists()
    for ours, theirs in zip(plain, open_latents(tmp_path / "theirs"), strict=True):
        assert torch.equal(ours.mean, theirs.mean)


@pytest.mark.parametrize("flatten", [0.0, 1.0])
def test_export_latents_keeps_what_others_wrote_beside_the_folder(tmp_path: Path, flatten: float) -> None:
    ours, beside = cached(tmp_path / "ours", gain=GainChoice(flatten=flatten)), tmp_path / "theirs.latent_space.json"
    beside.write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=r"latent_space.json exists and was not written by specmatch: .* --out$"):
        export_latents(ours, "repa", tmp_path / "theirs")
    assert (beside.read_text(), (tmp_path / "theirs").exists()) == ('{"mine": 1}', False)


def test_export_latents_replaces_its_own_file_beside_the_folder_once_all_latents_are_written(tmp_path: Path) -> None:
    beside = tmp_path / "theirs.latent_space.json"
    gained, plain = (cached(tmp_path / f"{f}", gain=GainChoice(flatten=f)) for f in (1.0, 0.0))
    export_latents(gained, "mar", tmp_path / "theirs")
    shutil.rmtree(tmp_path / "theirs")
    before = beside.read_bytes()
    for flatten in (2.0, 0.0):
        odd = cached(tmp_path / f"odd {flatten}", [0, 2] * (N // 2), gain=GainChoice(flatten=flatten))
        with pytest.raises(ValueError, match="class 1 has no latents"):
            export_latents(odd, "mar", tmp_path / "theirs")
        assert beside.read_bytes() == before
    export_latents(plain, "repa", tmp_path / "theirs")
    assert not beside.exists()


@pytest.mark.parametrize(
    ("layout", "change", "complaint"),
    [
        ("mar", {"flips": False}, "MAR's trainer reads latents of mirrored images.*cache again with --flips"),
        ("lightningdit", {"flips": False}, "LightningDiT's trainer reads"),
        ("uvit", {"holds": "sample"}, "holds samples alone"),
        ("mar", {"labels": [0, 2] * (N // 2)}, "class 1 has no latents"),
        ("mar", {"labels": [0, -1] * (N // 2)}, "some latents have no label"),
    ],
)
def test_export_latents_refuses_what_layout_lacks(tmp_path: Path, layout: str, change: dict, complaint: str) -> None:
    ours = cached(tmp_path / "ours", **change)
    with pytest.raises(ValueError, match=complaint):
        export_latents(ours, layout, tmp_path / "theirs")


def test_export_latents_without_variance_writes_smallest(tmp_path: Path) -> None:
    export_latents(cached(tmp_path / "ours", holds="mean"), "repa", tmp_path / "theirs")
    assert open_latents(tmp_path / "theirs")[0].logvar.eq(-30).all()


def test_export_latents_refuses_folder_in_use(tmp_path: Path, ours: LatentSet) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(ValueError, match="is not empty"):
        export_latents(ours, "repa", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_export_latents_reports_full_disk_in_one_line(tmp_path: Path, ours: LatentSet) -> None:
    resource = pytest.importorskip("resource")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(ValueError, match=r"cannot write into .*, then rerun the same command"):
            export_latents(ours, "uvit", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
