import pytest
import torch

from spectrum_matching.spectrum import dct2, idct2
from spectrum_matching.spectrum.gain import apply_gain, dct_frequencies, radial_gain, resample_gain


def test_dct_frequencies_are_those_of_cosines():
    frequencies = dct_frequencies(8, 12)
    assert frequencies[0, 0] == 0
    assert frequencies[1, 0] == 1 / 16  # half a cycle over 8 samples
    assert frequencies[0, 3] == 3 / 24
    assert frequencies[3, 4] == pytest.approx(((3 / 16) ** 2 + (4 / 24) ** 2) ** 0.5)
    cosine = torch.cos(torch.pi * 5 * (torch.arange(12) + 0.5) / 12).expand(8, 12).double()
    peak = dct2(cosine).abs().flatten().argmax()
    assert frequencies.flatten()[peak] == pytest.approx(5 / 24)  # 5 half cycles over 12 samples


def test_apply_gain_is_inverted_by_its_reciprocal(generator):
    field = torch.randn(2, 3, 16, 24, generator=generator)
    gain = dct_frequencies(16, 24).clamp_min(1 / 48)
    there = apply_gain(field, gain)
    assert (there - field).abs().max() > 1
    assert (apply_gain(there, 1 / gain) - field).norm() / field.norm() < 1e-6
    exact = idct2(dct2(field.double()) * gain)
    assert (there - exact).norm() / exact.norm() < 1e-6


def test_apply_gain_of_one_is_the_identity(generator):
    field = torch.randn(3, 9, 7, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(apply_gain(field, torch.ones(3, 9, 7)), field)


def test_apply_gain_under_autocast_stays_in_float32(generator):
    field, gain = torch.randn(2, 16, 16, generator=generator), dct_frequencies(16, 16) + 0.1
    plain = apply_gain(field, gain)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply_gain(field, gain), plain)
    assert apply_gain(field.bfloat16(), gain).dtype == torch.float32


@pytest.mark.parametrize("exponent", [-0.5, 1.0, 1.5])
@pytest.mark.parametrize("grid", [(8, 8), (32, 16), (7, 9)])
def test_radial_gain_of_a_power_law_is_that_law_on_every_grid(exponent, grid):
    ends = torch.tensor([1 / 64, 0.5**0.5], dtype=torch.float64)
    gain = radial_gain(ends, (ends**exponent)[None], *grid)[0]
    expected = dct_frequencies(*grid).clamp_min(1 / 64) ** exponent
    torch.testing.assert_close(gain, expected)


def test_radial_gain_stays_at_its_ends():
    gain = radial_gain(torch.tensor([0.1, 0.2]), torch.tensor([[2.0, 3.0], [5.0, 1.0]]), 16, 16)
    frequencies = dct_frequencies(16, 16)
    assert gain[0][frequencies <= 0.1].eq(gain[0, 0, 0]).all()
    assert gain[0, 0, 0] == pytest.approx(2)
    torch.testing.assert_close(gain[:, -1, -1], torch.tensor([3.0, 1.0]).double())
    assert (gain[0] >= 2 - 1e-9).all()
    assert (gain[0] <= 3 + 1e-9).all()


def test_resample_gain_keeps_a_gain_on_its_own_grid(generator):
    gain = torch.rand(2, 8, 6, generator=generator) + 0.1
    torch.testing.assert_close(resample_gain(gain, 8, 6), gain.double())


def test_resample_gain_takes_the_same_frequencies_of_another_grid():
    gain = torch.exp(torch.arange(8.0)[:, None] / 8 + 2 * torch.arange(4.0) / 4)[None]
    finer = resample_gain(gain, 16, 8)
    torch.testing.assert_close(finer[:, ::2, ::2], gain.double())
    torch.testing.assert_close(finer[0, 1, 0].log(), torch.tensor(0.5 / 8).double())  # halfway between two coefficients
    torch.testing.assert_close(finer[0, 15, 0], gain[0, 7, 0].double())  # above the highest known
