"""A user-defined autoencoder for `specmatch analyze`: TAEF2, the tiny autoencoder for FLUX.2's latents.

    specmatch analyze python:examples/taef2_autoencoder.py:taef2 --out taef2

Any file works whose function returns an object with `encode` and `decode`; `docs/autoencoders.md` describes what these
may return. TAEF2 is by Ollin Boer Bohan (https://github.com/madebyollin/taesd, MIT): put its two files,
taef2_encoder.pth and taef2_decoder.pth, into the folder data/taef2, or name another folder in SPECMATCH_TAEF2.
"""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

DEFAULT_FOLDER = Path("data/taef2")
WIDTH, LATENT_CHANNELS, N_GROUPS, POOL_WIDTH = 64, 32, 4, 256


class Block(nn.Module):
    """Three convolutions with a residual connection; at the coarsest level, first a branch with group normalisation."""

    def __init__(self, pools: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())
        self.pool = _pool() if pools else None

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """Clamp softly to (-3, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class TAEF2(nn.Module):
    """Images in [0, 1] to 32 latent channels at an eighth of the size, and back; no sampling, no normalisation."""

    image_range = (0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            _conv(3, WIDTH),
            Block(),
            *(_down(), Block(), Block(), Block()),
            *(_down(), Block(), Block(), Block()),
            *(_down(), Block(pools=True), Block(pools=True), Block(pools=True)),
            _conv(WIDTH, LATENT_CHANNELS),
        )
        self.decoder = nn.Sequential(
            Clamp(),
            _conv(LATENT_CHANNELS, WIDTH),
            nn.ReLU(),
            *(Block(pools=True), Block(pools=True), Block(pools=True), *_up()),
            *(Block(), Block(), Block(), *_up()),
            *(Block(), Block(), Block(), *_up()),
            Block(),
            _conv(WIDTH, 3),
        )

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)


def taef2() -> TAEF2:
    """Return TAEF2 in float32, with the weights from the folder in SPECMATCH_TAEF2."""
    folder = Path(os.environ.get("SPECMATCH_TAEF2", DEFAULT_FOLDER))
    model = TAEF2()
    for part in ("encoder", "decoder"):
        path = folder / f"taef2_{part}.pth"
        if not path.is_file():
            raise FileNotFoundError(
                f"no {path.name} in {folder}: get it from github.com/madebyollin/taesd (MIT) and name its folder in "
                f"SPECMATCH_TAEF2"
            )
        getattr(model, part).load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def _conv(n_in: int = WIDTH, n_out: int = WIDTH) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def _down() -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, padding=1, stride=2, bias=False)


def _up() -> tuple[nn.Module, nn.Module]:
    return nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)


def _pool() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(WIDTH, POOL_WIDTH, 1, bias=False),
        nn.GroupNorm(N_GROUPS, POOL_WIDTH),
        nn.ReLU(),
        nn.Conv2d(POOL_WIDTH, WIDTH, 1, bias=False),
    )
