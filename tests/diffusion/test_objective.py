from itertools import product

import pytest
import torch

from spectrum_matching.diffusion import Path, Times, diffusion_loss, frequency_weights, min_snr_weight
from spectrum_matching.spectrum.gain import radial_gain

EVERY = [Path(*names) for names in product(["linear", "cosine", "vp"], ["velocity", "noise", "data"])]

every = pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.kind} {path.prediction}")


class Recorder(torch.nn.Module):
    """A 1 × 1 convolution that remembers how it was called."""

    def __init__(self, channels=3):
        super().__init__()
        self.convolution = torch.nn.Conv2d(channels, channels, 1, bias=False)
        torch.nn.init.eye_(self.convolution.weight[..., 0, 0])
        self.calls = []

    def forward(self, noisy, t, labels, tap=None):
        self.calls.append((noisy, t, labels))
        return self.convolution(noisy), None if tap is None else torch.full((len(noisy), 4, 2), float(tap))


@pytest.fixture
def data(generator):
    return torch.randn(64, 3, 4, 4, generator=generator)


def loss_of(denoiser, path, data, labels=None, seed=0, times=Times(), **options):  # noqa: B008
    return diffusion_loss(
        denoiser, path, data, labels, times=times, generator=torch.Generator().manual_seed(seed), **options
    )


@every
def test_diffusion_loss_is_zero_for_an_exact_denoiser(path, data):
    def knowing(noisy, t, labels, tap=None):
        along = path.coefficients(t.view(-1, 1, 1, 1))
        return path.target(data, (noisy - along.alpha * data) / along.sigma, t), None

    at_target = loss_of(knowing, path, data, times=Times("log_normal"))
    assert at_target.total < 1e-6
    assert loss_of(lambda *call: (knowing(*call)[0] + 0.5, None), path, data).total == pytest.approx(0.25, rel=1e-2)


@every
def test_min_snr_weight_makes_predictions_equivalent(path, generator):
    t = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    data, noise, error = torch.randn(3, 25, 2, 4, 4, generator=generator, dtype=torch.float64)
    noisy, truth = path.mix(data, noise, t), path.target(data, noise, t)
    data_error = path.as_data(truth + error, noisy, t) - data
    weighted = min_snr_weight(path, t, 5.0) * error.square().flatten(1).sum(1)
    torch.testing.assert_close(weighted, path.log_snr(t).exp().clamp(max=5) * data_error.square().flatten(1).sum(1))


@pytest.mark.parametrize("kind", ["cosine", "vp"])
def test_min_snr_weight_equals_published_weights(kind):
    t = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    snr = Path(kind).log_snr(t).exp()
    velocity_of_v = Path(kind).coefficients(t).rate
    torch.testing.assert_close(min_snr_weight(Path(kind, "data"), t), snr.clamp(max=5))
    torch.testing.assert_close(min_snr_weight(Path(kind, "noise"), t), snr.clamp(max=5) / snr)
    torch.testing.assert_close(min_snr_weight(Path(kind), t) * velocity_of_v.square(), snr.clamp(max=5) / (snr + 1))


@every
def test_min_snr_weight_is_finite_between_path_ends(path):
    lowest, highest = path.ends
    t = lowest + (highest - lowest) * torch.tensor([2.0**-24, 1e-4, 0.5, 1 - 2.0**-24])
    weights = min_snr_weight(path, t)
    assert (weights.isfinite() & (weights >= 0)).all()


def test_diffusion_loss_total_is_the_mean_of_weighted_errors(data):
    path = Path("vp", "noise")
    plain, weighted = (loss_of(Recorder(), path, data, weighting=weighting) for weighting in ("none", "min_snr"))
    torch.testing.assert_close(plain.total, plain.per_image.mean())
    torch.testing.assert_close(weighted.per_image, plain.per_image)
    torch.testing.assert_close(weighted.total, (min_snr_weight(path, plain.t) * plain.per_image).mean())
    assert weighted.total.requires_grad
    assert not weighted.per_image.requires_grad


def test_frequency_weights_are_those_of_flattened_latents():
    weights, h, w = frequency_weights(4, 8, 1.5), 4, 8
    assert float(weights.mean()) == pytest.approx(1)
    assert weights[0, 0] == weights[0, 1] < weights[1, 0]
    assert float(weights[2, 0] / weights[1, 0]) == pytest.approx(2**1.5)
    ends = (1 / 16, 0.5**0.5)
    gain = radial_gain(torch.tensor(ends), torch.tensor([[end**0.75 for end in ends]]), h, w)[0]
    torch.testing.assert_close(weights, gain.square() / gain.square().mean(), rtol=1e-6, atol=0)
    assert frequency_weights(4, 8, 0.0).eq(1).all()


def test_diffusion_loss_weighs_dct_coefficients(data):
    path, net = Path(), Recorder()
    plain = loss_of(net, path, data)
    even = loss_of(net, path, data, spectral_weights=torch.ones(4, 4, dtype=torch.float64))
    torch.testing.assert_close(even.per_image, plain.per_image)
    dc = torch.zeros(4, 4)
    dc[0, 0] = 16
    (noisy, t, _), seen = net.calls[0], loss_of(net, path, data, spectral_weights=dc)
    noise = (noisy - path.coefficients(t.view(-1, 1, 1, 1)).alpha * data) / t.view(-1, 1, 1, 1)
    error = noisy - path.target(data, noise, t)
    torch.testing.assert_close(seen.per_image, 16 * error.mean((-2, -1)).square().mean(1), rtol=1e-4, atol=1e-5)
    assert seen.per_image.dtype == torch.float32


def test_diffusion_loss_samples_equally_for_every_prediction(data):
    labels = torch.arange(64)
    networks = [Recorder(), Recorder()]
    losses = [
        loss_of(network, Path("cosine", prediction), data, labels, label_dropout=0.3)
        for network, prediction in zip(networks, ["velocity", "data"], strict=True)
    ]
    for ours, theirs in zip(networks[0].calls[0], networks[1].calls[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert not torch.equal(loss_of(Recorder(), Path(), data, seed=1).t, losses[0].t)


@pytest.mark.parametrize("dropout", [0.0, 0.25, 1.0])
def test_diffusion_loss_drops_labels_with_the_given_probability(dropout):
    network, labels = Recorder(), torch.arange(4000)
    loss_of(network, Path(), torch.zeros(4000, 3, 1, 1), labels, label_dropout=dropout)
    (_, _, seen) = network.calls[0]
    assert ((seen == labels) | (seen == -1)).all()
    assert (seen == -1).double().mean() == pytest.approx(dropout, abs=0.02)
    assert torch.equal(labels, torch.arange(4000))


def test_diffusion_loss_passes_no_labels_to_unconditional_networks(data):
    network = Recorder()
    loss_of(network, Path(), data, label_dropout=0.5)
    assert network.calls[0][2] is None


def test_diffusion_loss_returns_tapped_tokens(data):
    assert loss_of(Recorder(), Path(), data).tokens is None
    assert (loss_of(Recorder(), Path(), data, tap=3).tokens == 3).all()


@every
def test_diffusion_loss_is_float32_under_autocast_and_for_bf16_data(path, data):
    wide = loss_of(Recorder(), path, data)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = loss_of(Recorder(), path, data)
    assert narrow.total.dtype == narrow.per_image.dtype == torch.float32
    torch.testing.assert_close(narrow.total, wide.total, rtol=1e-2, atol=0)
    assert loss_of(Recorder(), path, data.half()).total.dtype == torch.float32


def test_diffusion_loss_scales_t_to_path_ends(data):
    latest, earliest = Times("log_normal", mean=40), Times("log_normal", mean=-40)
    assert loss_of(Recorder(), Path("linear", "noise"), data, times=latest).t.max() == pytest.approx(0.999, rel=1e-6)
    assert loss_of(Recorder(), Path("vp", "velocity"), data, times=earliest).t.min() == pytest.approx(0.001, rel=1e-3)


@pytest.mark.unchecked
def test_diffusion_loss_refuses_impossible_arguments(data):
    with pytest.raises(ValueError, match=r"predicts \(64, 1, 4, 4\) for data \(64, 3, 4, 4\)"):
        loss_of(lambda noisy, *_: (noisy[:, :1], None), Path(), data)
    with pytest.raises(ValueError, match="none, min_snr; got 'p2'"):
        loss_of(Recorder(), Path(), data, weighting="p2")
    with pytest.raises(ValueError, match=r"probability, got 1\.5"):
        loss_of(Recorder(), Path(), data, label_dropout=1.5)
    with pytest.raises(ValueError, match="positive, got 0"):
        loss_of(Recorder(), Path(), data, weighting="min_snr", gamma=0)
