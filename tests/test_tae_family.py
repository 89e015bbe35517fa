"""The example that loads four tiny autoencoders, on real weights and photographs if they are on this machine."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.metrics.images.pixels import psnr
from spectrum_matching.nets.autoencoder import Autoencoder

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
WEIGHTS = Path(os.environ.get("SPECMATCH_TAE_FAMILY", DATA / "tae_family"))
PHOTOGRAPHS = DATA / "kodak"


def source(factory):
    return f"python:{ROOT / 'examples' / 'tae_family.py'}:{factory}"


def photographs(n=2, size=128):
    for path in sorted(PHOTOGRAPHS.glob("*.png"))[1 : 1 + n]:
        pixels = np.array(Image.open(path).convert("RGB"))
        top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
        crop = torch.from_numpy(pixels[top : top + size, left : left + size])
        yield crop.permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.skipif(not (WEIGHTS.is_dir() and PHOTOGRAPHS.is_dir()), reason="needs the family's weights and Kodak")
@pytest.mark.parametrize(
    ("factory", "channels", "least"), [("taesd", 4, 25), ("taesdxl", 4, 25), ("taesd3", 16, 28), ("taef1", 16, 27)]
)
def test_tae_family_reconstructs_photographs(factory, channels, least, monkeypatch):
    monkeypatch.setenv("SPECMATCH_TAE_FAMILY", str(WEIGHTS))
    autoencoder = Autoencoder.from_pretrained(source(factory))
    assert (autoencoder.kind, autoencoder.factor, autoencoder.channels) == ("AutoencoderTiny", 8, channels)
    assert not autoencoder.is_stochastic
    with torch.inference_mode():
        quality = [psnr(autoencoder.decode(autoencoder.encode(image).mean), image) for image in photographs()]
    assert torch.cat(quality).mean() > least


@pytest.mark.parametrize("factory", ["taesd", "taesdxl", "taesd3", "taef1"])
def test_tae_family_names_the_source_of_missing_weights(factory, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECMATCH_TAE_FAMILY", str(tmp_path))
    missing = rf"no {factory}_encoder.safetensors in .*madebyollin/taesd \(MIT\).*SPECMATCH_TAE_FAMILY"
    with pytest.raises(ValueError, match=missing):
        Autoencoder.from_pretrained(source(factory))


@pytest.mark.skipif(not (WEIGHTS.is_dir() and PHOTOGRAPHS.is_dir()), reason="needs the family's weights and Kodak")
def test_tae_family_decodes_in_tiles_as_it_does_whole(monkeypatch):
    monkeypatch.setenv("SPECMATCH_TAE_FAMILY", str(WEIGHTS))
    autoencoder = Autoencoder.from_pretrained(source("taesd"))
    network = autoencoder.model
    network.tile_sample_min_size, network.tile_latent_min_size = 128, 16  # of the class: 512
    (image,) = photographs(1, 384)
    with torch.no_grad():
        latents = autoencoder.encode(image).mean
        whole = autoencoder.decode(latents)
        autoencoder.enable_tiling()
        tiled = autoencoder.decode(latents)
        own = autoencoder.decode(autoencoder.encode(image).mean)
    # Tiles change pictures by less than half of the reconstruction's own error.
    assert float(psnr(whole, image)) + 3 < float(psnr(tiled, whole)) < 100
    assert float(psnr(own, image)) > float(psnr(whole, image)) - 1
