import inspect
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from random_of_tests import white
from spectrum_matching.methods import METHODS, FeatureMatch, feature_gap

ORACLE = json.loads((Path(__file__).parents[1] / "oracles" / "alignment_values.json").read_text())["va_vae"]


def row(*tokens):
    """Tokens as a field (1, width, 1, n)."""
    return torch.tensor(tokens, dtype=torch.float64).mT[None, :, None]


def turned(angle):
    """The unit vector at so many degrees."""
    return [math.cos(math.radians(angle)), math.sin(math.radians(angle))]


def gap_and_gradient(mapped, features, *margins):
    mapped = mapped.clone().requires_grad_()
    gap = feature_gap(mapped, features, *margins)
    return (gap.direction.item(), gap.distance.item()), torch.autograd.grad(sum(gap), mapped)[0]


# The loss


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: f"seed {case['seed']}")
def test_feature_gap_equals_va_vae_with_gradient(case):
    mapped, features = white(case["seed"], case["shape"]), white(case["seed"] + 100, case["shape"]) * 2 + 1
    gap, gradient = gap_and_gradient(mapped, features, case["cosine_margin"], case["distance_margin"])
    assert gap == pytest.approx((case["direction"], case["distance"]), rel=1e-12)
    assert gradient.norm().item() == pytest.approx(case["grad_norm"], rel=1e-12)


def test_feature_gap_of_two_tokens_by_hand():
    mapped, features = row([1, 0], [0, 1]), row([1, 0], [1, 0])
    # Cosines with the features are 1 and 0; with each other they are 0 where the features' are 1, in two of four pairs.
    assert feature_gap(mapped, features) == pytest.approx((0.5 / 2, 2 * 0.75 / 4))
    assert feature_gap(mapped, features, 0.0, 0.0) == pytest.approx((1 / 2, 2 / 4))
    assert feature_gap(mapped, features, 0.2, 0.9) == pytest.approx((0.8 / 2, 2 * 0.1 / 4))
    # Opposite directions count twice as much as orthogonal ones; so does the distance of opposite tokens.
    assert feature_gap(row([1, 0], [-1, 0]), features, 0.0, 0.0) == pytest.approx((2 / 2, 2 * 2 / 4))


def test_feature_gap_direction_counts_beyond_its_margin_alone():
    features = row(*map(turned, (0, 40, 130)))
    for angle, expected in ((59, 0.0), (70, 0.5 - math.cos(math.radians(70)))):
        # All turned alike, so that the cosines among themselves stay.
        gap, gradient = gap_and_gradient(row(*(turned(a + angle) for a in (0, 40, 130))), features)
        assert gap == pytest.approx((expected, 0))
        assert bool(gradient.any()) == bool(expected)


def test_feature_gap_distance_counts_beyond_its_margin_alone():
    features = row(turned(0), turned(90))
    for angle, expected in ((76, 0.0), (70, math.cos(math.radians(70)) - 0.25)):
        gap, gradient = gap_and_gradient(row(turned(0), turned(angle)), features)
        assert gap == pytest.approx((0, 2 * expected / 4))
        assert bool(gradient.any()) == bool(expected)


def test_feature_gap_is_invariant_to_token_length():
    mapped, features = white(1, (2, 5, 4, 6)), white(2, (2, 5, 4, 6))
    lengths = [white(seed, (2, 1, 4, 6)).exp() for seed in (3, 4)]
    torch.testing.assert_close(
        feature_gap(lengths[0] * mapped, lengths[1] * features, 0.0, 0.0), feature_gap(mapped, features, 0.0, 0.0)
    )
    assert feature_gap(-mapped, features).direction != pytest.approx(feature_gap(mapped, features).direction.item())


def test_feature_gap_is_invariant_to_token_order_and_other_images():
    mapped, features = white(5, (3, 6, 4, 4)), white(6, (3, 6, 4, 4))
    whole = feature_gap(mapped, features)
    torch.testing.assert_close(feature_gap(mapped.mT.flip(2), features.mT.flip(2)), whole)
    alone = torch.stack([torch.stack(feature_gap(mapped[i : i + 1], features[i : i + 1])) for i in range(3)])
    torch.testing.assert_close(alone.mean(0), torch.stack(whole))


def test_feature_gap_of_a_zero_token_has_finite_gradient():
    mapped, features = white(7, (1, 4, 2, 2)), white(8, (1, 4, 2, 2))
    mapped[..., 0, 0] = features[..., 1, 1] = 0
    assert gap_and_gradient(mapped, features)[1].isfinite().all()


# The module


@pytest.fixture
def pair(field):
    """Latents (2, 4, 8, 8), images (2, 3, 16, 16) of a slow spectrum, and a field that an encoder gives of them."""
    return field(1, (2, 4, 8, 8)), field(2, (2, 3, 16, 16), 2.0), field(3, (2, 6, 8, 8))


def test_feature_match_is_the_gap_of_projected_latents(pair):
    latents, images, features = pair
    match = FeatureMatch(lambda x: features, 6, 4, cosine_margin=0.1, distance_margin=0.2)
    mapped = torch.einsum("dc,bchw->bdhw", match.projection.weight[:, :, 0, 0], latents)
    assert match(None, latents, images).item() == pytest.approx(sum(feature_gap(mapped, features, 0.1, 0.2)).item())


def test_feature_match_can_reach_zero_for_linear_features(pair):
    latents, images, _ = pair
    mixing = white(4, (6, 4, 1, 1)).float()
    match = FeatureMatch(lambda x: 3 * F.conv2d(latents, mixing), 6, 4, 0.0, 0.0)
    assert match(None, latents, images) > 0.1
    with torch.no_grad():
        match.projection.weight.copy_(mixing)
    assert match(None, latents, images).item() == pytest.approx(0, abs=1e-6)


def test_feature_match_passes_gradcheck():
    latents, features = white(9, (2, 3, 3, 2)).requires_grad_(), white(10, (2, 5, 6, 4))
    match = FeatureMatch(lambda x: features, 5, 3).double()
    images, weight = torch.zeros(2, 3, 12, 8), match.projection.weight
    assert match(None, latents, images) > 0.1
    torch.autograd.gradcheck(
        lambda z, w: torch.func.functional_call(match, {"projection.weight": w}, (None, z, images)), (latents, weight)
    )


def test_feature_match_keeps_the_encoder_out_of_graph_and_module(pair):
    latents, images, _ = pair
    seen = []

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 6, 2, stride=2)

        def forward(self, x):
            seen.append((x, torch.is_grad_enabled()))
            return self.layer(x)

    encoder = Encoder()
    match = FeatureMatch(encoder, 6, 4)
    assert match.state_dict().keys() == dict(match.named_parameters()).keys() == {"projection.weight"}
    assert not any(module is encoder for module in match.modules())
    images.requires_grad_(), latents.requires_grad_()
    match(None, latents, images).backward()
    assert seen == [(images, False)]
    assert latents.grad.any()
    assert match.projection.weight.grad.any()
    assert images.grad is None
    assert all(p.grad is None for p in encoder.parameters())
    match.double().eval()
    assert encoder.training
    assert encoder.layer.weight.dtype == torch.float32


def test_feature_match_takes_an_encoder_in_inference_mode(pair):
    latents, images, features = pair
    latents.requires_grad_()
    inside = FeatureMatch(torch.inference_mode()(lambda x: features * 1), 6, 4)(None, latents, images)
    outside = FeatureMatch(lambda x: features, 6, 4)(None, latents, images)
    assert torch.equal(*(torch.autograd.grad(loss, latents)[0] for loss in (inside, outside)))


@pytest.mark.parametrize("grid", [(8, 12), (4, 6), (2, 3), (16, 24)])
def test_feature_match_resamples_features_to_the_latent_grid(grid, field):
    features = field(5, (2, 6, 8, 12))
    found = FeatureMatch(lambda x: features, 6, 4).features(torch.zeros(2, 3, 16, 24), grid)
    if grid == (8, 12):
        assert torch.equal(found, features)
    else:
        expected = F.interpolate(features, grid, mode="bilinear", antialias=True, align_corners=False)
        torch.testing.assert_close(found, expected)


def test_feature_match_refuses_another_aspect_ratio(field):
    match = FeatureMatch(lambda x: torch.zeros(2, 6, 8, 12), 6, 4)
    with pytest.raises(ValueError, match=r"the vision encoder's grid is 8 x 12, expected the aspect .* 4 x 4; crop"):
        match(None, field(6, (2, 4, 4, 4)), torch.zeros(2, 3, 16, 16))


@pytest.mark.parametrize("shape", [(2, 5, 8, 8), (1, 6, 8, 8), (2, 6, 64)])
def test_feature_match_refuses_a_field_of_another_shape(shape, pair):
    latents, images, _ = pair
    match = FeatureMatch(lambda x: torch.zeros(shape), 6, 4)
    with pytest.raises(ValueError, match=r"the vision encoder gave .*, expected \(2, 6, h, w\)$"):
        match(None, latents, images)


@pytest.mark.parametrize("margins", [(-0.1, 0.25), (2.0, 0.25), (0.5, -1.0), (0.5, 2.0), (math.nan, 0.25)])
def test_feature_match_refuses_impossible_margins(margins):
    with pytest.raises(ValueError, match=r"margins must lie in \[0, 2\)|cosine_margin is nan"):
        FeatureMatch(lambda x: x, 6, 4, *margins)


def test_feature_match_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, same, other = (FeatureMatch(lambda x: x, 6, 4, seed=seed).projection.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_feature_match_is_unchanged_by_autocast(dtype, pair):
    latents, images, features = pair
    match = FeatureMatch(lambda x: features, 6, 4)
    outside = match(None, latents.to(dtype), images)
    with torch.autocast("cpu", torch.bfloat16):
        inside = match(None, latents.to(dtype), images)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.unchecked
def test_feature_match_compiles_without_graph_breaks(field):
    torch._dynamo.reset()
    match = FeatureMatch(lambda x: F.avg_pool2d(x, 2), 3, 4)
    compiled = torch.compile(match, backend="aot_eager", fullgraph=True)
    latents, images = field(8, (2, 4, 4, 4)).requires_grad_(), field(9, (2, 3, 16, 16), 2.0)
    value, expected = compiled(None, latents, images), match(None, latents, images)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, latents)[0] for loss in (value, expected)))


def test_va_vae_defaults_are_published():
    defaults = {name: p.default for name, p in inspect.signature(METHODS["va_vae"]).parameters.items()}
    expected = {"feature_weight": 0.1, "cosine_margin": 0.5, "distance_margin": 0.25}
    assert defaults | expected == defaults
