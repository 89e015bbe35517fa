import pytest
import scipy.fft
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from spectrum_matching.methods import (
    ESM,
    KL,
    Downscale,
    FeatureMatch,
    ScaleRotate,
    SpectralMask,
    spectrum_distributions,
)
from spectrum_matching.methods.encoding_losses import spectrum_bands
from spectrum_matching.spectrum import idct2, kl_divergence

VARIANTS = ["paper", "scale_free"]
SCALES = [0.01, 0.1, 1.0, 10.0, 100.0]

both = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture
def pair(field):
    """Latents and images of one batch."""
    return field(1, (3, 4, 16, 16), 1.0), field(2, (3, 3, 64, 64), 2.0)


def from_functional(latents, images, options):
    return spectrum_distributions(
        latents,
        images,
        delta=options["delta"],
        bins=options["n_bins"],
        variant="paper",
        drop_dc=options["remove_dc"],
        log_power=options["log_power"],
    )


# The official values


@pytest.mark.parametrize("index", range(8))
def test_spectrum_distributions_paper_variant_equals_official_values(index, official, field):
    assert len(official["esm"]) == 8
    case = official["esm"][index]
    latents = field(**case["latent"]).requires_grad_()
    target, actual = from_functional(latents, field(**case["image"]), case["options"])
    loss = kl_divergence(target, actual).mean()
    loss.backward()
    torch.testing.assert_close(target, torch.tensor(case["image_distribution"]), rtol=2e-5, atol=0)
    torch.testing.assert_close(actual.detach(), torch.tensor(case["latent_distribution"]), rtol=2e-5, atol=0)
    assert loss.item() == pytest.approx(case["loss"], rel=2e-5)
    assert latents.grad.norm().item() == pytest.approx(case["grad_norm"], rel=1e-4)


def test_esm_equals_official_values(official, field):
    count = 0
    for case in official["esm"]:
        options = case["options"]
        if options["remove_dc"] and options["log_power"]:
            loss = ESM(options["delta"], options["n_bins"], "paper")
            value = loss(None, field(**case["latent"]), field(**case["image"]))
            assert value.item() == pytest.approx(case["loss"], rel=2e-5)
            count += 1
    assert count == 6


# Identities


@both
def test_esm_is_the_mean_divergence_of_its_distributions(variant, pair):
    loss = ESM(0.7, 12, variant)
    target, actual = loss.distributions(*pair)
    assert target.shape == actual.shape == (3, 12)
    torch.testing.assert_close(target.sum(1), torch.ones(3))
    torch.testing.assert_close(actual.sum(1), torch.ones(3))
    assert torch.equal(loss(None, *pair), kl_divergence(target, actual).mean())


@both
def test_esm_target_has_no_gradient(variant, pair):
    target, actual = ESM(variant=variant).distributions(pair[0].requires_grad_(), pair[1])
    assert actual.requires_grad
    assert not target.requires_grad


@both
def test_esm_of_a_signal_with_itself_is_zero_without_flattening(variant, pair):
    """Where the grids agree, nothing is blurred or resized (the paper's code spares 32 x 32 the blur)."""
    _, images = pair
    images = images[..., :32, :32].contiguous()
    torch.testing.assert_close(ESM(0, 16, variant)(None, images, images), torch.tensor(0.0), rtol=0, atol=1e-6)
    assert ESM(1, 16, variant)(None, images, images) > 0.05


@both
def test_spectrum_distributions_delta_raises_target_frequencies(variant, pair):
    targets, actuals = zip(*(ESM(delta, 16, variant).distributions(*pair) for delta in (0, 0.5, 1, 2)), strict=True)
    centroids = [(target @ torch.arange(16.0)).mean().item() for target in targets]
    assert centroids == sorted(set(centroids))
    assert all(torch.equal(actual, actuals[0]) for actual in actuals)


@both
def test_spectrum_bands_give_spectrum_distributions(variant, pair):
    bands = spectrum_bands(*pair, variant=variant)
    target, actual = spectrum_distributions(*pair, delta=0, variant=variant, log_power=False)
    torch.testing.assert_close(bands.images / bands.images.sum(1, keepdim=True), target)
    torch.testing.assert_close(bands.latents / bands.latents.sum(1, keepdim=True), actual)


@both
def test_spectrum_distributions_without_dc_equal_centred_ones(variant, pair):
    latents, images = pair
    moved = latents + 5, images + 0.3
    centred = [x - x.mean((-2, -1), keepdim=True) for x in moved]
    for delta in (0.0, 1.0):
        loss = ESM(delta, 16, variant)
        torch.testing.assert_close(loss(None, *centred), loss(None, latents, images), rtol=1e-3, atol=1e-5)
        if variant == "scale_free":
            torch.testing.assert_close(loss(None, *moved), loss(None, latents, images), rtol=1e-3, atol=1e-5)


# Invariances, both ways


@both
def test_esm_of_a_batch_is_the_mean_over_items(variant, pair):
    latents, images = pair
    loss = ESM(variant=variant)
    alone = torch.stack([loss(None, latents[i : i + 1], images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(loss(None, latents, images), alone.mean())
    target, actual = loss.distributions(latents, images)
    louder = latents * torch.tensor([1, 1000, 1]).view(3, 1, 1, 1)
    torch.testing.assert_close(loss.distributions(louder, images)[1][[0, 2]], actual[[0, 2]])
    torch.testing.assert_close(loss.distributions(latents, images.roll(1, 0))[0], target.roll(1, 0))


@both
def test_esm_is_invariant_to_channel_order(variant, pair):
    latents, images = pair
    loss = ESM(variant=variant)
    shuffled = loss(None, latents[:, [2, 0, 3, 1]], images[:, [2, 0, 1]])
    torch.testing.assert_close(shuffled, loss(None, latents, images))


@pytest.mark.parametrize("scale", SCALES)
def test_esm_scale_free_is_invariant_to_scale(scale, pair):
    latents, images = pair
    loss = ESM(variant="scale_free")
    torch.testing.assert_close(loss(None, scale * latents, images), loss(None, latents, images), rtol=1e-4, atol=0)
    torch.testing.assert_close(loss(None, latents, scale * images), loss(None, latents, images), rtol=1e-4, atol=0)


def test_esm_paper_depends_on_scale(pair):
    latents, images = pair
    loss = ESM(variant="paper")
    plain = loss(None, latents, images)
    for scale in (0.01, 0.1, 10, 100):
        assert abs(loss(None, scale * latents, images) - plain) > 0.1 * plain
        assert abs(loss(None, latents, scale * images) - plain) > 0.1 * plain


def test_esm_target_is_resolution_independent_only_if_scale_free(pair):
    """The same picture on twice the pixels, nothing added above the old Nyquist frequency."""
    latents, images = pair
    finer = torch.zeros(3, 3, 128, 128)
    finer[..., :64, :64] = 2 * torch.from_numpy(scipy.fft.dctn(images.numpy(), axes=(-2, -1), norm="ortho"))
    finer = idct2(finer)
    for variant in VARIANTS:
        coarse_target, fine_target = (ESM(variant=variant).distributions(latents, x)[0] for x in (images, finer))
        if variant == "scale_free":
            torch.testing.assert_close(fine_target, coarse_target, rtol=1e-3, atol=1e-6)
        else:
            assert (fine_target - coarse_target).abs().max() > 0.01


@both
def test_esm_is_float32_or_float64_for_any_precision(variant, pair):
    latents, images = pair
    loss = ESM(variant=variant)
    assert loss(None, latents.double(), images.double()).dtype == torch.float64
    torch.testing.assert_close(loss(None, latents.double(), images.double()).float(), loss(None, latents, images))
    low = loss(None, latents.bfloat16(), images.bfloat16())
    assert low.dtype == torch.float32
    assert torch.equal(low, loss(None, latents.bfloat16().float(), images.bfloat16().float()))


@both
def test_esm_is_unchanged_by_autocast(variant, pair):
    latents, images = pair[0].requires_grad_(), pair[1]
    outside = ESM(variant=variant)(None, latents, images)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ESM(variant=variant)(None, latents, images)
    assert torch.equal(inside, outside)
    assert torch.equal(torch.autograd.grad(inside, latents)[0], torch.autograd.grad(outside, latents)[0])


# Truth by construction


def best_deltas(variant, alpha, power_law_field):
    """The delta that latents of 1/f^alpha fit best beside images of 1/f², at each of SCALES."""
    images = power_law_field(3, (24, 3, 64, 64), 2.0).float()
    latents = power_law_field(4, (24, 16, 32, 32), alpha).float()
    images, latents = 0.5 * images / images.std(), latents / latents.std()
    deltas = torch.linspace(-0.5, 3.5, 81)
    best = []
    for scale in SCALES:
        losses = torch.stack([ESM(float(delta), 16, variant)(None, scale * latents, images) for delta in deltas])
        best.append(deltas[losses.argmin()].item())
    return best


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.5])
def test_esm_scale_free_recovers_delta_at_every_scale(alpha, power_law_field):
    best = best_deltas("scale_free", alpha, power_law_field)
    assert len(set(best)) == 1
    assert best[0] == pytest.approx(2 - alpha, abs=0.101)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5])
def test_esm_paper_recovers_another_delta_at_another_scale(alpha, power_law_field):
    best = best_deltas("paper", alpha, power_law_field)
    assert max(best) - min(best) > 0.7


# Gradients, compilation, edges


@both
@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_esm_passes_gradcheck(variant, delta, field):
    latents = field(5, (2, 2, 4, 6)).double().requires_grad_()
    images = field(6, (2, 3, 8, 12)).double()
    assert torch.autograd.gradcheck(lambda z: ESM(delta, 5, variant)(None, z, images), latents)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_kl_passes_gradcheck(reduction, field):
    parameters = field(7, (2, 4, 3, 2)).double().requires_grad_()
    loss = KL(reduction)
    assert torch.autograd.gradcheck(lambda p: loss(DiagonalGaussianDistribution(p), None, None), parameters)


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("variant", "backend", "dynamic"),
    [
        ("paper", "aot_eager", False),
        ("paper", "eager", True),
        ("paper", "inductor", False),
        ("scale_free", "aot_eager", False),
        ("scale_free", "eager", True),
    ],
)
def test_esm_compiles_without_graph_breaks(variant, backend, dynamic, field):
    torch._dynamo.reset()
    loss = ESM(variant=variant)
    compiled = torch.compile(lambda z, x: loss(None, z, x), backend=backend, fullgraph=True, dynamic=dynamic)
    for n, h, w in [(2, 8, 8), (3, 12, 16)] if dynamic else [(2, 16, 16)]:
        latents, images = field(8, (n, 4, h, w), 1.0).requires_grad_(), field(9, (n, 3, 4 * h, 4 * w), 2.0)
        value, expected = compiled(latents, images), loss(None, latents, images)
        torch.testing.assert_close(value, expected)
        (gradient,) = torch.autograd.grad(value, latents)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, latents)[0], rtol=1e-4, atol=1e-6)


@both
def test_esm_first_called_in_inference_mode_gives_gradients(variant, field):
    latents, images = field(10, (1, 2, 14, 22)), field(11, (1, 3, 28, 44))  # sizes of which no other test asks
    with torch.inference_mode():
        ESM(variant=variant)(None, latents, images)
    latents.requires_grad_()
    ESM(variant=variant)(None, latents, images).backward()
    assert latents.grad.isfinite().all()


@both
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-19, 1e-12, 1e-6, 1.0, -300.0])
@pytest.mark.parametrize("noise", [0.0, 1e-22, 1e-19, 1e-12])
def test_esm_of_collapsed_latents_is_finite(variant, value, noise, field):
    latents = torch.full((2, 4, 16, 16), value) + noise * field(12, (2, 4, 16, 16))
    latents.requires_grad_()
    loss = ESM(variant=variant)(None, latents, field(13, (2, 3, 64, 64), 2.0))
    loss.backward()
    assert loss.isfinite()
    assert loss >= 0
    assert latents.grad.isfinite().all()


@both
@pytest.mark.parametrize("value", [60 / 127.5 - 1, 195 / 127.5 - 1, 1.0])
@pytest.mark.parametrize("size", [64, 256])
def test_esm_of_constant_images_adds_nothing(variant, value, size, field):
    latents, images = field(14, (3, 4, 8, 8)).float(), field(15, (3, 3, size, size), 2.0).float()
    images[0] = value  # whose spectrum in float32 is rounding alone
    latents.requires_grad_()
    loss = ESM(variant=variant)(None, latents, images)
    loss.backward()
    torch.testing.assert_close(loss, ESM(variant=variant)(None, latents[1:], images[1:]) * 2 / 3)
    assert not latents.grad[0].any()
    assert latents.grad[1:].any()


@both
def test_esm_of_constant_latents_has_no_gradient_of_rounding(variant, field):
    latents = torch.full((1, 4, 32, 32), 0.7, requires_grad=True)
    ESM(variant=variant)(None, latents, field(16, (1, 3, 64, 64), 2.0).float()).backward()
    assert not latents.grad.any()


@both
def test_esm_of_blank_images_is_finite(variant, pair):
    latents = pair[0].clone().requires_grad_()
    loss = ESM(variant=variant)(None, latents, torch.zeros(3, 3, 64, 64))
    loss.backward()
    assert loss.isfinite()
    assert latents.grad.isfinite().all()


@both
@pytest.mark.parametrize("grid", [(1, 2), (2, 1), (2, 2), (3, 5), (1, 7), (4, 4), (17, 9)])
def test_esm_takes_small_and_odd_grids(variant, grid, field):
    h, w = grid
    latents = field(14, (2, 3, h, w)).requires_grad_()
    loss = ESM(variant=variant)(None, latents, field(15, (2, 3, 3 * h, 3 * w)))
    loss.backward()
    assert loss.isfinite()
    assert latents.grad.isfinite().all()


@pytest.mark.unchecked
@both
def test_esm_refuses_what_cannot_be_matched(variant):
    loss = ESM(variant=variant)
    images = torch.ones(2, 3, 8, 8)
    with pytest.raises(ValueError, match="1 x 1 latent"):
        loss(None, torch.ones(2, 4, 1, 1), images)
    with pytest.raises(ValueError, match=r"\(3, 4, 4, 4\) and \(2, 3, 8, 8\)"):
        loss(None, torch.ones(3, 4, 4, 4), images)
    with pytest.raises(ValueError, match=r"\(4, 4, 4\)"):
        loss(None, torch.ones(4, 4, 4), images)


def test_esm_refuses_images_smaller_than_latents():
    with pytest.raises(ValueError, match="smaller than their latents"):
        ESM(variant="scale_free")(None, torch.ones(1, 4, 8, 8), torch.ones(1, 3, 4, 4))


@pytest.mark.unchecked
def test_esm_refuses_a_posterior_in_place_of_latents(pair):
    posterior = DiagonalGaussianDistribution(pair[0])
    for arguments in ((posterior, pair[1]), (pair[0], posterior)):
        with pytest.raises(ValueError, match="got DiagonalGaussianDistribution: of a posterior"):
            ESM()(posterior, *arguments)


# Sequences


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_esm_of_sequences_is_that_of_fields_of_one_row(delta, field):
    latents, signals = field(30, (3, 4, 32)), field(31, (3, 2, 256))
    expected = ESM(delta)(None, latents[:, :, None], signals[:, :, None])
    assert expected > 0.01
    assert torch.equal(ESM(delta, axis=-1)(None, latents, signals), expected)
    assert torch.equal(ESM(delta, axis=1)(None, latents.mT, signals.mT), expected)
    alone = ESM(delta, axis=1)(None, latents[:, 0], signals[:, 0])
    assert torch.equal(alone, ESM(delta, axis=-1)(None, latents[:, :1], signals[:, :1]))


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_esm_of_sequences_finds_the_flattening_that_was_made(alpha, field):
    """Signals of power 1/f^alpha, and latents flattened by f^0.8; of many channels, since spectra of few are noise."""

    def signals(seed, n, exponent):
        amplitudes = torch.arange(n).double().clamp_min(0.5).pow(-exponent / 2)
        return torch.from_numpy(scipy.fft.idct((field(seed, (4, 1000, n)) * amplitudes).numpy(), norm="ortho"))

    images, latents = signals(32, 256, alpha), signals(33, 32, alpha - 0.8)
    losses = {delta: float(ESM(delta, axis=-1)(None, latents, images)) for delta in (0.4, 0.6, 0.8, 1.0, 1.2)}
    assert min(losses, key=losses.get) == 0.8
    assert losses[0.8] < 0.01


def test_esm_of_sequences_refuses_what_has_no_spectrum_along_the_axis(field):
    tokens = field(34, (2, 64, 8))
    with pytest.raises(ValueError, match=r"got \(2, 64, 8\) and \(2, 3, 32, 32\); for sequences say their axis"):
        ESM()(None, tokens, field(35, (2, 3, 32, 32)))
    with pytest.raises(ValueError, match=r"expected sequences .* along axis 1, got \(2, 3, 32, 32\)"):
        ESM(axis=1)(None, tokens, field(35, (2, 3, 32, 32)))
    with pytest.raises(ValueError, match="along axis 0, got"):
        ESM(axis=0)(None, tokens, tokens)
    with pytest.raises(ValueError, match="'paper' is defined for images alone"):
        ESM(variant="paper", axis=1)(None, tokens, tokens)


@pytest.mark.unchecked
def test_losses_refuse_unknown_choices():
    with pytest.raises(ValueError, match="'papers'"):
        ESM(variant="papers")
    with pytest.raises(ValueError, match="'papers'"):
        spectrum_distributions(torch.ones(1, 1, 4, 4), torch.ones(1, 3, 8, 8), variant="papers")
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        ESM(bins=1)
    with pytest.raises(ValueError, match="delta is nan"):
        ESM(delta=float("nan"))
    with pytest.raises(ValueError, match="'none'"):
        KL("none")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ESM(delta="1"), "delta is '1': expected a finite number"),
        (lambda: ESM(bins=16.0), "bins is 16.0: expected a whole number"),
        (lambda: SpectralMask(keep=7), r"keep is 7: expected a sequence of whole numbers, such as keep=\(7,\)"),
        (lambda: SpectralMask(keep="7"), "keep is '7': expected a sequence of whole numbers"),
        (lambda: SpectralMask(keep=(7.5,)), r"keep is \(7.5,\): expected a sequence of whole numbers"),
        (lambda: Downscale(2), r"factors is 2: .*factors=\(2,\)"),
        (lambda: ScaleRotate(probability="0.5"), "probability is '0.5': expected a finite number"),
        (lambda: ScaleRotate(denominator=None), "denominator is None: expected a whole number"),
        (lambda: FeatureMatch(lambda x: x, "6", 4), "width is '6': expected a whole number"),
    ],
)
def test_losses_and_transforms_refuse_values_of_another_type(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# KL


def test_kl_sum_equals_diffusers_averaged_over_the_batch(field):
    posterior = DiagonalGaussianDistribution(field(16, (3, 8, 4, 4)))
    torch.testing.assert_close(KL("sum")(posterior, None, None), posterior.kl().mean())


def test_kl_reductions_differ_by_elements_per_latent(field):
    posterior = DiagonalGaussianDistribution(field(17, (3, 8, 4, 6)))
    torch.testing.assert_close(KL("sum")(posterior, None, None), 4 * 4 * 6 * KL("mean")(posterior, None, None))


def test_kl_is_zero_for_a_unit_gaussian_and_positive_otherwise(field):
    assert KL()(DiagonalGaussianDistribution(torch.zeros(2, 4, 3, 3)), None, None) == 0
    assert KL()(DiagonalGaussianDistribution(field(18, (2, 4, 3, 3))), None, None) > 0


def test_kl_is_float32_under_autocast_and_from_bf16(field):
    moments = field(19, (2, 8, 4, 4)).bfloat16()
    posterior = DiagonalGaussianDistribution(moments)
    with torch.autocast("cpu", torch.bfloat16):
        value = KL()(posterior, None, None)
    assert value.dtype == torch.float32
    assert torch.equal(value, KL()(DiagonalGaussianDistribution(moments.float()), None, None))
