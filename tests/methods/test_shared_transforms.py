import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from spectrum_matching.methods import Downscale, Identity, ScaleRotate, SpectralMask
from spectrum_matching.methods.shared_transforms import IdentityMap, Lowpass, ScaleTurn
from spectrum_matching.spectrum import block_lowpass, sequence_lowpass

TRANSFORMS = [Identity(), SpectralMask(), Downscale(), ScaleRotate(), ScaleRotate(probability=1.0)]

each = pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)


def draws(transform, grid, n=2000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [transform.draw(generator, grid) for _ in range(n)]


def assert_uniform(values, options, n):
    """Each option within five standard deviations of its share of n draws."""
    share = 1 / len(options)
    margin = 5 * (n * share * (1 - share)) ** 0.5
    assert set(values) == set(options)
    assert all(abs(values.count(option) - n * share) < margin for option in options)


@each
def test_draw_is_decided_by_the_seed(transform):
    assert draws(transform, (16, 24), 50, seed=1) == draws(transform, (16, 24), 50, seed=1)
    if not isinstance(transform, Identity):
        assert draws(transform, (16, 24), 50, seed=1) != draws(transform, (16, 24), 50, seed=2)


@each
def test_draw_leaves_the_global_generator_alone(transform):
    before = torch.get_rng_state()
    draws(transform, (16, 16), 5)
    assert torch.equal(torch.get_rng_state(), before)


@each
@pytest.mark.parametrize("factor", [1, 2, 8])
@pytest.mark.parametrize("grid", [(8, 8), (16, 24), (32, 8)])
def test_transforms_scale_latents_and_images_equally(transform, factor, grid):
    """Also on grids that are not square and after odd turns."""
    h, w = grid
    latents, images = torch.zeros(2, 4, h, w), torch.zeros(2, 3, factor * h, factor * w)
    for move in set(draws(transform, grid, 60)):
        moved = move(latents)
        assert moved.shape[:2] == (2, 4)
        assert min(moved.shape) >= 1
        assert tuple(factor * n for n in moved.shape[2:]) == tuple(move(images).shape[2:])


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_transforms_keep_dtype_under_autocast(transform, dtype, field):
    x = field(1, (1, 3, 16, 16)).to(dtype)
    for move in set(draws(transform, (16, 16), 10)):
        moved = move(x)
        assert moved.dtype == dtype
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(move(x), moved)


@each
def test_transforms_are_linear_and_treat_items_and_channels_equally(transform, field):
    x, y = field(2, (2, 4, 16, 8)).double(), field(3, (2, 4, 16, 8)).double()
    for move in set(draws(transform, (16, 8), 20)):
        torch.testing.assert_close(move(2 * x - y), 2 * move(x) - move(y))
        torch.testing.assert_close(move(x[:, [2, 0, 3, 1]]), move(x)[:, [2, 0, 3, 1]])
        torch.testing.assert_close(move(x[1:]), move(x)[1:])


@pytest.mark.parametrize("move", [IdentityMap(), Lowpass(3, 4), ScaleTurn(1, 2), ScaleTurn(3, 4, 3)], ids=repr)
def test_transforms_pass_gradcheck(move, field):
    x = field(4, (1, 1, 4, 8)).double().requires_grad_()
    assert torch.autograd.gradcheck(move, x)


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("move", [Lowpass(5, 8), ScaleTurn(1, 2, 1)], ids=repr)
def test_transforms_compile_without_graph_breaks(move, dynamic, field):
    torch._dynamo.reset()
    compiled = torch.compile(move, backend="eager" if dynamic else "aot_eager", fullgraph=True, dynamic=dynamic)
    for shape in [(2, 4, 16, 16), (3, 4, 24, 16)] if dynamic else [(2, 4, 16, 16)]:
        x = field(5, shape)
        torch.testing.assert_close(compiled(x), move(x))


# Each family


def test_identity_returns_its_input():
    x = torch.zeros(1, 3, 5, 7)
    assert Identity().draw(torch.Generator(), (5, 7))(x) is x


def test_spectral_mask_samples_keep_uniformly():
    assert_uniform([move.keep for move in draws(SpectralMask(), (16, 16))], (15, 7, 5, 3), 2000)


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        ({}, (15, 7, 5, 3)),
        ({"block": 16}, (31, 14, 10, 6)),
        ({"block": 4}, (7, 3, 2, 1)),
        ({"block": 2}, (3, 1)),
        ({"block": 1}, (1,)),
        ({"axis": -1}, (8, 7, 5, 3)),
        ({"axis": 1, "block": 4}, (4, 3, 2, 1)),
    ],
)
def test_spectral_mask_scales_the_published_strengths_to_its_block(options, keep):
    mask = SpectralMask(**options)
    assert mask == SpectralMask(keep=keep, **options)
    assert mask.keep == keep


def test_spectral_mask_is_block_lowpass_on_latents_and_images(field):
    latents, images = field(6, (1, 4, 8, 16)), field(7, (1, 3, 64, 128))
    for move in set(draws(SpectralMask(), (8, 16), 50)):
        assert torch.equal(move(latents), block_lowpass(latents, move.keep))
        assert torch.equal(move(images), block_lowpass(images, move.keep))


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), block=st.sampled_from([1, 2, 4, 8]))
def test_spectral_mask_refuses_grids_that_do_not_divide(h, w, block):
    mask = SpectralMask((1,), block)
    if h % block or w % block:
        with pytest.raises(ValueError, match=f"{h} x {w} latent grid does not divide into blocks of {block}"):
            mask.draw(torch.Generator(), (h, w))
    else:
        assert mask.draw(torch.Generator(), (h, w))(torch.zeros(1, 1, h, w)).shape == (1, 1, h, w)


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 64), w=st.integers(1, 64), factors=st.sets(st.integers(1, 8), min_size=1).map(tuple))
def test_downscale_samples_only_factors_that_divide_the_grid(h, w, factors):
    legal = {n for n in factors if h % n == 0 and w % n == 0}
    if legal - {1} or set(factors) == {1}:
        assert {move.denominator for move in draws(Downscale(factors), (h, w), 40)} <= legal
    else:
        with pytest.raises(ValueError, match=f"above 1 divides a {h} x {w} latent grid"):
            Downscale(factors).draw(torch.Generator(), (h, w))


def test_downscale_is_bilinear_by_uniform_factors(field):
    x = field(8, (2, 3, 24, 48))
    moves = draws(Downscale(), (24, 48))
    assert_uniform([move.denominator for move in moves], (2, 3, 4), 2000)
    assert_uniform([move.denominator for move in draws(Downscale(), (16, 32))], (2, 4), 2000)
    for move in set(moves):
        published = interpolate(x, scale_factor=1 / move.denominator, mode="bilinear", align_corners=False)
        torch.testing.assert_close(move(x), published)


@pytest.mark.parametrize(
    ("numerator", "bilinear", "bicubic"), [(8, 0.245, 0.043), (16, 0.251, 0.168), (31, 0.446, 0.626)]
)
def test_scale_turn_leaves_the_published_variance_of_white_noise(numerator, bilinear, bicubic, field):
    """Recorded with EQ-VAE's own code; its bilinear interpolation without antialiasing folds noise back."""
    noise = field(10, (8, 4, 64, 64))
    move = ScaleTurn(numerator, 32)
    published = interpolate(noise, scale_factor=numerator / 32, mode="bilinear", align_corners=False)
    torch.testing.assert_close(move(noise), published, rtol=0, atol=1e-4)
    assert float(move(noise).var()) == pytest.approx(bilinear, rel=0.05)
    antialiased = ScaleTurn(numerator, 32, 0, "bicubic", antialias=True)(noise)
    assert float(antialiased.var()) == pytest.approx(bicubic, rel=0.05)


def test_scale_rotate_and_downscale_pass_their_interpolation_on():
    for family in (
        ScaleRotate(probability=1, interpolation="bicubic", antialias=True),
        Downscale((2,), "bicubic", True),
    ):
        move = family.draw(torch.Generator(), (32, 32))
        assert (move.interpolation, move.antialias) == ("bicubic", True)


def test_scale_rotate_samples_uniformly_with_the_given_probability():
    moves = draws(ScaleRotate(probability=0.3), (32, 32), 4000)
    moved = [move for move in moves if isinstance(move, ScaleTurn)]
    assert abs(len(moved) - 0.3 * 4000) < 5 * (4000 * 0.3 * 0.7) ** 0.5
    assert_uniform([move.numerator for move in moved], tuple(range(8, 32)), len(moved))
    assert_uniform([move.turns for move in moved], (1, 2, 3), len(moved))


def test_scale_rotate_probability_does_not_shift_later_draws():
    assert all(isinstance(move, IdentityMap) for move in draws(ScaleRotate(probability=0), (16, 16)))
    always = draws(ScaleRotate(probability=1), (16, 16))
    assert all(isinstance(move, ScaleTurn) for move in always)
    sometimes = draws(ScaleRotate(probability=0.5), (16, 16))
    assert all(a == b for a, b in zip(sometimes, always, strict=True) if isinstance(a, ScaleTurn))


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 64), w=st.integers(1, 64))
def test_scale_rotate_samples_only_scales_to_whole_grids(h, w):
    legal = {n for n in range(8, 32) if h * n % 32 == 0 and w * n % 32 == 0}
    transform = ScaleRotate(probability=1)
    if legal:
        moves = draws(transform, (h, w), 60)
        assert {move.numerator for move in moves} <= legal
        x = torch.zeros(1, 1, h, w)
        for move in set(moves):
            size = (h * move.numerator // 32, w * move.numerator // 32)
            assert move(x).shape[2:] == (size if move.turns == 2 else size[::-1])
    else:
        with pytest.raises(ValueError, match=f"{h} x {w} latent grid"):
            transform.draw(torch.Generator(), (h, w))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_scale_turn_rotates(turns, field):
    x = field(9, (1, 2, 3, 5))
    assert torch.equal(ScaleTurn(1, 1, turns)(x), torch.rot90(x, turns, (-2, -1)))
    back = ScaleTurn(1, 1, 4 - turns)
    assert torch.equal(back(ScaleTurn(1, 1, turns)(x)), x)


@pytest.mark.parametrize(
    ("make", "arrived"),
    [
        (lambda: SpectralMask(()), r"\(\)"),
        (lambda: SpectralMask((7, 16)), r"\(7, 16\)"),
        (lambda: SpectralMask((0,)), r"\(0,\)"),
        (lambda: SpectralMask((7,), block=2), r"1 \.\.\. 3 for block 2, got \(7,\); leave keep out"),
        (lambda: SpectralMask((9,), axis=-1), r"1 \.\.\. 8 for block 8 along one axis, got \(9,\); leave keep out"),
        (lambda: SpectralMask(block=0), "block 0"),
        (lambda: Downscale(()), r"\(\)"),
        (lambda: Downscale((2, 0)), r"\(2, 0\)"),
        (lambda: ScaleRotate(probability=1.5), "1.5"),
        (lambda: ScaleRotate(scales=()), r"\(\)"),
        (lambda: ScaleRotate(turns=()), r"\(\)"),
        (lambda: ScaleRotate(scales=(0,)), r"\(0,\)"),
        (lambda: ScaleRotate(denominator=0), "denominator 0"),
    ],
)
def test_shared_transforms_refuse_impossible_arguments(make, arrived):
    with pytest.raises(ValueError, match=arrived):
        make()


# Other latents than fields (b, c, h, w)

MOVED = [SpectralMask((3,)), Downscale((2,)), ScaleRotate(probability=1.0)]
moving = pytest.mark.parametrize("transform", MOVED, ids=repr)


@moving
@pytest.mark.parametrize("shape", [(2, 64, 8), (2, 8, 64), (2, 64, 64), (64, 8)])
def test_transforms_never_touch_tokens(transform, shape):
    """Also where a grid was said, or taken from the tokens' own shape, and every side divides."""
    for grid in ((8, 8), shape[-2:]):
        move = transform.draw(torch.Generator(), grid)
        with pytest.raises(ValueError, match=r"expected latents or images \(b, c, h, w\), got .*SpectralMask\(axis="):
            move(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"expected a latent grid \(h, w\), got \(64,\); for sequences"):
        transform.draw(torch.Generator(), (64,))


@moving
def test_transforms_refuse_a_plane_that_is_not_the_grids(transform):
    move = transform.draw(torch.Generator(), (8, 16))
    move(torch.zeros(1, 3, 64, 128))
    for shape in [(2, 8, 16, 8), (2, 64, 128, 3), (2, 3, 128, 64), (2, 3, 12, 24)]:
        with pytest.raises(ValueError, match="a transform for latents of 8 x 16, or a whole multiple of it, was given"):
            move(torch.zeros(shape))


@moving
@pytest.mark.unchecked
def test_transforms_refuse_a_posterior_and_no_generator(transform):
    with pytest.raises(ValueError, match=r"generator is None.*torch.Generator\(\).manual_seed\(0\)"):
        transform.draw(None, (8, 8))
    with pytest.raises(ValueError, match="got Generator: of a posterior give a sample or the mean"):
        transform.draw(torch.Generator(), (8, 8))(torch.Generator())


@pytest.mark.parametrize(("axis", "latents", "signals"), [(-1, (2, 4, 16), (2, 1, 128)), (1, (2, 16, 4), (2, 128, 1))])
def test_spectral_mask_lowpasses_sequences_along_the_axis_that_is_said(axis, latents, signals, field):
    mask = SpectralMask((8, 5, 3), axis=axis)
    moves = draws(mask, (16,), 60)
    assert {move.keep for move in moves} == {8, 5, 3}
    for move in set(moves):
        for x in (field(11, latents), field(12, signals)):
            assert torch.equal(move(x), sequence_lowpass(x, move.keep, 8, axis))


@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (2, 3, 32, 32)), (0, (16, 4, 8)), (-3, (16, 4, 8)), (2, (8, 8)), (1, (8,))]
)
def test_spectral_mask_of_sequences_refuses_fields_and_the_batch(axis, shape):
    with pytest.raises(ValueError, match=rf"expected sequences \(b, c, n\) or \(b, n, d\) along axis {axis}"):
        SpectralMask((3,), axis=axis).draw(torch.Generator(), (16,))(torch.zeros(shape))
