import pytest
import torch
from torch import nn

from spectrum_matching.evaluation.generation import evaluate_generation
from spectrum_matching.evaluation.reconstruction import evaluate_reconstruction
from spectrum_matching.evaluation.reference import compute_reference
from spectrum_matching.metrics.images.catalogue import SCORES
from spectrum_matching.metrics.images.pixels import psnr, ssim
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.spectrum.blocks import block_lowpass


class Halving(nn.Module):
    """Latents are the images at half size; decoding doubles pixels."""

    multiple = 2

    def encode(self, images):
        return nn.functional.avg_pool2d(images, 2)

    def decode(self, latents):
        return nn.functional.interpolate(latents, scale_factor=2)


class Whole(nn.Module):
    """Latents are the images."""

    multiple = 1

    def encode(self, images):
        return images

    def decode(self, latents):
        return latents


def lpips(a, b):
    return (a - b).square().mean((1, 2, 3))


def test_an_identity_loses_nothing_at_any_low_pass(extractor, photographs):
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


def test_scores_are_those_of_the_images_and_their_reconstructions(extractor, photographs):
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
    assert {score.key for score in found.scores} <= set(SCORES)
    error = next(s for s in found.scores if s.key == "psnr")
    half = 1.96 * float(psnr(output, images).double().std()) / 40**0.5
    assert error.interval == pytest.approx((error.value - half, error.value + half), rel=1e-6)


def test_without_weights_psnr_and_ssim_remain(photographs):
    found = evaluate_reconstruction("halving", Autoencoder(Halving()), [photographs(0, 4)])
    assert [s.key for s in found.scores] == ["psnr", "ssim", "spectrum_error", "swd", "swd_scale_1"]


def test_small_grids_take_smaller_blocks_and_images_may_be_too_small(extractor, photographs):
    found = evaluate_reconstruction("halving", Autoencoder(Halving()), [photographs(0, 40, 8)], extractor)
    assert any("low-pass in blocks of 4" in line for line in found.warnings)
    assert found.value("rfid_lowpass_7") is not None
    assert next(s for s in found.scores if s.key == "ssim").refused == "images of 8 pixels hold no window of 11"


def test_a_network_comes_back_in_its_mode_and_a_broken_one_is_named(photographs):
    model = Autoencoder(Halving()).train()
    evaluate_reconstruction("halving", model, [photographs(0, 4)])
    assert model.training

    class Broken(Whole):
        def decode(self, latents):
            return latents / (latents.abs().sum() == 0)

    with pytest.raises(ValueError, match="broken decodes to values that are not finite"):
        evaluate_reconstruction("broken", Autoencoder(Broken()), [photographs(0, 4) + torch.tensor(0.0)])
