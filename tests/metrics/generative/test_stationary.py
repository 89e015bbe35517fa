import torch

from latents_of_tests import MemoryLatents
from spectrum_matching.metrics.generative.gaussian import fit_gaussian
from spectrum_matching.metrics.generative.model import Fitting
from spectrum_matching.metrics.generative.stationary import fit_stationary, fit_white, ring_means
from spectrum_matching.metrics.images.frechet import frechet_distance
from spectrum_matching.metrics.images.statistics import RunningMoments
from spectrum_matching.spectrum.dct import dct2, idct2
from spectrum_matching.spectrum.power import squared_radii

SHAPE = (2, 4, 4)


def isotropic(n, seed=0):
    """Fields whose power depends on the channel and on frequency alone, with a mean for each channel."""
    radii = squared_radii(4, 4).sqrt()
    amplitude = torch.stack([3 / (1 + radii), 1 / (1 + radii) ** 2])
    white = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return idct2(white * amplitude) + torch.tensor([5.0, -2.0]).view(-1, 1, 1), amplitude


def fitting(latents):
    reference = MemoryLatents(latents)
    return Fitting(reference, reference)


def test_ring_means_average_all_coefficients_of_one_frequency():
    power = torch.arange(16.0).view(4, 4)
    found = ring_means(power)
    assert float(found[0, 0]) == 0
    assert float(found[0, 1]) == float(found[1, 0]) == (1 + 4) / 2
    assert float(found[2, 2]) == 10
    assert found.sum() == power.sum()
    assert float(ring_means(torch.arange(8.0).view(2, 4))[1, 0]) == (4 + 2) / 2  # half a cycle along either axis


def test_stationary_of_isotropic_fields_has_their_power_and_means():
    latents, amplitude = isotropic(20_000)
    model = fit_stationary(fitting(latents))
    drawn = model.sample(range(3000))
    torch.testing.assert_close(drawn.mean((0, 2, 3)), torch.tensor([5.0, -2.0]), atol=0.1, rtol=0)
    power = dct2(drawn - drawn.mean((0, 2, 3), keepdim=True)).square().mean(0)
    torch.testing.assert_close(power, amplitude.square(), rtol=0.15, atol=0)


def test_stationary_equals_the_gaussian_of_isotropic_fields_alone():
    """From the same noise both draw the same latents; of fields that change over positions they do not."""
    latents, _ = isotropic(10_000)
    ramp = latents * torch.linspace(0.1, 2, 4) + torch.linspace(-4, 4, 4)

    def apart(x):
        models = fit_gaussian(fitting(x)), fit_stationary(fitting(x))
        one, other = (RunningMoments().add(model.sample(range(1000)).flatten(1)) for model in models)
        return frechet_distance(one, other) / float(x.var(0).sum())

    assert apart(latents) < 0.002
    assert apart(ramp) > 0.1


def test_stationary_keeps_the_power_of_a_mean_that_changes_over_positions():
    latents, _ = isotropic(2000)
    ramp = latents + torch.linspace(-4, 4, 4)
    models = fit_stationary(fitting(ramp)), fit_white(fitting(ramp))
    about = ramp - ramp.mean((0, 2, 3), keepdim=True)
    for model in models:
        drawn = model.sample(range(1500))
        drawn = drawn - drawn.mean((0, 2, 3), keepdim=True)
        torch.testing.assert_close(drawn.square().mean((0, 2, 3)), about.square().mean((0, 2, 3)), rtol=0.1, atol=0)


def test_white_has_equal_power_at_every_frequency():
    drawn = fit_white(fitting(isotropic(5000)[0])).sample(range(3000))
    power = dct2(drawn - drawn.mean((0, 2, 3), keepdim=True)).square().mean(0)
    assert float((power / power.mean((1, 2), keepdim=True) - 1).abs().max()) < 0.15
