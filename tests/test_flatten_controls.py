import pytest
import torch

import flatten_controls as controls
from spectrum_matching.diffusion import Path as DiffusionPath
from spectrum_matching.diffusion import Times, diffusion_loss
from spectrum_matching.latent_space import LatentSpace, SpectralGain
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.spectrum.gain import apply_gain, dct_frequencies
from spectrum_matching.spectrum.power import radial_bins

GAIN = dct_frequencies(8, 8).clamp_min(1 / 16).sqrt()


def test_coloured_loss_is_that_of_coloured_noise_in_plain_latents(generator):
    net = build_denoiser("SiT-micro/2", 4, (8, 8), 3, 0, width=32, depth=2, heads=2)
    net.last.weight.data.normal_(generator=generator)
    plain, labels = torch.randn(5, 4, 8, 8, generator=generator), torch.tensor([0, 1, 2, 0, 1])
    path = DiffusionPath("linear", "velocity")
    loss = diffusion_loss(
        controls.Coloured(net, GAIN),
        path,
        apply_gain(plain, GAIN),
        labels,
        times=Times("uniform"),
        generator=torch.Generator().manual_seed(3),
        spectral_weights=GAIN**-2,
    )
    repeated = torch.Generator().manual_seed(3)
    low, high = path.ends
    t = low + (high - low) * Times("uniform").draw(5, repeated)
    noise = apply_gain(torch.randn(plain.shape, generator=repeated), 1 / GAIN)
    at = t.view(-1, 1, 1, 1)
    prediction, _ = net((1 - at) * plain + at * noise, t, labels)
    torch.testing.assert_close(loss.total, (prediction - (noise - plain)).square().mean())


def test_permuted_rings_have_the_same_rings_in_another_order():
    rings = radial_bins(8, 8, 8, "frequency").rings
    permuted = controls.permuted_rings(GAIN, 0)
    means = [sorted(g[rings == k].log().mean().item() for k in rings.unique()) for g in (GAIN, permuted)]
    assert means[0] == pytest.approx(means[1])
    assert not torch.allclose(permuted, GAIN, atol=0.1)
    assert not torch.equal(permuted, controls.permuted_rings(GAIN, 1))


def test_gain_by_channel_has_the_spread_of_the_gain():
    factors = controls.gain_by_channel(GAIN, 8, 0)
    torch.testing.assert_close(factors.log().std(correction=0), GAIN.log().std(correction=0))


@pytest.mark.parametrize("control", controls.CONTROLS)
def test_spaces_have_unit_variance(control):
    power = (dct_frequencies(8, 8).clamp_min(1 / 16) ** -1.4).expand(4, 8, 8)
    power = power / power.mean()
    ends = (1 / 16, 0.5**0.5)
    values = torch.tensor(ends).sqrt() / (power[0] * GAIN.square()).mean().sqrt()
    flattened = LatentSpace(gain=SpectralGain((tuple(values.tolist()),), frequencies=ends))
    space = controls.spaces(control, LatentSpace(), flattened, power, 0)
    gain = torch.ones(1, 8, 8) if space.gain is None else space.gain.table(8, 8)
    assert float((power * gain.square()).mean()) == pytest.approx(1)
    assert (space.gain is None) == (control == "loss weights")
