"""The latents of one autoencoder decoded by another: a linear map between them as a module, saved to a folder.

mapped = MappedAutoencoder.from_pretrained("sd3_to_flux")
images = mapped.decode(latents)  # raw latents of the encoder's: (b, c, h, w) → (b, 3, H, W) in [-1, 1]
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...files.atomic import write_folder_atomically
from ...files.documents import Document
from ...files.manifest import verify_folder
from ...methods.models import Gaussian
from ..folders import CONFIG
from ..python_files import PREFIX
from .autoencoder import Autoencoder
from .interface import tile_side
from .loading import MAP_FORMAT

WEIGHTS = "map.safetensors"


class LatentMap(nn.Module):
    """An affine map of latents: (b, s, h, w) → (b, t, h', w'), by neighbourhoods of kernel × kernel positions.

    patches: positions a side of the source's and of the target's latents that are stacked into channels around the
    convolution, whose borders are repeated. One of the two is 1: (2, 1) maps twice as fine latents, (1, 2) to them.
    """

    def __init__(self, channels: tuple[int, int], kernel: int = 1, patches: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        source, target = (n * patch**2 for n, patch in zip(channels, patches, strict=True))
        self.pack, self.unpack = nn.PixelUnshuffle(patches[0]), nn.PixelShuffle(patches[1])
        self.conv = nn.Conv2d(source, target, kernel, padding=kernel // 2, padding_mode="replicate")

    def forward(self, latents: Tensor) -> Tensor:
        """Map raw latents."""
        mapped: Tensor = self.unpack(self.conv(self.pack(latents.to(self.conv.weight.dtype))))
        return mapped


@dataclass(frozen=True)
class MapConfig:
    """What a folder says of a map. encoder, decoder: their sources and digests."""

    channels: tuple[PositiveInt, PositiveInt]
    kernel: PositiveInt
    patches: tuple[PositiveInt, PositiveInt]
    encoder: str
    decoder: str
    encoder_digest: str
    decoder_digest: str


MAP = Document(MapConfig, MAP_FORMAT, "map", "fit the map again")
"""config.json."""


class MappedAutoencoder(nn.Module):
    """The encoder of one autoencoder, and the decoder of another behind a map: `Autoencoder(it)` opens it as its own.

    multiple: the sides of images are multiples of it. latent_space: the encoder's, whose latents these are.
    """

    def __init__(self, encoder: Autoencoder, latent_map: LatentMap, decoder: Autoencoder) -> None:
        super().__init__()
        self.encoder, self.map, self.decoder = encoder, latent_map, decoder
        self.multiple = math.lcm(encoder.multiple, decoder.factor)
        self.latent_space = encoder.latent_space

    def encode(self, images: Tensor) -> Gaussian:
        """Return the encoder's posterior of images (b, 3, H, W) in [-1, 1]."""
        return self.encoder.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (b, 3, H, W) of the encoder's raw latents (b, c, h, w), by the other's decoder."""
        return self.decoder.decode(self.map(latents))

    def enable_tiling(self) -> None:
        """Encode and decode in the tiles of both autoencoders.

        Raises:
            ValueError: if one has none.
        """
        for part in (self.encoder, self.decoder):
            part.enable_tiling()

    @property
    def use_tiling(self) -> bool:
        """Whether either runs in tiles."""
        return any(part.tile for part in (self.encoder, self.decoder))

    @property
    def tile_sample_min_size(self) -> int | None:
        """Side in pixels of the smaller tiles of the two."""
        return min(filter(None, (tile_side(part.model) for part in (self.encoder, self.decoder))), default=None)

    def save_pretrained(self, folder: str | Path, encoder: str, decoder: str) -> None:
        """Write the map and where both autoencoders are from to a folder, for `from_pretrained`; not their weights.

        encoder, decoder: sources as of `Autoencoder.from_pretrained`.
        """
        config = MapConfig(
            channels=(self.encoder.channels, self.decoder.channels),
            kernel=self.map.conv.kernel_size[0],
            patches=(self.map.pack.downscale_factor, self.map.unpack.upscale_factor),
            encoder=_from_anywhere(encoder),
            decoder=_from_anywhere(decoder),
            encoder_digest=self.encoder.digest,
            decoder_digest=self.decoder.digest,
        )

        def write(partial: Path) -> None:
            MAP.write(partial / CONFIG, config)
            save_file(self.map.state_dict(), partial / WEIGHTS)

        write_folder_atomically(Path(folder), write, keep_others=True)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Open what `save_pretrained` wrote, with both autoencoders, in float32 and eval mode on the CPU.

        Raises:
            ValueError: naming the folder, if its files are damaged, or if one of the autoencoders does not open or is
                not the one that the map was fitted to.
        """
        folder = Path(folder).expanduser()
        verify_folder(folder)
        config = MAP.read(folder / CONFIG)
        latent_map = LatentMap(config.channels, config.kernel, config.patches)
        try:
            latent_map.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, RuntimeError, SafetensorError) as error:
            why = " ".join(str(error).split())
            raise ValueError(f"{folder / WEIGHTS} does not hold the map of its {CONFIG} ({why})") from error
        opened = []
        for part, source, digest in (
            ("encoder", config.encoder, config.encoder_digest),
            ("decoder", config.decoder, config.decoder_digest),
        ):
            try:
                network = Autoencoder.from_pretrained(source)
            except ValueError as error:
                raise ValueError(f"{folder}: its {part} does not open: {error}") from error
            if network.digest != digest:
                raise ValueError(f"{folder} was fitted to another {part} than {source} is now: fit the map again")
            opened.append(network)
        return cls(opened[0], latent_map, opened[1]).eval().requires_grad_(False)


def _from_anywhere(source: str) -> str:
    """Return a source that opens from any working directory."""
    if source.startswith(PREFIX):
        whole, at, folder = source.removeprefix(PREFIX).partition("@")
        file, _, factory = whole.rpartition(":")
        return f"{PREFIX}{_from_anywhere(file)}:{factory}{at}{_from_anywhere(folder) if folder else ''}"
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source
