import pytest
import torch

from spectrum_matching.metrics.decoder.sweep import DecoderBatch, DecoderTest


@pytest.fixture
def decoder_batch():
    """(decode, latents, channel_stds) → the batch of a test, output being decode(latents)."""

    def build(decode, latents, channel_stds=None, first=0, seed=0):
        stds = torch.ones(latents.shape[1]) if channel_stds is None else channel_stds
        output = decode(latents)
        size, grid = tuple(output.shape[-2:]), tuple(latents.shape[-2:])
        test = DecoderTest(decode, lambda images: images, stds, size, grid, multiple=1, seed=seed)
        numbers = tuple(range(first, first + len(latents)))
        return DecoderBatch(test, output, latents, output, numbers, lambda sentence: None)

    return build
