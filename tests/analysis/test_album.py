import base64
import io

import pytest
import torch
from PIL import Image

from spectrum_matching.analysis.album import Album
from spectrum_matching.metrics.decoder.sweep import DecoderTest
from spectrum_matching.seeding import spread

TEST = DecoderTest(
    decode=lambda z: -z,
    encode=lambda x: x,
    channel_stds=torch.ones(3),
    size=(32, 32),
    grid=(32, 32),
    multiple=1,
    seed=0,
)


def grey(picture):
    return Image.open(io.BytesIO(base64.b64decode(picture.png))).getpixel((0, 0))[0]


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_album_shows_images_spread_over_those_measured(batch_size):
    levels = torch.arange(40) / 20 - 1
    images = levels[:, None, None, None].expand(40, 3, 32, 32)
    album = Album(32, range(100, 140))
    for rows in torch.arange(40).split(batch_size):
        album.add(rows.tolist(), images[rows], images[rows], TEST)
    assert album.rows == spread(40, 6) != list(range(6))
    pictures = album.pictures()
    assert [picture.image for picture in pictures[::8]] == [f"image {101 + row}" for row in album.rows]
    assert {(picture.keep, picture.decoded) for picture in pictures} == {
        (keep, decoded) for keep in (15, 7, 5, 3) for decoded in (False, True)
    }
    for picture in pictures:
        level = levels[int(picture.image.split()[1]) - 101] * (-1 if picture.decoded else 1)
        assert abs(grey(picture) - 127.5 * (float(level) + 1)) <= 1


def test_album_shows_fewer_large_images_and_no_more_than_there_are():
    assert len(Album(128, range(50)).rows) == 2
    assert Album(32, range(3)).rows == [0, 1, 2]


def test_album_names_latents_as_their_images():
    album = Album(32, range(7, 47))
    latents = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    album.add_latents(latents, torch.zeros(4), torch.eye(4)[:, :3], torch.ones(3))
    assert [picture.image for picture in album.latent_pictures] == [f"image {row + 8}" for row in album.rows]
