import dataclasses

import pytest
import torch

from codecs_of_tests import Halving
from spectrum_matching.data.images import ImageBatch
from spectrum_matching.data.walk import BadFile
from spectrum_matching.evaluation.decoded_reference import compute_decoded_reference
from spectrum_matching.evaluation.generation import evaluate_generation
from spectrum_matching.evaluation.reference import compute_reference, load_reference, save_reference
from spectrum_matching.metrics.images.frechet import frechet_distance
from spectrum_matching.metrics.images.pixels import round_to_bytes
from spectrum_matching.metrics.images.statistics import RunningMoments
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.scores import Sampling, protocol_differences
from spectrum_matching.report.terminal import protocol_line
from spectrum_matching.seeding import spread_keys

SAMPLING = Sampling(
    *("d", "0" * 16, 9, True, "vae", "a" * 16, "linear", "velocity", "euler", 50, 50),
    *(1.0, (0.0, 1.0), "none", 60, 0, "float32"),
)


def decode(images):
    return round_to_bytes(Halving().decode(Halving().encode(images)))


@pytest.fixture
def decoded(extractor, photographs):
    images = photographs(0, 120)
    return compute_decoded_reference(
        "photographs", images.split(32), extractor, "vae", "a" * 16, Autoencoder(Halving())
    )


def features(extractor, images):
    return extractor.extract(images)[0]


def test_compute_decoded_reference_is_the_reference_of_the_decoded_images(decoded, extractor, photographs):
    direct = compute_reference("decoded", [decode(photographs(0, 120))], extractor)
    assert decoded.n_images == 120
    for name in ("features", "spatial"):
        mine, theirs = decoded.statistics.moments[name], direct.statistics.moments[name]
        torch.testing.assert_close(mine.mean, theirs.mean)
        torch.testing.assert_close(mine.covariance(), theirs.covariance())
    torch.testing.assert_close(decoded.statistics.rows("features"), direct.statistics.rows("features"))
    assert (decoded.autoencoder, decoded.autoencoder_digest) == ("vae", "a" * 16)
    assert direct.autoencoder_digest == ""


def test_compute_decoded_reference_floor_compares_its_halves(decoded, extractor, photographs):
    output = decode(photographs(0, 120))
    is_second = spread_keys(torch.arange(120)) >= 0.5
    assert abs(int(is_second.sum()) - 60) <= 4
    one, other = (RunningMoments().add(features(extractor, output[half])) for half in (~is_second, is_second))
    assert decoded.floor.value == pytest.approx(frechet_distance(one, other), rel=1e-9)


def test_compute_decoded_reference_does_not_depend_on_batches(decoded, extractor, photographs):
    images = photographs(0, 120)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(1))
    batches = [
        ImageBatch(images[some], torch.full((len(some),), -1), (), tuple(some.tolist())) for some in order.split(50)
    ]
    again = compute_decoded_reference("photographs", batches, extractor, "vae", "a" * 16, Autoencoder(Halving()))
    assert again.floor.value == pytest.approx(decoded.floor.value, rel=1e-9)
    torch.testing.assert_close(again.statistics.rows("features"), decoded.statistics.rows("features"))


def test_save_reference_keeps_autoencoder_and_floor(decoded, tmp_path):
    save_reference(decoded, tmp_path / "decoded.safetensors")
    read = load_reference(tmp_path / "decoded.safetensors")
    assert (read.autoencoder, read.autoencoder_digest, read.floor) == ("vae", "a" * 16, decoded.floor)


def test_evaluate_generation_adds_the_distance_to_reconstructions(decoded, extractor, photographs):
    images, samples = photographs(0, 120), decode(photographs(1, 60))
    reference = compute_reference("photographs", [images], extractor)
    found = evaluate_generation("mine", [samples], reference, extractor, reconstructions=decoded, sampling=SAMPLING)
    moments = [RunningMoments().add(features(extractor, each)) for each in (samples, decode(images))]
    assert found.value("fid_reconstructions") == pytest.approx(frechet_distance(*moments), rel=1e-9)
    assert found.scores["fid_reconstructions_floor"] == decoded.floor
    # These samples are decoded images: the decoder's blur is in the one distance and not in the other.
    assert found.value("fid_reconstructions") < found.value("fid")
    assert found.protocol.reconstructions == "photographs by vae"
    assert found.protocol.n_reconstructions == 120
    (confound,) = [line for line in found.warnings if "confound" in line]
    assert "blurs" in confound
    plain = evaluate_generation("mine", [samples], reference, extractor)
    assert plain.scores.keys() == found.scores.keys() - {"fid_reconstructions", "fid_reconstructions_floor"}
    assert not any("confound" in line for line in plain.warnings)


def test_evaluate_generation_tells_reconstructions_of_another_size(extractor, photographs):
    def scored(size):
        images = ImageBatch(photographs(0, 60, size), torch.full((60,), -1), (BadFile("torn.png", "truncated"),))
        arguments = "photographs", [images], extractor, "vae", "a" * 16, Autoencoder(Halving())
        reconstructions = compute_decoded_reference(*arguments)
        return evaluate_generation("mine", samples, reference, extractor, reconstructions=reconstructions)

    reference, samples = compute_reference("photographs", [photographs(0, 60)], extractor), [photographs(1, 60)]
    same, other = scored(16), scored(32)
    assert same.value("fid_reconstructions") != other.value("fid_reconstructions")
    assert {line for line in same.warnings if line.startswith("reconstructions of photographs: ")} == {
        "reconstructions of photographs: 1 of 61 files could not be used",
        "reconstructions of photographs: a set of 60 images is small: its own sampling error is in every distance",
    }
    (line,) = set(other.warnings) - set(same.warnings)
    assert line == "reconstructions of photographs: images of 16 pixels a side are compared with images of 32"
    assert protocol_differences([same, other]) == ["reconstructions size: mine 16, mine 32"]
    for found, size in ((same, 16), (other, 32)):
        decoded = f"photographs by vae {found.protocol.reconstructions_digest}: 60 images, {size} pixels a side"
        assert f"; reconstructions {decoded}" in protocol_line(found.protocol)


def test_evaluate_generation_names_reconstructions_of_another_autoencoder(decoded, extractor, photographs):
    reference = compute_reference("photographs", [photographs(0, 60)], extractor)
    other = dataclasses.replace(SAMPLING, autoencoder_digest="b" * 16)
    arguments = {"reference": reference, "extractor": extractor, "reconstructions": decoded}
    found = evaluate_generation("mine", [photographs(1, 60)], sampling=other, **arguments)
    assert any("decoded by vae bbbb" in line for line in found.warnings)
    found = evaluate_generation("mine", [photographs(1, 60)], sampling=SAMPLING, **arguments)
    assert not any("decoded by" in line for line in found.warnings)


def test_evaluate_generation_refuses_what_no_autoencoder_decoded(extractor, photographs):
    reference = compute_reference("photographs", [photographs(0, 60)], extractor)
    with pytest.raises(ValueError, match="evaluate reference DATA --autoencoder"):
        evaluate_generation("mine", [photographs(1, 60)], reference, extractor, reconstructions=reference)


def test_compute_decoded_reference_of_one_half_has_no_floor(extractor, photographs):
    in_one_half = (spread_keys(torch.arange(64)) < 0.5).nonzero().flatten()[:12]
    images, labels = photographs(0, 12), torch.full((12,), -1)
    batch = ImageBatch(images, labels, (), tuple(in_one_half.tolist()))
    found = compute_decoded_reference("photographs", [batch], extractor, "vae", "a" * 16, Autoencoder(Halving()))
    assert found.n_images == 12
    assert found.floor.refused == "all 12 images lie in one half"


def test_compute_decoded_reference_refuses_values_that_are_not_finite(extractor, photographs):
    class Broken(Halving):
        def decode(self, latents):
            return super().decode(latents) * torch.where(latents.std() > 0, torch.nan, 1)

    with pytest.raises(ValueError, match="broken decodes to values that are not finite"):
        compute_decoded_reference("", [photographs(0, 8)], extractor, "broken", "", Autoencoder(Broken()))
