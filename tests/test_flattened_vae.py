from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from files_of_tests import loaded
from spectrum_matching.spectrum import power_spectrum

example = loaded(Path(__file__).parents[1] / "examples" / "flattened_vae.py")


@pytest.fixture
def small_vae():
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        scaling_factor=0.7,
        shift_factor=0.1,
    ).eval()


@torch.no_grad()
def test_flattened_vae_reconstructs_alike_and_serves_a_pipeline(small_vae, generator):
    vae = small_vae
    images = torch.rand(64, 3, 32, 32, generator=generator) * 2 - 1
    raw = vae.encode(images).latent_dist
    flat = example.flattened(vae, lambda: [raw.sample(generator)], flatten=1.0)
    latents = flat.encode(images).latent_dist.mode()
    torch.testing.assert_close(flat.decode(latents).sample, vae.decode(raw.mode()).sample, rtol=1e-3, atol=1e-4)
    plain = power_spectrum((raw.mode() - 0.1) * 0.7).mean((0, 1))
    gained = power_spectrum(latents).mean((0, 1))
    torch.testing.assert_close(gained[0, 8] / gained[0, 2], 4 * plain[0, 8] / plain[0, 2], rtol=1e-3, atol=0)
    network = DiTTransformer2DModel(
        2, 8, in_channels=4, out_channels=8, num_layers=1, sample_size=16, norm_num_groups=4
    )
    pipeline = DiTPipeline(network, flat, DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    (image,) = pipeline([1], guidance_scale=1.0, num_inference_steps=2, output_type="np").images
    assert image.shape == (32, 32, 3)


@torch.no_grad()
def test_flattened_vae_is_saved_with_its_gain(small_vae, generator, tmp_path):
    images = torch.rand(16, 3, 32, 32, generator=generator) * 2 - 1
    flat = example.flattened(small_vae, lambda: [small_vae.encode(images).latent_dist.mode()])
    flat.save_pretrained(tmp_path)
    again = example.FlattenedVAE.from_pretrained(tmp_path)
    latents = flat.encode(images).latent_dist.mode()
    assert torch.equal(again.encode(images).latent_dist.mode(), latents)
    assert torch.equal(again.decode(latents).sample, flat.decode(latents).sample)
    (tmp_path / again.file).unlink()
    with pytest.raises(ValueError, match=again.file):
        example.FlattenedVAE.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="this VAE has no gain"):
        example.FlattenedVAE.from_config(small_vae.config).encode(images)
