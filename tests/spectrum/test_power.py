import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_matching.spectrum import dct2, power_spectrum, radial_bins, radial_profile


def test_radial_profile_equals_official_values(official, field):
    assert official["psd"]
    for case in official["psd"]:
        x = field(**case["field"])
        power = power_spectrum(x - x.mean((-2, -1), keepdim=True)).mean(1)
        power[:, 0, 0] = 0
        bands = radial_profile(power, case["bins"])
        torch.testing.assert_close(bands, torch.tensor(case["radial_power"]), rtol=2e-5, atol=1e-9)
        torch.testing.assert_close(power[:, 2, 3], torch.tensor(case["dct_2_3"]), rtol=2e-5, atol=1e-9)


def test_power_spectrum_is_the_squared_dct(field):
    x = field(0, (2, 3, 9, 6))
    assert torch.equal(power_spectrum(x), dct2(x) ** 2)
    assert torch.equal(power_spectrum(x, size=(4, 3)), dct2(x, (4, 3)) ** 2)


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 30), w=st.integers(1, 30), bins=st.integers(1, 20), radius=st.sampled_from(["index", "frequency"])
)
def test_radial_bins_partition_the_grid_outwards(h, w, bins, radius):
    rings, counts, centres, frequencies = radial_bins(h, w, bins, radius)
    assert counts.sum() == h * w
    assert torch.equal(rings.flatten().bincount(minlength=bins), counts)
    assert rings[0, 0] == 0
    assert rings.max() <= bins - 1
    assert (rings.diff(dim=0) >= 0).all()
    assert (rings.diff(dim=1) >= 0).all()
    if h * w > 1:
        assert rings[-1, -1] == bins - 1
        assert frequencies[0] > 0
        assert radius == "index" or (frequencies.diff() > 0).all()
        assert frequencies[-1] <= math.hypot(0.5, 0.5)
    torch.testing.assert_close(centres, (torch.arange(bins).double() + 0.5) / bins)


@pytest.mark.parametrize("radius", ["index", "frequency"])
@pytest.mark.parametrize("grid", [(16, 16), (12, 20), (7, 5)])
def test_radial_bins_equal_exact_arithmetic(grid, radius):
    """floor(bins · r / r_corner), decided on integers, edges included."""
    h, w = grid
    bins = 16
    for u in range(h):
        for v in range(w):
            a, b = (u * w, v * h) if radius == "frequency" else (u, v)
            p, q = ((h - 1) * w, (w - 1) * h) if radius == "frequency" else (h - 1, w - 1)
            expected = min(math.isqrt(bins**2 * (a * a + b * b) // (p * p + q * q)), bins - 1)
            assert radial_bins(h, w, bins, radius).rings[u, v] == expected


def test_radial_bins_radii_agree_on_squares_only():
    assert torch.equal(radial_bins(24, 24, 16, "index").rings, radial_bins(24, 24, 16, "frequency").rings)
    assert not torch.equal(radial_bins(16, 32, 16, "index").rings, radial_bins(16, 32, 16, "frequency").rings)


def test_radial_bins_by_frequency_are_isotropic():
    """Along both axes Nyquist is the same frequency, so both ends of the grid are in (nearly) the same ring."""
    rings = radial_bins(32, 64, 16, "frequency").rings
    assert abs(int(rings[-1, 0]) - int(rings[0, -1])) <= 1
    by_index = radial_bins(32, 64, 16, "index").rings
    assert abs(int(by_index[-1, 0]) - int(by_index[0, -1])) > 5


def test_radial_bins_do_not_overflow_on_large_grids():
    rings, counts, *_ = radial_bins(1, 1 << 16, 256, "frequency")
    assert rings.min() == 0
    assert counts.min() >= 255


@pytest.mark.parametrize("grid", [(16, 16), (11, 30)])
def test_radial_profile_is_the_mean_over_each_ring(grid, field):
    power = field(4, (3, 2, *grid)).double().square()
    rings = radial_bins(*grid, 16).rings
    bands = radial_profile(power)
    for k in range(16):
        inside = power[..., rings == k]
        expected = inside.mean(-1) if inside.shape[-1] else torch.zeros(3, 2, dtype=torch.float64)
        torch.testing.assert_close(bands[..., k], expected)


def test_radial_profile_weighted_by_counts_is_the_energy(field):
    power = power_spectrum(field(5, (4, 20, 13)).double())
    counts = radial_bins(20, 13).counts.double()
    torch.testing.assert_close(radial_profile(power) @ counts, power.sum((-2, -1)))


def test_radial_profile_leaves_dc_out_of_sum_and_count(field):
    power = field(6, (16, 16)).double().square() + 1
    with_dc, without = radial_profile(power, 8), radial_profile(power, 8, drop_dc=True)
    n = radial_bins(16, 16, 8).counts[0]
    torch.testing.assert_close(without[0], (with_dc[0] * n - power[0, 0]) / (n - 1))
    assert torch.equal(without[1:], with_dc[1:])
    power[0, 0] = 1e6
    torch.testing.assert_close(radial_profile(power, 8, drop_dc=True), without)


@pytest.mark.parametrize("grid", [(16, 16), (64, 48), (256, 256)])
def test_radial_bins_frequencies_fit_an_inverse_square_spectrum(grid):
    h, w = grid
    f = np.hypot(np.arange(h)[:, None] / (2 * h), np.arange(w) / (2 * w))
    f[0, 0] = np.inf
    bands = radial_profile(torch.from_numpy(f**-2.0), 16, "frequency", drop_dc=True)
    torch.testing.assert_close(bands, radial_bins(h, w, 16, "frequency").frequencies ** -2)


@pytest.mark.unchecked
def test_radial_bins_refuse_impossible_arguments():
    with pytest.raises(ValueError, match="0 x 4 and 16"):
        radial_bins(0, 4)
    with pytest.raises(ValueError, match="4 x 4 and 0"):
        radial_profile(torch.ones(4, 4), 0)
    with pytest.raises(ValueError, match="'diagonal'"):
        radial_profile(torch.ones(4, 4), radius="diagonal")


def test_writing_into_radial_bins_changes_no_later_ones():
    first = radial_bins(8, 8)
    first.frequencies.zero_()
    assert radial_bins(8, 8).frequencies.any()
