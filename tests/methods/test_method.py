import pytest
import torch
from diffusers.models import AutoencoderKL
from torch import nn
from torch.nn.functional import interpolate

from spectrum_matching.methods import (
    ESM,
    METHODS,
    Added,
    Identity,
    Method,
    SpectralMask,
    Term,
    balance,
    esm_dsm,
    reconstruct,
)
from spectrum_matching.methods.shared_transforms import IdentityMap


class Codec:
    """A small diffusers autoencoder behind what a method needs."""

    factor = 2

    def __init__(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = AutoencoderKL(
                block_out_channels=(8, 16),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                norm_num_groups=4,
                layers_per_block=1,
            )

    def encode(self, images):
        return self.model.encode(images).latent_dist

    def decode(self, latents):
        return self.model.decode(latents).sample


@pytest.fixture(scope="module")
def codec():
    return Codec()


@pytest.fixture
def images(field):
    return field(1, (2, 3, 32, 48), 2.0)


def test_reconstruct_with_control_is_a_plain_autoencoder(codec, images, generator):
    result = reconstruct(codec, METHODS["autoencoder"](), images, generator)
    plain = codec.encode(images).sample(torch.Generator().manual_seed(0))
    assert torch.equal(result.latents, plain)
    assert torch.equal(result.output, codec.decode(plain))
    assert result.target is images

    loss = (result.output - result.target).abs().mean()
    codec.model.zero_grad()
    loss.backward()
    ours = [p.grad.clone() for p in codec.model.parameters()]
    codec.model.zero_grad()
    (codec.decode(codec.encode(images).sample(torch.Generator().manual_seed(0))) - images).abs().mean().backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(ours, codec.model.parameters(), strict=True))


def test_reconstruct_without_sampling_takes_the_mean(codec, images, generator):
    result = reconstruct(codec, METHODS["autoencoder"](), images, generator, sample=False)
    assert torch.equal(result.latents, result.posterior.mean)


@pytest.mark.parametrize("name", METHODS)
def test_reconstruct_applies_one_transform_to_latents_and_images(name, codec, images, make):
    method = make(name)
    with torch.no_grad():
        for seed in range(4):
            one, two = (reconstruct(codec, method, images, torch.Generator().manual_seed(seed)) for _ in range(2))
            assert one.draw == two.draw
            assert torch.equal(one.output, two.output)
            assert torch.equal(one.target, one.draw.shared(one.images))
            assert torch.equal(one.output, codec.decode(one.draw.shared(one.latents)))
            assert one.output.shape == one.target.shape
            assert torch.equal(one.images, one.draw.before(images))


def test_reconstruct_adds_a_downscaled_pair_beside_the_plain_one_at_every_step(codec, images):
    """A literal restatement of Scale Equivariance: d(x, D(z)) + 0.25 · d(x at half the size, D(z at half the size))."""
    method = METHODS["scale_equivariance"](factors=(2,))
    with torch.no_grad():
        result = reconstruct(codec, method, images, torch.Generator().manual_seed(3))
        halves = [interpolate(x, scale_factor=0.5, mode="bilinear") for x in (result.latents, images)]
        assert method.added.weight == 0.25
        assert torch.equal(result.output, codec.decode(result.latents))
        assert result.target is images
        torch.testing.assert_close(result.added.output, codec.decode(halves[0]))
        torch.testing.assert_close(result.added.target, halves[1])
        assert all(reconstruct(codec, method, images, torch.Generator().manual_seed(i)).added for i in range(4))


def test_eq_vae_shrinks_images_before_encoding_at_an_eighth_of_the_steps(codec, images, generator):
    method = METHODS["eq_vae"]()
    drawn = [method.draw(generator, (16, 24)) for _ in range(4000)]
    first = [draw for draw in drawn if not isinstance(draw.before, IdentityMap)]
    assert all(isinstance(draw.shared, IdentityMap) and draw.before.turns == 0 for draw in first)
    moved = [draw for draw in drawn if not isinstance(draw.shared, IdentityMap)]
    for share, some in ((0.125, first), (0.5, moved)):
        assert abs(len(some) - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5
    with torch.no_grad():
        seeds = (torch.Generator().manual_seed(seed) for seed in range(40))
        result = next(r for r in (reconstruct(codec, method, images, g) for g in seeds) if r.images is not images)
        scale = result.draw.before.numerator / 32
        shrunk = interpolate(images, scale_factor=scale, mode="bilinear")
        torch.testing.assert_close(result.target, shrunk)
        torch.testing.assert_close(result.posterior.mean, codec.encode(shrunk).mean, rtol=0, atol=1e-5)
        assert torch.equal(result.output, codec.decode(result.latents))
        assert str(result.draw).endswith(" before encoding, IdentityMap()")


@pytest.mark.parametrize("name", METHODS)
def test_reconstruct_trains_encoder_and_decoder_by_every_method(name, codec, images, generator, make):
    method = make(name)
    result = reconstruct(codec, method, images, generator)
    losses = method.encoding_losses(result.posterior, result.latents, result.images)
    reconstruction = (result.output - result.target).square().mean()
    weights = balance(method, losses, reconstruction, codec.model.encoder.conv_out.weight)
    loss = reconstruction + method.weigh(losses, weights)
    codec.model.zero_grad()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.model.parameters())


def test_encoding_losses_get_posterior_latents_and_images(codec, images, generator):
    seen = []

    def spy(posterior, latents, images):
        seen.append((posterior, latents, images))
        return latents.mean()

    method = Method("spied", (Term("spy", spy, 1.0),), SpectralMask(), "none")
    result = reconstruct(codec, method, images, generator)
    method.encoding_losses(result.posterior, result.latents, images)
    assert seen == [(result.posterior, result.latents, images)]


# Models as users hold them


class Convolutions(nn.Module):
    """A pair (mean, logvar) of one convolution, and a dict of another; images of any number of channels."""

    def __init__(self, channels=3, convolution=nn.Conv2d, transposed=nn.ConvTranspose2d):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.down, self.up = convolution(channels, 8, 4, 4), transposed(4, channels, 4, 4)

    def encode(self, x):
        return self.down(x).chunk(2, dim=1)

    def decode(self, z):
        return {"sample": self.up(z)}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["autoencoder", "esm_dsm", "scale_equivariance", "eq_vae"])
def test_reconstruct_takes_a_model_of_diffusers_as_it_is(name, codec, images, make):
    """Also images that are transformed before encoding, at an eighth of EQ-VAE's steps, without knowing the factor."""
    method = make(name)
    seeds = range(40) if name == "eq_vae" else range(2)
    drawn = [method.draw(seeded(seed), (16, 24)) for seed in seeds]
    chosen = [seed for seed, draw in zip(seeds, drawn, strict=True) if not isinstance(draw.before, IdentityMap)][:1]
    assert bool(chosen) == (name == "eq_vae")
    with torch.no_grad():
        for seed in (*chosen, 0):
            ours, plain = (reconstruct(model, method, images, seeded(seed)) for model in (codec, codec.model))
            assert ours.draw == plain.draw
            assert torch.equal(ours.latents, plain.latents)
            assert torch.equal(ours.output, plain.output)
            assert torch.equal(ours.target, plain.target)
            assert plain.encoded.latent_dist.mean.shape == plain.latents.shape


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_reconstruct_takes_pairs_dicts_and_any_number_of_image_channels(channels, field):
    model, images = Convolutions(channels), field(5, (2, channels, 32, 64))
    result = reconstruct(model, esm_dsm(), images, seeded(0))
    losses = esm_dsm().encoding_losses(result.posterior, result.latents, result.images)
    ((result.output - result.target).abs().mean() + losses["esm"]).backward()
    assert result.output.shape == images.shape
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in model.parameters())


def test_reconstruct_takes_a_compiled_model_and_low_precision(images):
    model = Convolutions()
    plain = reconstruct(model, esm_dsm(), images[..., :32], seeded(1))
    compiled = reconstruct(torch.compile(model, backend="eager"), esm_dsm(), images[..., :32], seeded(1))
    assert torch.equal(plain.output, compiled.output)
    low = reconstruct(model.bfloat16(), esm_dsm(), images[..., :32].bfloat16(), seeded(1))
    assert (low.output.dtype, low.latents.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(low.output.float(), plain.output, rtol=0, atol=0.05)


def test_reconstruct_takes_signals_of_one_dimension(field):
    model, signals = Convolutions(2, nn.Conv1d, nn.ConvTranspose1d), field(6, (2, 2, 128))
    method = Method("signals", (Term("esm", ESM(axis=-1), 0.1),), SpectralMask((3,), axis=-1), "none")
    result = reconstruct(model, method, signals, seeded(0), sample=False)
    assert torch.equal(result.target, result.draw.shared(signals))
    assert torch.equal(result.output, model.up(result.draw.shared(result.latents)))
    assert method.encoding_losses(*result[:3])["esm"] > 0
    with pytest.raises(ValueError, match=r"expected a latent grid \(h, w\), got \(32,\); for sequences say their axis"):
        reconstruct(model, esm_dsm(), signals, seeded(0))


def test_reconstruct_refuses_tokens_of_images_unless_nothing_is_transformed(field):
    class Tokens(Convolutions):
        def encode(self, x):
            return self.down(x).flatten(2).mT[..., :4]

        def decode(self, z):
            return self.up(z.mT.unflatten(2, (8, 8)))

    images = field(7, (2, 3, 32, 32))
    assert reconstruct(Tokens(), METHODS["autoencoder"](), images, seeded(0)).latents.shape == (2, 64, 4)
    with pytest.raises(ValueError, match="for sequences say their axis"):
        reconstruct(Tokens(), esm_dsm(), images, seeded(0))


@pytest.mark.unchecked
def test_reconstruct_names_what_does_not_fit(images):
    class Grey(Convolutions):
        def decode(self, z):
            return self.up(z)[:, :1]

    square = images[..., :32]
    with pytest.raises(ValueError, match=r"Grey.decode gave images \(2, 1, 32, 32\), expected \(2, 3, 32, 32\)"):
        reconstruct(Grey(), esm_dsm(), square, seeded(0))
    with pytest.raises(ValueError, match=r"Linear has no encode\(\)"):
        reconstruct(nn.Linear(1, 1), esm_dsm(), square, seeded(0))
    with pytest.raises(ValueError, match="generator is None"):
        reconstruct(Grey(), METHODS["autoencoder"](), square, None)
    with pytest.raises(ValueError, match=r"expected a Method, such as zoo.dsm\(\) returns"):
        reconstruct(Grey(), METHODS["dsm"], square, seeded(0))
    with pytest.raises(ValueError, match="expected latents or images, got list"):
        reconstruct(Grey(), esm_dsm(), [square, None], seeded(0))


def constant(value):
    return lambda posterior, latents, images: torch.tensor(value)


def explode(posterior, latents, images):
    raise AssertionError("a term of weight 0 was computed")


@pytest.mark.unchecked
def test_weigh_sums_weighted_losses_and_skips_zero_weights():
    terms = (Term("a", constant(3.0), 2.0), Term("off", explode, 0.0), Term("b", constant(5.0), 0.1))
    method = Method("m", terms, Identity(), "none")
    losses = method.encoding_losses(None, None, None)
    assert losses == {"a": torch.tensor(3.0), "b": torch.tensor(5.0)}
    torch.testing.assert_close(method.weigh(losses), torch.tensor(6.5))
    torch.testing.assert_close(method.weigh(losses, {"b": torch.tensor(4.0)}), torch.tensor(26.0))


@pytest.mark.unchecked
def test_balance_weighs_by_gradients_at_a_layer():
    layer = torch.tensor([3.0, 4.0], requires_grad=True)
    terms = (Term("kl", constant(1.0), 0.5), Term("features", lambda p, z, x: 2 * layer.square().sum(), 0.1, True))
    method = Method("m", terms, Identity(), "none")
    losses = method.encoding_losses(None, None, None)
    weights = balance(method, losses, layer.square().sum() / 2, layer)
    # Gradients: the layer, of length 5, and 4 times it.
    torch.testing.assert_close(weights, {"features": torch.tensor(0.1 * 5 / 20)}, rtol=1e-4, atol=0)
    torch.testing.assert_close(method.weigh(losses, weights), 0.5 + weights["features"] * 50)
    with pytest.raises(ValueError, match=r"balances features at each step: .* balance\(method"):
        method.weigh(losses)
    assert balance(METHODS["dsm"](), {}, layer.sum(), layer) == {}


@pytest.mark.parametrize("weight", ["0.1", float("nan"), float("inf")])
def test_terms_refuse_weights_that_are_no_numbers(weight):
    for make in (lambda: Term("a", ESM(), weight), lambda: Added(Identity(), weight)):
        with pytest.raises(ValueError, match="expected a finite number"):
            make()


def test_method_refuses_two_terms_of_one_name():
    with pytest.raises(ValueError, match="name of its own"):
        Method("m", (Term("esm", ESM(1.0), 1.0), Term("esm", ESM(0.0), 1.0)), Identity(), "")


def test_weigh_of_no_terms_is_zero():
    assert Method("m", (), Identity(), "none").weigh({}) == 0
