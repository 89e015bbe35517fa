import dataclasses

import pytest

from spectrum_matching.metrics.atlas import place as module
from spectrum_matching.metrics.atlas.place import Subject, moved_by_images, place
from spectrum_matching.metrics.atlas.spaces import OwnSpace, read_atlas
from spectrum_matching.records.measurement import Measurement

SUBJECT = Subject(channels=4, factor=8, size=256, digest="mine", autoencoder="ae")


def own(name, sec, images="kodak", size=256, n_images=24, autoencoder="", shape=(4, 32, 32), factor=8):
    numbers = {"sec_50": Measurement(sec), "psnr": Measurement(None, refused="no decoder")}
    return OwnSpace(name, name, autoencoder or name, factor, shape, images, images, size, n_images, numbers)


@pytest.fixture
def atlas(monkeypatch):
    """Replace our own rows by these."""

    def use(*spaces):
        monkeypatch.setattr(module, "read_atlas", lambda: dataclasses.replace(read_atlas(), own=spaces))

    return use


@pytest.mark.parametrize(("sec", "rank"), [(0.005, "1st"), (0.05, "2nd"), (0.15, "3rd"), (0.3, "4th")])
def test_place_ranks_among_published_spaces_of_the_kind(sec, rank, atlas):
    atlas()
    found = place("sec_50", Measurement(sec), SUBJECT)
    assert str(found) == f"SEC (ρ = 0.5) {sec:.3g}: {rank} lowest of 4 latent spaces with 4 channels at f8"
    assert found.others == (("EQ-VAE", 0.010), ("REPAE-SDVAE", 0.103), ("SD-VAE", 0.209))
    assert found.evidence == "EQ-VAE 0.01, REPAE-SDVAE 0.103, SD-VAE 0.209."


def test_place_counts_its_own_uncertainty(atlas):
    atlas()
    assert place("sec_50", Measurement(0.1, 0.01), SUBJECT).ranks == (2, 3)
    assert place("sec_50", Measurement(0.1, 0.001), SUBJECT).ranks == (2, 2)


def test_place_on_other_images_is_as_wide_as_images_move_numbers(atlas):
    atlas(own("SD", 0.20), own("SD", 0.26, "bsds500", n_images=50), own("SDXL", 0.30))
    assert moved_by_images("sec_50", 256) == pytest.approx(0.06)
    found = place("sec_50", Measurement(0.15), SUBJECT)
    assert dict(found.others) == {"EQ-VAE": 0.010, "REPAE-SDVAE": 0.103, "SD-VAE": 0.209, "SD": 0.26, "SDXL": 0.30}
    assert found.ranks == (2, 4)
    assert "2nd to 4th lowest of 6" in str(found)
    assert found.evidence.endswith("measured on other images, which moved our own by up to 0.06.")


def test_place_that_other_images_may_change_altogether_is_said_to_be_anywhere(atlas):
    atlas(own("SD", 0.6), own("SD", 0.2, "bsds500", n_images=50))
    assert ": anywhere, since other images alone may move it past each of " in str(
        place("sec_50", Measurement(0.15), SUBJECT)
    )


@pytest.mark.parametrize(
    ("sd", "se", "images", "cause"),
    [
        (0.6, 0.1, "kodak", "other images alone"),
        (0.22, 0.1, "kodak", "its interval and other images"),
        (0.2, 0.1, "mine", "its interval alone"),
    ],
)
def test_place_that_is_anywhere_says_what_makes_it_so(sd, se, images, cause, atlas):
    atlas(own("SD", sd, images), own("SD", 0.2, "bsds500", n_images=50), own("SDXL", 0.15, images))
    found = str(place("sec_50", Measurement(0.15, se), SUBJECT))
    assert f": anywhere, since {cause} may move it past each of " in found


def test_place_on_the_same_images_takes_these_alone(atlas):
    atlas(own("a", 0.2, "mine"), own("b", 0.4, "mine"), own("b", 0.1, "others"))
    found = place("sec_50", Measurement(0.3), SUBJECT)
    assert (found.others, found.ranks, found.moved) == ((("a", 0.2), ("b", 0.4)), (2, 2), 0.0)


def test_place_leaves_the_subject_itself_out(atlas):
    atlas(own("a", 0.2, "mine", autoencoder="ae"), own("b", 0.4, "mine"), own("c", 0.5, "mine"))
    assert [name for name, _ in place("sec_50", Measurement(0.2), SUBJECT).others] == ["b", "c"]


@pytest.mark.parametrize(
    ("key", "value", "subject", "reason"),
    [
        ("sec_50", 0.2, {"size": 128}, "were measured on images of 256 pixels, and these have 128"),
        ("sec_50", 0.2, {"channels": 8}, "the atlas has no other latent space with 8 channels at f8"),
        ("sec_50", 0.2, {"factor": 4}, "the atlas has no other latent space with 4 channels at f4"),
        ("sec_50", 0.2, {"channels": 768, "factor": 16}, ""),
        ("sec_50", 0.2, {"channels": 392, "factor": 16}, "has 1 other latent space with 392 channels at f16"),
        ("psnr", None, {}, "PSNR was refused: too few"),
    ],
)
def test_place_refuses_other_protocols_in_words(key, value, subject, reason, atlas):
    atlas()
    number, subject = Measurement(value, refused="" if value else "too few"), SUBJECT._replace(**subject)
    if not reason:
        assert place(key, number, subject).n == 3
        return
    with pytest.raises(ValueError, match=reason):
        place(key, number, subject)
