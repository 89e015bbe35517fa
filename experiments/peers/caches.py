"""Caches that ours exports, read by the data sets of REPA, LightningDiT, U-ViT and MAR."""

import tempfile
from pathlib import Path

import torch
from PIL import Image

from peers.checkouts import Checkouts
from peers.rows import Row, compared
from spectrum_matching.data.fingerprint import Fingerprint
from spectrum_matching.latents.foreign.export import export_latents
from spectrum_matching.latents.latent_set import LatentInfo, LatentSet
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.shards import CacheIndex, finish_cache, start_cache, write_shard

N, CHANNELS, GRID, CLASSES = 21, 4, (8, 8), ("cat", "dog", "owl")


def rows(checkouts: Checkouts) -> list[Row]:
    """Compare all of this file."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        latents = cached(folder / "ours")
        for layout in ("repa", "lightningdit", "uvit", "mar"):
            export_latents(latents, layout, folder / layout)
        return [
            repa(checkouts, folder, latents),
            *lightningdit(checkouts, folder, latents),
            uvit(checkouts, folder, latents),
            mar(checkouts, folder, latents),
        ]


def cached(folder: Path) -> LatentSet:
    """Write a cache of 21 latents of three classes, with mirrored ones."""
    folder.mkdir()
    info = LatentInfo(
        channels=CHANNELS,
        grid=GRID,
        flips=True,
        classes=CLASSES,
        autoencoder="an autoencoder",
        fingerprint=Fingerprint(8, "fedcba"),
        n_images=(N, N),
    )
    index = CacheIndex(info, "abcdef", "float32", N, {})
    mean, logvar, mean_flip, logvar_flip = torch.randn(4, N, CHANNELS, *GRID)
    tensors = {"mean": mean, "logvar": logvar, "mean_flip": mean_flip, "logvar_flip": logvar_flip}
    start_cache(folder, index)
    shard = write_shard(folder, 0, tensors | {"index": torch.arange(N), "label": torch.arange(N) % len(CLASSES)})
    finish_cache(folder, index, [shard])
    return open_latents(folder)


def repa(checkouts: Checkouts, folder: Path, latents: LatentSet) -> Row:
    """Read mean, deviation and label by REPA's data set, beside images whose colour is their number."""
    for number in range(N):
        file = folder / "images" / f"{number:08d}"[:5] / f"img{number:08d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    (folder / "repa").rename(folder / "vae-sd")
    with checkouts.at("REPA") as load:
        data = load("dataset").CustomDataset(str(folder))
    pairs = []
    for number, row in ((n, latents[n]) for n in range(N)):
        image, features, label = data[number]
        pairs += [(row.mean, features[:CHANNELS]), ((row.logvar / 2).exp(), features[CHANNELS:])]
        pairs += [(row.label, label), (float(number), float(image[0, 0, 0]))]
    return compared("repa_cache", "REPA", "our export read by REPA: mean, deviation, label, image", pairs)


def lightningdit(checkouts: Checkouts, folder: Path, latents: LatentSet) -> list[Row]:
    """Read labels and statistics by LightningDiT's data set, and compute its own statistics of the samples."""
    with checkouts.at("LightningDiT") as load:
        module = load("datasets.img_latent_dataset")
    torch_load = module.torch.load
    data = module.ImgLatentDataset(str(folder / "lightningdit"), latent_norm=True)
    assert module.torch.load is torch_load
    pairs = [(latents[n].label, data[n][1]) for n in range(N)]
    stats = torch.load(folder / "lightningdit" / "latents_stats.pt")
    pairs += [(stats["mean"], data._latent_mean), (stats["std"], data._latent_std)]
    theirs = data.compute_latent_stats()
    values = {"std_ours": float(stats["std"].mean()), "std_theirs": float(theirs["std"].mean())}
    return [
        compared("lightningdit_cache", "LightningDiT", "our export read by LightningDiT: label, statistics", pairs),
        Row(
            "lightningdit_stats",
            "LightningDiT",
            "deviation of 21 latents: of the posterior, of one sample",
            values=values,
        ),
    ]


def uvit(checkouts: Checkouts, folder: Path, latents: LatentSet) -> Row:
    """Read moments and label by U-ViT's data set: straight ones, then mirrored ones."""
    absent = ("pycocotools.coco", "pycocotools")
    with checkouts.at("U-ViT", absent=absent) as load:
        data = load("datasets").FeatureDataset(str(folder / "uvit"))
    pairs = []
    for number in range(N):
        for place, flipped in ((number, False), (N + number, True)):
            row, (moments, label) = latents.read(number, flipped), data[place]
            pairs += [(torch.cat([row.mean, row.logvar]), moments), (row.label, label)]
    return compared("uvit_cache", "U-ViT", "our export read by U-ViT: moments, label, mirrored", pairs)


def mar(checkouts: Checkouts, folder: Path, latents: LatentSet) -> Row:
    """Read moments and label by MAR's data set."""
    with checkouts.at("mar") as load:
        data = load("util.loader").CachedFolder(str(folder / "mar"))
    pairs, seen = [], set()
    for place, (path, _) in enumerate(data.samples):
        number = int(Path(path).stem)
        for seed in (0, 1):
            torch.manual_seed(seed)
            flipped = not torch.rand(1) < 0.5
            torch.manual_seed(seed)
            moments, label = data[place]
            row = latents.read(number, bool(flipped))
            pairs += [(torch.cat([row.mean, row.logvar]), moments), (row.label, label)]
            seen.add((number, bool(flipped)))
    assert len(seen) == 2 * N
    return compared("mar_cache", "mar", "our export read by MAR: moments, label, mirrored", pairs)
