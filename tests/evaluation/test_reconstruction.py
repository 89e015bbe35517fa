import pytest
import torch
from torch import nn

from codecs_of_tests import Halving
from spectrum_matching.analysis.measure import analyze
from spectrum_matching.analysis.options import AnalysisOptions
from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.generation import evaluate_generation
from spectrum_matching.evaluation.reconstruction import evaluate_reconstruction
from spectrum_matching.evaluation.reference import compute_reference
from spectrum_matching.metrics.images.catalogue import SCORES
from spectrum_matching.metrics.images.frechet import frechet_distance
from spectrum_matching.metrics.images.pixels import psnr, round_to_bytes, ssim
from spectrum_matching.metrics.images.statistics import RunningMoments
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.vision.extractors import open_extractor
from spectrum_matching.spectrum.block_lowpass import block_lowpass


class Whole(nn.Module):
    """Latents are the images."""

    multiple = 1

    def encode(self, images):
        return images

    def decode(self, latents):
        return latents


class SquaredDistance(nn.Module):
    """Stands in for LPIPS, whose weights no test has."""

    def forward(self, a, b):
        return (a - b).square().mean((1, 2, 3))


class Quarters(nn.Module):
    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


lpips = SquaredDistance()


def test_evaluate_reconstruction_of_an_identity_is_perfect(extractor, photographs):
    found = evaluate_reconstruction(
        "whole", Autoencoder(Whole()), [photographs(0, 40)], extractor, lpips, keep=(15, 7, 3)
    )
    assert found.value("psnr") == 100
    assert found.value("ssim") == pytest.approx(1)
    assert found.value("lpips") == 0
    for key in ("rfid", "rfid_lowpass_7", "rfid_lowpass_3", "spectrum_error", "swd"):
        assert found.value(key) == pytest.approx(0, abs=1e-9)
    assert found.protocol.sampling is None
    assert found.kind == "reconstruction"


def test_evaluate_reconstruction_equals_scores_of_its_parts(extractor, photographs):
    images, model = photographs(0, 40), Halving()
    output = model.decode(model.encode(images))
    found = evaluate_reconstruction("halving", Autoencoder(model), images.split(7), extractor, lpips, keep=(7,))
    assert found.value("psnr") == pytest.approx(float(psnr(output, images).mean()), rel=1e-6)
    assert found.value("ssim") == pytest.approx(float(ssim(output, images).mean()), rel=1e-6)
    as_generated = evaluate_generation("same", [output], compute_reference("", [images], extractor), extractor)
    assert found.value("rfid") == pytest.approx(as_generated.value("fid"), rel=1e-9)
    decoded = model.decode(block_lowpass(model.encode(images), 7))
    low = evaluate_generation("low", [decoded], compute_reference("", [block_lowpass(images, 7)], extractor), extractor)
    assert found.value("rfid_lowpass_7") == pytest.approx(low.value("fid"), rel=1e-6)
    assert found.scores.keys() <= set(SCORES)
    half = 1.96 * float(psnr(output, images).double().std()) / 40**0.5
    assert found.scores["psnr"].half_width == pytest.approx(half, rel=1e-6)


def test_evaluate_reconstruction_without_extractor(photographs):
    found = evaluate_reconstruction("halving", Autoencoder(Halving()), [photographs(0, 4)])
    assert list(found.scores) == ["psnr", "ssim", "spectrum_error", "swd", "swd_scale_1"]


def test_evaluate_reconstruction_of_small_grids_and_images(extractor, photographs):
    found = evaluate_reconstruction("halving", Autoencoder(Halving()), [photographs(0, 40, 8)], extractor)
    assert any("low-pass in blocks of 4" in line for line in found.warnings)
    assert found.value("rfid_lowpass_7") is not None
    assert found.scores["ssim"].refused == "images of 8 pixels hold no window of 11"


def test_evaluate_reconstruction_restores_mode_and_names_broken(photographs):
    model = Autoencoder(Halving()).train()
    evaluate_reconstruction("halving", model, [photographs(0, 4)])
    assert model.training

    class Broken(Whole):
        def decode(self, latents):
            return latents / (latents.abs().sum() == 0)

    with pytest.raises(ValueError, match="broken decodes to values that are not finite"):
        evaluate_reconstruction("broken", Autoencoder(Broken()), [photographs(0, 4) + torch.tensor(0.0)])


@pytest.mark.slow
def test_evaluate_reconstruction_and_analyze_agree(small_autoencoder, image_folder, tmp_path):
    torch.jit.trace(Quarters(), torch.zeros(2, 3, 32, 32)).save(tmp_path / "quarters.pt")
    images = open_images(str(image_folder), 32, split="all")
    features = str(tmp_path / "quarters.pt")
    options = {"batch_size": 4, "n_tests": 2, "seed": 3}
    analysis = analyze(
        Autoencoder.from_pretrained(small_autoencoder),
        images,
        options=AnalysisOptions(perceptual=lpips, features=open_extractor(features)),
        **options,
    )
    evaluation = evaluate_reconstruction(
        "small",
        Autoencoder.from_pretrained(small_autoencoder),
        fixed_batches(images, 4),
        open_extractor(features),
        lpips,
        seed=3,
    )
    for key in ("psnr", "ssim", "lpips", "rfid"):
        measured, scored = analysis.measurement(key), evaluation.scores[key]
        assert measured.value == pytest.approx(scored.value, rel=1e-9)
        assert measured.standard_error == scored.standard_error is None or measured.standard_error == pytest.approx(
            scored.standard_error, rel=1e-9
        )
    output = Autoencoder.from_pretrained(small_autoencoder)
    with torch.no_grad():
        batch = torch.stack([images[i].image for i in range(len(images))])
        output = output.decode(output.encode(batch).mean)
    moments = [RunningMoments().add(Quarters()(round_to_bytes(side))) for side in (output, batch)]
    assert evaluation.value("rfid") == pytest.approx(frechet_distance(*moments), rel=1e-6)
