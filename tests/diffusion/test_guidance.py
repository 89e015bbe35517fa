import pytest
import torch

from spectrum_matching.diffusion import SAMPLERS, Path, evaluation_times, guided, guided_evaluations, time_grid

LABELS = torch.tensor([2, 0, 1])


class Conditional:
    """Predicts noisy · (1 + label) + t, and remembers the size of each batch."""

    def __init__(self):
        self.sizes = []

    def __call__(self, noisy, t, labels, tap=None):
        self.sizes.append(len(noisy))
        factor = torch.ones(len(noisy)) if labels is None else 1.0 + labels
        return noisy * factor.view(-1, 1, 1, 1) + t.view(-1, 1, 1, 1), None


@pytest.fixture
def noisy(generator):
    return torch.randn(3, 2, 4, 4, generator=generator)


def test_guided_extrapolates_by_its_scale(noisy):
    t, network = torch.full((3,), 0.5), Conditional()
    conditional, unconditional = (network(noisy, t, labels)[0] for labels in (LABELS, torch.full((3,), -1)))
    for scale in (0.0, 0.5, 1.0, 2.5):
        expected = unconditional + scale * (conditional - unconditional)
        torch.testing.assert_close(guided(network, LABELS, scale)(noisy, t), expected)


@pytest.mark.parametrize(("t", "size"), [(0.1, 3), (0.2999, 3), (0.3, 6), (0.5, 6), (0.7, 6), (0.7001, 3), (1.0, 3)])
def test_guided_doubles_the_batch_inside_the_interval_only(t, size, noisy):
    network = Conditional()
    predict = guided(network, LABELS, 2.0, (0.3, 0.7))
    predicted = predict(noisy, torch.full((3,), t))
    assert network.sizes == [size]
    if size == 3:
        torch.testing.assert_close(predicted, guided(network, LABELS)(noisy, torch.full((3,), t)))


def test_guided_at_scale_one_doubles_nothing(noisy):
    network = Conditional()
    guided(network, LABELS, 1.0)(noisy, torch.full((3,), 0.5))
    guided(network, None)(noisy, torch.full((3,), 0.5))
    assert network.sizes == [3, 3]


@pytest.mark.parametrize("kind", ["linear", "cosine", "vp"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_guided_is_equal_for_every_prediction(kind, prediction, noisy):
    path, t = Path(kind, prediction), torch.full((3,), 0.6)
    as_data = lambda predict: path.as_data(predict(noisy, t), noisy, t)  # noqa: E731
    without, conditional, strong = (as_data(guided(Conditional(), LABELS, scale)) for scale in (0.0, 1.0, 3.0))
    torch.testing.assert_close(strong, without + 3 * (conditional - without), rtol=1e-4, atol=1e-4)


def test_guided_computes_in_the_precision_of_the_noisy_data(noisy):
    network = Conditional()
    predict = guided(lambda *call: (network(*call)[0].bfloat16(), None), LABELS, 2.0)
    assert predict(noisy, torch.full((3,), 0.5)).dtype == torch.float32


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.0, 0.7), (0.3, 0.6)])
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_guided_evaluations_counts_actual_calls(name, interval, scale, noisy):
    network, times = Conditional(), time_grid(Path(), 10)
    SAMPLERS[name](guided(network, LABELS, scale, interval), Path(), noisy, times, lambda step: noisy)
    assert guided_evaluations(evaluation_times(name, times), scale, interval) == sum(network.sizes) / 3


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_guided_of_the_first_channels_is_sit_s(channels, noisy):
    """SiT's forward_with_cfg, restated: the other channels are the conditional prediction's."""
    t, network = torch.full((3,), 0.5), Conditional()
    conditional, unconditional = (network(noisy, t, labels)[0] for labels in (LABELS, torch.full((3,), -1)))
    first, rest = slice(None, channels), slice(channels, None)
    expected = torch.cat(
        [unconditional[:, first] + 4 * (conditional[:, first] - unconditional[:, first]), conditional[:, rest]], dim=1
    )
    torch.testing.assert_close(guided(network, LABELS, 4.0, channels=channels)(noisy, t), expected)


def test_guided_refuses_impossible_arguments():
    with pytest.raises(ValueError, match=r"scale 1\.5 needs labels"):
        guided(Conditional(), None, 1.5)
    with pytest.raises(ValueError, match=r"low <= high <= 1, got \(0\.5, 0\.2\)"):
        guided(Conditional(), LABELS, 1.5, (0.5, 0.2))
    with pytest.raises(ValueError, match="finite guidance scale"):
        guided(Conditional(), LABELS, float("nan"))
    with pytest.raises(ValueError, match="at least one guided channel, got 0"):
        guided(Conditional(), LABELS, 2.0, channels=0)
