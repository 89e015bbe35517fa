import pytest
import torch
from torch import nn

from spectrum_matching.analysis.doctor.weights import batch_norm, finite_weights, initial_weights, is_initial, loaded

NEW = {
    "linear": lambda: nn.Linear(32, 16).weight,
    "convolution": lambda: nn.Conv2d(8, 16, 3).weight,
    "depthwise": lambda: nn.Conv2d(64, 64, 3, groups=64).weight,
    "transposed": lambda: nn.ConvTranspose2d(16, 8, 3).weight,
    "three axes": lambda: nn.Conv3d(8, 8, 3).weight,
    "Xavier": lambda: nn.init.xavier_uniform_(torch.empty(32, 64)),
    "Kaiming for ReLU": lambda: nn.init.kaiming_uniform_(torch.empty(32, 64), nonlinearity="relu"),
    "zero": lambda: torch.zeros(16, 16),
}


@pytest.mark.parametrize("kind", NEW)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_initial_knows_new_layers(kind, dtype):
    torch.manual_seed(0)
    assert all(is_initial(NEW[kind]().to(dtype).float()) for _ in range(20))


@pytest.mark.parametrize("kind", [kind for kind in NEW if kind != "zero"])
def test_is_initial_knows_a_step_of_training(kind, generator):
    torch.manual_seed(0)
    weight = NEW[kind]().detach()
    trained = weight + 0.05 * weight.std() * torch.randn(weight.shape, generator=generator).sign()
    assert not is_initial(trained)
    assert not is_initial(0.7 * weight)
    assert not is_initial(torch.randn(weight.shape, generator=generator) * weight.std())


def run(case, model, **names):
    examination = case(model, **names)
    assert examination.output.isfinite().any()
    return examination


class Sandwich(nn.Module):
    """Pixels to half the side and back, through layers that a test changes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(3, 24, 2, stride=2), nn.ConvTranspose2d(24, 3, 2, stride=2)
        self.norm, self.spare = nn.BatchNorm2d(24), nn.Conv2d(24, 24, 3)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=0.1)
        self.norm.running_var.fill_(0.9)
        self.norm.weight.data.fill_(1.1)

    def encode(self, images):
        return self.norm(self.down(images))

    def decode(self, latents):
        return self.up(latents)


def test_initial_weights_names_new_layers_that_run(case):
    assert initial_weights(run(case, Sandwich())).level == "fine"  # the spare layer is new, and never runs
    partly = Sandwich()
    partly.up.reset_parameters()
    outcome = initial_weights(run(case, partly))
    assert (outcome.level, outcome.verdict) == ("wrong", "Some layers that run are untrained.")
    assert "1 of 2 layers" in outcome.evidence
    assert "up" in outcome.evidence
    partly.down.reset_parameters()
    assert initial_weights(run(case, partly)).verdict == "The network is untrained."


def test_initial_weights_skips_networks_without_large_layers(case, blocks):
    assert initial_weights(run(case, blocks)).level == "skipped"


def test_initial_weights_asks_to_look_at_some_new_norms(case):
    model = Sandwich()
    model.norm = nn.Sequential(model.norm, nn.GroupNorm(2, 24))
    outcome = initial_weights(run(case, model))
    assert (outcome.level, "norm.1" in outcome.evidence) == ("look", True)
    model.norm[1].bias.data.fill_(0.1)
    assert initial_weights(run(case, model)).level == "fine"


def test_batch_norm_names_statistics_of_a_new_layer(case, blocks):
    assert batch_norm(run(case, blocks)).level == "skipped"
    model = Sandwich()
    assert batch_norm(run(case, model)).level == "fine"
    model.norm.reset_running_stats()
    outcome = batch_norm(run(case, model))
    assert (outcome.level, "norm" in outcome.evidence) == ("wrong", True)


def test_finite_weights_names_the_tensor(case):
    model = Sandwich()
    assert finite_weights(case(model)).level == "fine"
    examination = case(model)
    model.spare.bias.data[3] = torch.inf
    outcome = finite_weights(examination)
    assert (outcome.level, "spare.bias" in outcome.evidence) == ("wrong", True)


def test_loaded_names_what_did_not(case, blocks):
    assert loaded(case(blocks)).level == "fine"
    outcome = loaded(case(blocks, unexpected=("a", "b", "c", "d")))
    assert (outcome.level, outcome.evidence) == ("look", "4 in the files are not the network’s (a, b, c and 1 more).")
    outcome = loaded(case(blocks, missing=("x",), unexpected=("a",)))
    assert (outcome.level, "x" in outcome.evidence, "rename" in outcome.fix) == ("wrong", True, True)
