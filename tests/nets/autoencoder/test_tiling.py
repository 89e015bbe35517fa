"""Tiles: those of a class are used, save memory, and are refused where they do not exist, save nothing, or fail."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.mapped import LatentMap, MappedAutoencoder

SMALL: dict[str, Any] = json.loads((Path(__file__).parent / "small_autoencoders.json").read_text())
TILE, SIDE = 64, 160  # pixels, of the preset `tiny` and of the images; tiles overlap by a quarter


def small(kind: str) -> Any:
    torch.manual_seed(0)
    return getattr(diffusers, kind)(**SMALL[kind]["config"]).eval()


def images(n: int = 2, side: int = SIDE) -> Tensor:
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def largest_activation(autoencoder: Autoencoder, run: Any) -> tuple[Tensor, int]:
    """What a function of the autoencoder returns, and the number of values of the largest output of a layer."""
    sizes = [0]
    layers = [layer for layer in autoencoder.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(lambda layer, given, output: sizes.append(output.numel())) for layer in layers]
    with torch.inference_mode():
        result = run()
    for hook in hooks:
        hook.remove()
    return result, max(sizes)


def test_tiles_need_less_memory():
    autoencoder = Autoencoder.from_preset("tiny").eval()
    x = images()
    posterior, encoding = largest_activation(autoencoder, lambda: autoencoder.encode(x))
    picture, decoding = largest_activation(autoencoder, lambda: autoencoder.decode(posterior.mean))
    assert autoencoder.tile is None
    autoencoder.enable_tiling()
    assert autoencoder.tile == TILE
    tiled, in_encoder = largest_activation(autoencoder, lambda: autoencoder.encode(x))
    decoded, in_decoder = largest_activation(autoencoder, lambda: autoencoder.decode(posterior.mean))
    share = (TILE / SIDE) ** 2 / len(x)  # of one image at a time
    assert in_encoder == pytest.approx(encoding * share)
    assert in_decoder == pytest.approx(decoding * share)
    assert (tiled.mean.shape, tiled.logvar.shape, decoded.shape) == (posterior.mean.shape,) * 2 + (picture.shape,)
    # Where tiles do not overlap, values are those of the tile alone; norms of untrained weights see no more than that.
    corner = posterior.mean[:, :, : TILE // 4, : TILE // 4]
    with torch.inference_mode():
        alone = autoencoder.decode(corner)[:, :, : TILE * 3 // 4, : TILE * 3 // 4]
    torch.testing.assert_close(decoded[:, :, : TILE * 3 // 4, : TILE * 3 // 4], alone, atol=1e-5, rtol=1e-4)


def test_tiles_leave_images_alone_that_are_no_larger():
    autoencoder, x = Autoencoder.from_preset("tiny").eval(), images(side=TILE)
    with torch.inference_mode():
        whole = autoencoder.decode(autoencoder.encode(x).mean)
        autoencoder.enable_tiling()
        torch.testing.assert_close(autoencoder.decode(autoencoder.encode(x).mean), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderDC", "AutoencoderKLWan patches"])
def test_enable_tiling_turns_on_the_tiles_of_a_class(kind):
    torch.manual_seed(0)
    model = getattr(diffusers, kind.split()[0])(**SMALL[kind]["config"])
    Autoencoder(model).enable_tiling()
    assert model.use_tiling


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("AsymmetricAutoencoderKL", "; leave tiling out"),
        ("ConsistencyDecoderVAE", "its decoder does not use them; leave tiling out"),
        ("AutoencoderKLCosmos", "diffusers leaves them unused; leave tiling out"),
    ],
)
def test_enable_tiling_refuses_classes_without_tiles(kind, why):
    autoencoder = Autoencoder(small(kind))
    with pytest.raises(ValueError, match=rf"^{kind} cannot encode and decode in tiles.*{why}"):
        autoencoder.enable_tiling()
    assert autoencoder.tile is None


def test_encode_names_tiles_that_fail():
    model = small("AutoencoderTiny")  # of factor 4, which diffusers takes for 8
    model.tile_sample_min_size, model.tile_latent_min_size = 32, 4
    autoencoder = Autoencoder(model)
    autoencoder.enable_tiling()
    with pytest.raises(
        ValueError, match=r"^AutoencoderTiny\.encode fails in its tiles of 32 pixels, .* \(RuntimeError"
    ):
        autoencoder.encode(images(side=48))


class Tiled(nn.Module):
    """An object of a user's own, with the switch and the names of diffusers."""

    use_tiling, tile_sample_min_size = False, 8

    def encode(self, x):
        return nn.functional.avg_pool2d(x, 2)

    def decode(self, z):
        if self.use_tiling:
            assert len(z) == 1
        return SimpleNamespace(sample=nn.functional.interpolate(z, scale_factor=2))

    def enable_tiling(self):
        self.use_tiling = True


def test_enable_tiling_takes_the_switch_of_a_user_s_object():
    autoencoder = Autoencoder(Tiled())
    autoencoder.enable_tiling()
    assert autoencoder.tile == 8
    assert autoencoder.decode(autoencoder.encode(images(side=32)).mean).shape == (2, 3, 32, 32)


def test_mapped_autoencoder_runs_both_in_tiles():
    encoder, decoder = (Autoencoder.from_preset("tiny", seed=seed).eval() for seed in (0, 1))
    whole = Autoencoder(MappedAutoencoder(encoder, LatentMap((8, 8), 3), decoder))
    assert whole.tile is None
    whole.enable_tiling()
    assert (whole.tile, encoder.tile, decoder.tile) == (TILE, TILE, TILE)


def test_from_pretrained_opens_in_tiles(small_autoencoder):
    assert Autoencoder.from_pretrained(small_autoencoder, tiling=True).tile == TILE
