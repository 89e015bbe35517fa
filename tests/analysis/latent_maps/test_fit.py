import pytest
import torch
from torch.nn import functional as F

from spectrum_matching.analysis.latent_maps.fit import NormalEquations, neighbourhoods
from spectrum_matching.nets.autoencoder.mapped import LatentMap


def fields(generator, n=12, channels=3, side=8):
    """Smooth random fields with means and scales of their own: neighbours tell of one another, as in latents."""
    noise = torch.randn(n, channels, side + 2, side + 2, generator=generator, dtype=torch.float64)
    scale = torch.tensor([1.0, 0.1, 30.0], dtype=torch.float64)[:channels, None, None]
    return F.avg_pool2d(noise, 3, stride=1) * scale + torch.arange(channels)[:, None, None]


def equations_of(source, target, kernel=3, batch_size=5):
    equations = NormalEquations(kernel)
    for batch in zip(source.split(batch_size), target.split(batch_size), strict=True):
        equations.add(*batch)
    return equations


@pytest.mark.parametrize("kernel", [1, 3])
def test_fit_finds_a_map_of_its_kind(kernel, generator):
    source = fields(generator)
    conv = LatentMap((3, 4), kernel).double().requires_grad_(False)
    equations = equations_of(source, conv(source))
    weights = equations.fit(kernel)
    assert torch.allclose(weights[:, -1], conv.conv.bias, atol=1e-3)
    assert torch.allclose(weights @ neighbourhoods(source, kernel), conv(source).flatten(2), atol=1e-4)
    assert equations.squared_error(kernel) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kernel", [1, 3])
def test_held_out_fits_are_fits_to_the_other_images(kernel, generator):
    source = fields(generator)
    target = torch.randn(12, 2, 8, 8, generator=generator)
    fits = equations_of(source, target).held_out_fits(kernel)
    assert len(fits) == 12
    others = [i for i in range(12) if i != 4]
    assert torch.allclose(fits[4], equations_of(source[others], target[others]).fit(kernel), atol=1e-10)
    # Numpy's least squares, of which the ridge's share is a millionth.
    inputs = neighbourhoods(source[others], kernel).mT.flatten(0, 1)
    exact = torch.linalg.lstsq(inputs, target[others].double().flatten(2).mT.flatten(0, 1)).solution.mT
    assert torch.allclose(fits[4] @ inputs.mT, exact @ inputs.mT, atol=1e-4)


def test_one_pass_for_neighbourhoods_serves_single_positions(generator):
    source, target = fields(generator), torch.randn(12, 2, 8, 8, generator=generator)
    wide, narrow = (equations_of(source, target, kernel) for kernel in (3, 1))
    assert torch.allclose(wide.fit(1), narrow.fit(1), atol=1e-12)
    assert wide.squared_error(1) == pytest.approx(narrow.squared_error(1))
    assert wide.squared_error(3) < wide.squared_error(1)


def test_squared_error_is_that_of_the_fit(generator):
    source, target = fields(generator), torch.randn(12, 2, 8, 8, generator=generator)
    equations = equations_of(source, target)
    left = target.double().flatten(2) - equations.fit(3) @ neighbourhoods(source, 3)
    assert equations.squared_error(3) == pytest.approx(float(left.square().sum()))


def test_cosines_are_correlations_of_channels(generator):
    source = fields(generator)
    target = source + torch.randn(source.shape, generator=generator)
    target[:, 1] = -2 * source[:, 1] + 5
    flat = (each.transpose(0, 1).flatten(1) for each in (source, target))
    expected = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(*flat, strict=True)]
    found = equations_of(source, target).cosines()
    assert [float(cosine) for cosine in found] == pytest.approx(expected)
    assert float(found[1]) == pytest.approx(-1)
    assert all(0 <= cosine.standard_error < 0.2 for cosine in found)


def test_constant_channels_have_no_cosine_and_are_solved_for(generator):
    source = fields(generator)
    target = source.clone()
    source[:, 2] = 0.1
    equations = equations_of(source, target)
    assert equations.cosines()[2].refused == "a channel is constant"
    assert equations.fit(3).isfinite().all()
    copies = torch.cat([fields(generator)] * 2, 1)
    assert equations_of(copies, target).fit(3).isfinite().all()
