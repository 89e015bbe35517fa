"""The example of a user-defined autoencoder, on real weights and photographs if they are on this machine."""

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
WEIGHTS = Path(os.environ.get("SPECMATCH_TAEF2", DATA / "taef2"))
PHOTOGRAPHS = DATA / "bsds500" / "val"
SOURCE = f"python:{ROOT / 'examples' / 'taef2_autoencoder.py'}:taef2"


def centre(path: Path, size: int = 256) -> torch.Tensor:
    with Image.open(path) as image:
        left, top = (image.width - size) // 2, (image.height - size) // 2
        pixels = np.array(image.convert("RGB").crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.skipif(not (WEIGHTS.is_dir() and PHOTOGRAPHS.is_dir()), reason="needs TAEF2's weights and BSDS500")
def test_taef2_reconstructs_photographs(monkeypatch) -> None:
    monkeypatch.setenv("SPECMATCH_TAEF2", str(WEIGHTS))
    autoencoder = Autoencoder.from_pretrained(SOURCE)
    assert (autoencoder.kind, autoencoder.factor, autoencoder.channels) == ("TAEF2", 8, 32)
    assert not autoencoder.is_stochastic
    quality = []
    with torch.inference_mode():
        for path in sorted(PHOTOGRAPHS.glob("*.jpg"))[::20]:
            image = centre(path)
            quality.append(psnr(autoencoder.decode(autoencoder.encode(image).mean), image))
    assert len(quality) == 5
    assert torch.cat(quality).mean() > 26.5


def test_taef2_names_the_source_of_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECMATCH_TAEF2", str(tmp_path))
    with pytest.raises(ValueError, match=r"no taef2_encoder.pth in .*madebyollin/taesd \(MIT\).*SPECMATCH_TAEF2"):
        Autoencoder.from_pretrained(SOURCE)
