import pytest
import torch

from spectrum_matching.spectrum import directional_energy, directional_spectrum, rmsc, unit_tokens

CASES = [((2, 4, 8, 8), 1), ((3, 2, 6, 9), 3), ((1, 1, 4, 4), 2), ((2, 3, 5, 7), 1)]


def test_rmsc_equals_official_values(official, field):
    assert official["rmsc"]
    for case in official["rmsc"]:
        torch.testing.assert_close(
            rmsc(field(**case["field"]), case["patch"]), torch.tensor(case["rmsc"]), rtol=2e-5, atol=0
        )


@pytest.mark.parametrize(("shape", "patch"), CASES)
def test_rmsc_squared_is_directional_energy(shape, patch, field):
    """Proposition 3.2: three ways to one number."""
    x = field(1, shape).double() + 0.5
    squared = rmsc(x, patch).square()
    torch.testing.assert_close(directional_energy(x, patch), squared)
    torch.testing.assert_close(1 - unit_tokens(x, patch).mean((-2, -1)).square().sum(1), squared)
    assert (squared > 0.01).all()
    assert (squared < 1).all()


@pytest.mark.parametrize(("shape", "patch"), CASES)
def test_directional_spectrum_sums_to_one(shape, patch, field):
    spectrum = directional_spectrum(field(2, shape).double(), patch)
    assert spectrum.shape == (shape[0], shape[2] // patch, shape[3] // patch)
    torch.testing.assert_close(spectrum.sum((-2, -1)), torch.ones(shape[0], dtype=torch.float64))


@pytest.mark.parametrize(("shape", "patch"), CASES)
def test_unit_tokens_have_unit_length_and_hold_one_patch_each(shape, patch, field):
    x = field(3, shape).double()
    tokens = unit_tokens(x, patch)
    torch.testing.assert_close(tokens.norm(dim=1), torch.ones_like(tokens[:, 0]))
    corner = x[:, :, :patch, :patch].flatten(1)
    torch.testing.assert_close(tokens[..., 0, 0], corner / corner.norm(dim=1, keepdim=True))


def test_rmsc_is_invariant_to_scale_and_channel_order_not_to_shift(field):
    x = field(4, (2, 6, 8, 8)).double()
    torch.testing.assert_close(rmsc(100 * x), rmsc(x))
    torch.testing.assert_close(rmsc(x[:, torch.tensor([3, 0, 5, 1, 4, 2])]), rmsc(x))
    assert (rmsc(x + 3) < 0.5 * rmsc(x)).all()


@pytest.mark.parametrize("value", [0.0, 1e-12, 1.0, -300.0])
def test_rmsc_of_a_constant_field_is_zero_with_finite_gradient(value):
    x = torch.full((2, 3, 4, 4), value, requires_grad=True)
    contrast = rmsc(x)
    assert contrast.abs().max() < 1e-6
    contrast.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.unchecked
def test_rmsc_refuses_fields_that_do_not_fit():
    for function in (rmsc, unit_tokens, directional_energy, directional_spectrum):
        with pytest.raises(ValueError, match=r"multiples of 2, got \(1, 3, 4, 5\)"):
            function(torch.ones(1, 3, 4, 5), 2)
        with pytest.raises(ValueError, match=r"\(3, 4, 4\)"):
            function(torch.ones(3, 4, 4))
        with pytest.raises(ValueError, match=r"\(1, 1, 3, 4, 4\)"):
            function(torch.ones(1, 1, 3, 4, 4))
