"""What users' encoders and decoders return, and the wrappers that their models come in."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution, EncoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import nn
from torch.distributions import Independent, Normal
from torch.optim.swa_utils import AveragedModel

from spectrum_matching.methods import Gaussian, images_of, posterior_of
from spectrum_matching.methods.models import unwrap, within_forward

MOMENTS = torch.randn(2, 8, 4, 6, generator=torch.Generator().manual_seed(0))
MEAN, LOGVAR = MOMENTS.chunk(2, dim=1)
DIFFUSERS = DiagonalGaussianDistribution(MOMENTS)
Pair = namedtuple("Pair", "mu log_var")


class NoGenerator:
    """A posterior as latent diffusion has it: `sample` takes no generator."""

    mean, logvar = MEAN, LOGVAR

    def sample(self):
        raise AssertionError("not called")


STOCHASTIC = {
    "diffusers' output": AutoencoderKLOutput(latent_dist=DIFFUSERS),
    "its tuple": (DIFFUSERS,),
    "its distribution": DIFFUSERS,
    "latent diffusion's distribution": NoGenerator(),
    "a pair": (MEAN, LOGVAR),
    "a named pair": Pair(MEAN, LOGVAR),
    "a dict": {"z": MEAN + 1, "mean": MEAN, "logvar": LOGVAR},
    "an object": SimpleNamespace(mean=MEAN, logvar=LOGVAR),
    "torch's distribution": Independent(Normal(MEAN, (LOGVAR / 2).exp()), 3),
    "ours": Gaussian(MEAN, LOGVAR),
}
CERTAIN = {
    "latents": MEAN,
    "diffusers' output": EncoderOutput(latent=MEAN),
    "a tuple of one": (MEAN,),
    "a dict": {"latents": MEAN},
    "a VQ autoencoder's": (MEAN, torch.tensor(0.5), (None, None, torch.zeros(2, dtype=torch.long))),
    "diffusers' deterministic": DiagonalGaussianDistribution(MOMENTS, deterministic=True),
}


@pytest.mark.parametrize("encoded", STOCHASTIC.values(), ids=STOCHASTIC)
def test_posterior_of_samples_what_diffusers_does(encoded):
    posterior = posterior_of(encoded)
    assert not posterior.is_certain
    torch.testing.assert_close(posterior.logvar, LOGVAR, rtol=0, atol=1e-6)
    samples = [p.sample(torch.Generator().manual_seed(3)) for p in (posterior, DIFFUSERS)]
    torch.testing.assert_close(*samples, rtol=0, atol=0 if torch.equal(posterior.logvar, LOGVAR) else 1e-5)


class Uniform:
    """A posterior of a user's own, which is no Gaussian."""

    def __init__(self, mean, logvar):
        self.mean, self.logvar = mean, logvar

    def sample(self, generator=None):
        return self.mean + (torch.rand(self.mean.shape, generator=generator) - 0.5) * (12 * self.logvar.exp()).sqrt()


def test_posterior_of_an_object_samples_as_it_does():
    own = Uniform(MEAN.bfloat16(), LOGVAR.bfloat16())
    posterior, generators = posterior_of(own), [torch.Generator().manual_seed(3) for _ in range(2)]
    sample = posterior.sample(generators[0])
    assert sample.dtype == torch.float32
    assert torch.equal(sample, own.sample(generators[1]).float())
    assert ((sample - posterior.mean).abs() <= 3**0.5 * posterior.std * 1.1 + 0.1).all()  # a Gaussian has tails


@pytest.mark.parametrize("encoded", CERTAIN.values(), ids=CERTAIN)
def test_posterior_of_latents_has_no_variance(encoded):
    posterior = posterior_of(encoded)
    assert posterior.is_certain
    assert torch.equal(posterior.sample(), MEAN)
    assert (posterior.logvar == -30).all()


def test_posterior_of_broadcasts_and_clamps_logvar_in_float32():
    posterior = posterior_of({"mean": MEAN.bfloat16(), "logvar": torch.tensor(99.0, dtype=torch.bfloat16)})
    assert posterior.mean.dtype == posterior.logvar.dtype == torch.float32
    assert posterior.logvar.shape == MEAN.shape
    assert (posterior.logvar == 20).all()
    assert posterior_of(MEAN.double()).mean.dtype == torch.float64


def test_posterior_of_passes_gradients_to_both_moments():
    mean, logvar = MEAN.clone().requires_grad_(), LOGVAR.clone().requires_grad_()
    posterior_of((mean, logvar)).sample(torch.Generator().manual_seed(0)).sum().backward()
    assert (mean.grad == 1).all()
    assert logvar.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (None, "Net.encode gave NoneType, expected latents"),
        ([MEAN, LOGVAR], "Net.encode gave list"),
        ((MEAN, LOGVAR, MEAN), r"Net.encode gave a tuple of \(2, 4, 4, 6\), \(2, 4, 4, 6\), \(2, 4, 4, 6\), expected"),
        ((MEAN, MOMENTS), r"Net.encode gave a tuple of \(2, 4, 4, 6\), \(2, 8, 4, 6\)"),
        ((), "Net.encode gave a tuple of nothing"),
        ({"hidden": MEAN}, "Net.encode gave dict of hidden"),
        ({"mean": MEAN, "logvar": MOMENTS}, r"a mean of \(2, 4, 4, 6\) with a logvar of \(2, 8, 4, 6\), expected one"),
        (MEAN.long(), "Net.encode gave torch.int64, expected latents"),
    ],
)
def test_posterior_of_names_what_it_does_not_read(encoded, message):
    with pytest.raises(ValueError, match=message) as caught:
        posterior_of(encoded, "Net.encode")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decoded", [MEAN, DecoderOutput(sample=MEAN), (MEAN, 0.5), {"sample": MEAN}])
def test_images_of_reads_what_decoders_return(decoded):
    assert images_of(decoded) is MEAN


@pytest.mark.parametrize("decoded", [None, (), {"image": MEAN}, DIFFUSERS])
def test_images_of_names_what_it_does_not_read(decoded):
    with pytest.raises(ValueError, match=r"Net.decode gave .*, expected images \(b, 3, H, W\)"):
        images_of(decoded, "Net.decode")


# Wrappers


class Scaling(nn.Module):
    """Has a module by the name that wrappers use for theirs."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)

    def encode(self, x):
        return x

    def forward(self, x):
        return x / 2


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "compiled": compiled,
    "compiled DataParallel": lambda model: compiled(nn.DataParallel(model)),
    "DataParallel of compiled": lambda model: nn.DataParallel(compiled(model)),
}


def test_unwrap_leaves_a_model_with_an_encoder_of_its_own():
    model, plain = Scaling(), object()
    assert unwrap(model) is model
    assert unwrap(plain) is plain


@pytest.mark.parametrize("name", WRAPPERS)
def test_within_forward_runs_a_function_as_the_wrappers_forward(name):
    x, calls = torch.ones(2), []
    wrapped = WRAPPERS[name](Scaling())
    inner = unwrap(wrapped)
    assert isinstance(inner, Scaling)
    distributing = wrapped._orig_mod if name.startswith("compiled") else wrapped
    distributing.register_forward_pre_hook(lambda module, arguments: calls.append(module))
    assert torch.equal(within_forward(wrapped, lambda found, x: 3 * x if found is inner else x, x), 3 * x)
    assert calls == ([] if name == "compiled" else [distributing])
    torch.testing.assert_close(wrapped(x), x / 2)
    assert "forward" not in vars(inner)


def test_within_forward_keeps_a_forward_that_was_put_on_the_model():
    model, x = Scaling(), torch.ones(2)
    model.forward = put = lambda x: 7 * x
    wrapped = nn.DataParallel(model)
    assert torch.equal(within_forward(wrapped, lambda found, x: found.forward(x), x), 7 * x)
    assert model.forward is put

    def fail(found, x):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        within_forward(wrapped, fail, x)
    assert model.forward is put
