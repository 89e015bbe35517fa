from dataclasses import replace

import pytest
import torch

from spectrum_matching.metrics.decoder.lowpass import LOWPASS_GAP
from spectrum_matching.metrics.decoder.sweep import DecoderMetric, DecoderSweep, DecoderTest
from spectrum_matching.seeding import indexed_noise, spread

TEST = DecoderTest(
    decode=lambda z: z, encode=lambda x: x, channel_stds=torch.ones(3), size=(4, 4), grid=(4, 4), multiple=1, seed=0
)


def collect(batch):
    noise = indexed_noise((len(batch.images), 2), batch.numbers, "of an image")
    return {"image": batch.images[:, 0, 0, :1], "output": batch.output[:, 0, 0, :1], "noise": noise}


FEW = DecoderMetric((LOWPASS_GAP,), lambda sweep: {}, collect, n_images=3)


def test_a_metric_of_few_images_takes_more_of_more():
    assert [len(FEW.chosen(n)) for n in (2, 10, 50, 51, 200)] == [2, 3, 3, 3, 12]
    assert len(replace(FEW, n_images=None).chosen(200)) == 200


@pytest.mark.parametrize("batch_size", [1, 4, 10])
def test_decoder_sweep_spreads_a_metric_of_few_images(batch_size):
    images = torch.arange(10.0)[:, None, None, None].expand(10, 3, 4, 4)
    sweep = DecoderSweep(TEST, [FEW], n_tests=10)
    for batch in images.split(batch_size):
        sweep.add(batch, -batch)
    chosen = spread(10, 3)
    assert chosen != [0, 1, 2]
    assert sweep.rows("image")[:, 0].tolist() == chosen
    assert sweep.rows("output")[:, 0].tolist() == [-number for number in chosen]
    assert torch.equal(sweep.rows("noise"), indexed_noise((3, 2), chosen, "of an image").double())
    assert sweep.n == 10
