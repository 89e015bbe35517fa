"""What holds for every function on fields: precision, batches, sizes, gradients, compilation, odd surroundings."""

import pytest
import torch

from spectrum_matching import spectrum as s
from spectrum_matching.spectrum import power

# Functions of a field (b, c, h, w). Filters give a field of the dtype they were given.
FILTERS = {
    "gaussian_blur": lambda x: s.gaussian_blur(x, 1.3),
    "resize bicubic": lambda x: s.resize(x, (3, 4)),
    "resize bilinear": lambda x: s.resize(x, (3, 4), "bilinear", antialias=False),
    "resize area": lambda x: s.resize(x, (3, 4), "area"),
    "difference_of_gaussians": lambda x: s.difference_of_gaussians(x, 0.5, 2),
    "block_lowpass": lambda x: s.block_lowpass(x, 3, block=4),
}
SPECTRA = {
    "dct2": s.dct2,
    "dct2 to a size": lambda x: s.dct2(x, (2, 1)),
    "idct2": s.idct2,
    "power_spectrum": s.power_spectrum,
    "radial_profile": lambda x: s.radial_profile(x, 5, "frequency"),
    "unit_tokens": lambda x: s.unit_tokens(x, 2),
    "rmsc": s.rmsc,
    "rmsc of patches": lambda x: s.rmsc(x, 2),
    "directional_spectrum": s.directional_spectrum,
    "directional_energy": s.directional_energy,
}
BANDS = {
    "flatten_bands": lambda x: s.flatten_bands(x.square(), torch.linspace(0.1, 1, x.shape[-1]), 0.6),
    "spectrum_distribution": lambda x: s.spectrum_distribution(x.square(), log_power=True),
    "kl_divergence": lambda x: s.kl_divergence(
        torch.full_like(x, 1 / x.shape[-1]), s.spectrum_distribution(x.square() + 0.1)
    ),
}
ALL = FILTERS | SPECTRA
ACROSS_CHANNELS = {"unit_tokens", "rmsc", "rmsc of patches", "directional_spectrum", "directional_energy"}

each = pytest.mark.parametrize("name", ALL)


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_spectrum_functions_keep_or_widen_dtype(name, dtype, field):
    x = field(1, (2, 4, 8, 12)).to(dtype)
    kept = dtype if name in FILTERS or dtype == torch.float64 else torch.float32
    y = ALL[name](x)
    assert y.dtype == kept
    assert torch.equal(y, ALL[name](x if dtype == torch.float64 else x.float()).to(kept))


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spectrum_functions_are_unchanged_by_autocast(name, dtype, field):
    x = field(2, (2, 4, 8, 12)).to(dtype)
    outside = ALL[name](x)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ALL[name](x)
    assert inside.dtype == outside.dtype
    assert torch.equal(inside, outside)


@each
def test_spectrum_functions_in_float32_are_close_to_float64(name, field):
    x = field(3, (2, 4, 32, 24))
    torch.testing.assert_close(ALL[name](x).double(), ALL[name](x.double()), rtol=1e-4, atol=1e-5)


@each
def test_spectrum_functions_treat_batch_items_independently(name, field):
    x = field(4, (3, 4, 8, 12)).double()
    together = ALL[name](x)
    torch.testing.assert_close(together, torch.cat([ALL[name](item[None]) for item in x]))
    other = x.clone()
    other[1] = 100
    torch.testing.assert_close(ALL[name](other)[[0, 2]], together[[0, 2]])


@pytest.mark.parametrize("name", sorted(ALL.keys() - ACROSS_CHANNELS))
def test_spectrum_functions_treat_leading_axes_equally(name, field):
    x = field(5, (2, 3, 8, 12)).double()
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(ALL[name](x[:, order]), ALL[name](x)[:, order])
    torch.testing.assert_close(ALL[name](x[0, 0]), ALL[name](x)[0, 0])
    torch.testing.assert_close(ALL[name](x[None, None]), ALL[name](x)[None, None])


@each
def test_spectrum_functions_do_not_depend_on_memory_layout(name, field):
    x = field(6, (2, 4, 12, 8)).double()
    expected = ALL[name](x)
    torch.testing.assert_close(ALL[name](x.contiguous(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(ALL[name](x.mT.contiguous().mT), expected)


@pytest.mark.parametrize("name", sorted(ALL | BANDS))
def test_spectrum_functions_pass_gradcheck(name, field):
    x = (field(7, (1, 2, 4, 4)).double() + 0.3).requires_grad_()
    assert torch.autograd.gradcheck((ALL | BANDS)[name], x)


@each
@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (3, 1), (2, 2), (5, 3), (7, 9), (4, 6), (33, 8)])
def test_spectrum_functions_take_or_refuse_any_size(name, grid, field):
    h, w = grid
    x = field(8, (2, 3, h, w))
    divisor = {"block_lowpass": 4, "unit_tokens": 2, "rmsc of patches": 2}.get(name, 1)
    fits = h % divisor == 0 and w % divisor == 0 and (name != "dct2 to a size" or h >= 2)
    if fits:
        assert ALL[name](x).isfinite().all()
    else:
        with pytest.raises(ValueError, match=rf"{h} x {w}|, {h}, {w}\)"):
            ALL[name](x)


@pytest.mark.unchecked
@each
def test_spectrum_functions_refuse_what_is_no_field(name):
    with pytest.raises(ValueError, match=r"torch\.int64"):
        ALL[name](torch.ones(1, 2, 4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected a tensor, got list"):
        ALL[name]([[0.0] * 4] * 4)
    with pytest.raises(ValueError, match=r"torch\.complex64"):
        ALL[name](torch.ones(1, 2, 4, 4, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"got \(4,\)"):
        ALL[name](torch.ones(4))
    with pytest.raises(ValueError, match=r"got \(1, 2, 0, 4\)"):
        ALL[name](torch.ones(1, 2, 0, 4))


@each
def test_spectrum_functions_first_called_in_inference_mode_give_gradients(name, field):
    x = field(9, (1, 2, 20, 28))  # a size of which no other test asks
    with torch.inference_mode():
        ALL[name](x)
    x.requires_grad_()
    ALL[name](x).float().square().sum().backward()
    assert x.grad.isfinite().all()


@each
@pytest.mark.parametrize(
    ("grid", "surroundings"),
    [
        ((36, 44), "autocast"),
        ((40, 44), "default device"),
        ((44, 44), "default dtype float16"),
        ((48, 44), "default dtype float64"),
        ((52, 44), "no grad"),
    ],
)
def test_constant_does_not_depend_on_context_of_first_use(name, grid, surroundings, field):
    x = field(10, (1, 2, *grid))  # sizes of which no other test asks
    power._radial_bins.cache_clear()
    dtype = torch.get_default_dtype()
    try:
        if surroundings == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                first = ALL[name](x)
        elif surroundings == "default device":
            torch.set_default_device("meta")
            first = ALL[name](x)
        elif surroundings == "no grad":
            with torch.no_grad():
                first = ALL[name](x)
        else:
            torch.set_default_dtype(getattr(torch, surroundings.rpartition(" ")[2]))
            first = ALL[name](x)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(dtype)
    power._radial_bins.cache_clear()
    torch.testing.assert_close(first.double(), ALL[name](x.double()), rtol=1e-4, atol=1e-4)


def test_radial_bins_are_exact_under_a_coarse_default_dtype():
    build = power._radial_bins.__wrapped__
    try:
        torch.set_default_dtype(torch.float16)
        coarse = build(31, 17, 9, "frequency")
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(coarse, build(31, 17, 9, "frequency"), strict=True))
    assert coarse.frequencies.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.parametrize("name", sorted(ALL | BANDS))
def test_spectrum_functions_compile_without_graph_breaks(name, field):
    torch._dynamo.reset()
    function = (ALL | BANDS)[name]
    x = field(11, (2, 4, 8, 16)).requires_grad_()
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    y = compiled(x)
    torch.testing.assert_close(y, function(x))
    (compiled_grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(compiled_grad, torch.autograd.grad(function(x).sum(), x)[0])


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.parametrize("name", ["difference_of_gaussians", "radial_profile"])
def test_spectrum_functions_compile_for_dynamic_sizes(name, field):
    torch._dynamo.reset()
    compiled = torch.compile(ALL[name], backend="eager", fullgraph=True, dynamic=True)
    for shape in ((2, 4, 8, 16), (3, 4, 12, 16), (1, 4, 20, 8)):
        x = field(12, shape)
        torch.testing.assert_close(compiled(x), ALL[name](x))
