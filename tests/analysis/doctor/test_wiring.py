import pytest
import torch

from spectrum_matching.analysis.doctor.wiring import RANGES, wiring
from spectrum_matching.latent_space import LatentSpace


def altered(model, **places):
    """The model with a function after, or before, its encode or decode."""
    encode, decode = model.encode, model.decode
    same = lambda x: x  # noqa: E731
    before, after = places.get("images_in", same), places.get("latents_out", same)
    model.encode = lambda x: after(encode(before(x)))
    first, last = places.get("latents_in", same), places.get("images_out", same)
    model.decode = lambda z: last(decode(first(z)))
    return model


@pytest.mark.parametrize("place", RANGES, ids=lambda place: place.name)
def test_ranges_go_and_come_back(place, coloured):
    torch.testing.assert_close(place.back(place.of(coloured)), coloured)
    ends = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    if place.name.startswith("["):
        assert place.of(ends)[:, 0, 0, 0].tolist() == list(map(float, place.name[1:-1].split(", ")))


def test_wiring_is_fine_as_it_is(case, blocks):
    outcome = wiring(case(blocks))
    assert (outcome.level, outcome.fix) == ("fine", "")


@pytest.mark.parametrize(
    ("places", "says", "fix"),
    [
        ({"images_out": lambda x: x / 2 + 0.5}, "the decoder returns [0, 1]", "from [0, 1]"),
        ({"images_out": lambda x: RANGES[3].of(x)}, "the decoder returns ImageNet’s", "ImageNet’s"),
        ({"images_out": lambda x: x.flip(1)}, "blue, green, red", "images = images.flip(1)"),
        ({"images_in": lambda x: x.flip(1)}, "blue, green, red", "images.flip(1)"),
        ({"images_out": lambda x: -x}, "as negatives", "images * -1"),
        ({"images_out": lambda x: x.flip(-2)}, "upside down", "images.flip(-2)"),
        ({"images_out": lambda x: x.rot90(1, (-2, -1))}, "turned by three quarters", "images.rot90(3, (-2, -1))"),
        ({"images_out": lambda x: x.mT}, "height and width exchanged", "images.mT"),
        ({"latents_out": lambda z: z * 2}, "latents 0.5 times as large", "latents * 0.5"),
    ],
)
def test_wiring_names_one_mistake(case, blocks, places, says, fix):
    outcome = wiring(case(altered(blocks, **places)))
    assert outcome.level == "wrong"
    assert says in outcome.verdict
    assert fix in outcome.fix


@pytest.mark.parametrize("way", ["to_unit", "from_unit"])
def test_wiring_names_a_normalisation_at_one_end(case, blocks, way):
    blocks.latent_space = LatentSpace("packed", (0.7,), (3.0,), patch=2)

    def undo(latents):
        if way == "to_unit":
            return latents * 3 + 0.7
        return (latents - 0.7) / 3

    outcome = wiring(case(altered(blocks, latents_in=undo)))
    assert (outcome.level, f"latent_space.{way}" in outcome.fix) == ("wrong", True)


def test_wiring_says_nothing_of_pictures_that_are_merely_wrong(case, blocks):
    outcome = wiring(case(altered(blocks, images_out=lambda x: x.roll(32, -1))))
    assert outcome.level == "fine"
