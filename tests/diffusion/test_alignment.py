import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from random_of_tests import white
from spectrum_matching.diffusion.alignment import (
    Alignment,
    DifferenceOfGaussians,
    SpatialNormalisation,
    Unfiltered,
    gram,
    irepa,
    negative_cosine,
    repa,
    repa_dog,
    scaled,
)
from spectrum_matching.diffusion.projectors import ConvolutionProjector, PerceptronProjector, as_field
from spectrum_matching.spectrum import difference_of_gaussians, gaussian_blur, resize, rmsc

ORACLES = json.loads((Path(__file__).parents[1] / "oracles" / "alignment_values.json").read_text())
FILTERS = [
    Unfiltered(),
    SpatialNormalisation(0.6, "empirical"),
    SpatialNormalisation(1.0),
    DifferenceOfGaussians(0.5, 1.6, "empirical"),
    DifferenceOfGaussians(0.0, 1.6, 2.0),
]


def square(tokens):
    side = math.isqrt(tokens.shape[1])
    return as_field(tokens, (side, side))


class Projected(nn.Module):
    """A projector that leaves tokens as they are, for losses by hand."""

    def forward(self, tokens, grid):
        return as_field(tokens, grid)


# ---- against the published code


@pytest.mark.parametrize("case", ORACLES["irepa"]["cases"], ids=lambda case: f"gamma {case['gamma']}")
def test_irepa_equals_published_values(case):
    target, student = 2 * white(case["seed"], case["shape"]) + 1, white(case["seed"] + 100, case["shape"])
    filtered = SpatialNormalisation(case["gamma"], "empirical")(square(target))
    assert filtered.flatten(2).mT[0, 1].tolist() == pytest.approx(case["row"], rel=1e-9)
    assert float(filtered.square().sum()) == pytest.approx(case["sum_of_squares"], rel=1e-9)
    assert float(negative_cosine(square(student), filtered)) == pytest.approx(case["cosine_loss"], abs=1e-9)
    assert float(negative_cosine(square(student), square(target))) == pytest.approx(
        case["cosine_loss_unfiltered"], abs=1e-9
    )


@pytest.mark.parametrize("case", ORACLES["repa"]["cases"], ids=lambda case: str(case["shape"]))
def test_repa_equals_published_values(case):
    target, student = 2 * white(case["seed"], case["shape"]) + 1, white(case["seed"] + 100, case["shape"])
    side = math.isqrt(case["shape"][1])
    found = Alignment(Projected(), Unfiltered())(student, (side, side), square(target))
    assert float(found) == pytest.approx(case["projection_loss"], abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "projector", "seed"),
    [("perceptron", PerceptronProjector(4, 3, hidden=8), 8), ("convolution", ConvolutionProjector(4, 3), 9)],
)
def test_projectors_equal_published_ones(kind, projector, seed):
    rng = np.random.default_rng(seed)
    for parameter in projector.double().parameters():
        parameter.data = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)) * 0.1)
    found = projector(white(7, (2, 12, 4)), (3, 4))
    assert found.shape == (2, 3, 3, 4)
    torch.testing.assert_close(found[1].flatten(1).mT, torch.tensor(ORACLES["projectors"][kind], dtype=torch.float64))


# ---- by hand


def test_negative_cosine_by_hand():
    student = torch.tensor([[1.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-2.0, 0.0]])[None]
    target = torch.tensor([[5.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])[None]
    found = negative_cosine(as_field(student, (2, 2)), as_field(target, (2, 2)))
    assert float(found) == pytest.approx(-(1 + 0 + math.sqrt(0.5) - 1) / 4)


def test_gram_by_hand_and_with_other_widths():
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None]  # cosines 1, 0, 0, 1
    target = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0]])[None]  # all 1
    assert float(gram(as_field(student, (1, 2)), as_field(target, (1, 2)))) == pytest.approx(0.5)
    turned = target @ torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    assert float(gram(as_field(turned, (1, 2)), as_field(target, (1, 2)))) == pytest.approx(0, abs=1e-6)


@pytest.mark.unchecked
def test_repa_irepa_and_repa_dog_have_their_parts():
    for made, projector, target_filter in (
        (repa(8, 5, hidden=16), PerceptronProjector, Unfiltered()),
        (irepa(8, 5), ConvolutionProjector, SpatialNormalisation(0.6, "empirical")),
        (repa_dog(8, 5, 0.5, 2.0), ConvolutionProjector, DifferenceOfGaussians(0.5, 2.0, "empirical")),
    ):
        assert type(made.projector) is projector
        assert made.target_filter == target_filter
        assert made.loss is negative_cosine
        assert made(torch.randn(2, 16, 8), (4, 4), torch.randn(2, 5, 4, 4)).shape == ()


# ---- the confound of a std (tests/studies/test_directional_theory.py holds the theory of the filters)


@pytest.mark.parametrize("choice", [SpatialNormalisation(0.6), DifferenceOfGaussians(0.5, 2.0)], ids=repr)
def test_scaled_by_one_number_changes_neither_loss(choice, generator):
    field = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    student = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    divided = type(choice)(**{**choice.__dict__, "std": 7.5})(field)
    torch.testing.assert_close(divided * 7.5, choice(field))
    for loss in (negative_cosine, gram):
        torch.testing.assert_close(loss(student, divided), loss(student, choice(field)))
    torch.testing.assert_close(rmsc(divided), rmsc(choice(field)))
    channels = torch.tensor([1, 2, 4, 8]).view(4, 1, 1)
    empirical = type(choice)(**{**choice.__dict__, "std": "empirical"})
    torch.testing.assert_close(empirical(field * channels), empirical(field), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(
        negative_cosine(student, empirical(field * channels)), negative_cosine(student, choice(field * channels))
    )


# ---- what must hold of all


@pytest.mark.parametrize("choice", FILTERS, ids=repr)
def test_target_filters_treat_images_independently_and_keep_shape(choice, generator):
    field = torch.randn(3, 4, 6, 5, generator=generator)
    together = choice(field)
    assert together.shape == field.shape
    torch.testing.assert_close(together[1:2], choice(field[1:2]))
    assert choice(field.bfloat16()).dtype == torch.float32


@settings(deadline=None, max_examples=20)
@given(h=st.integers(1, 4), w=st.integers(1, 4), outer=st.floats(0.1, 40))
def test_difference_of_gaussians_takes_kernels_wider_than_the_grid(h, w, outer):
    field = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(h * 5 + w), dtype=torch.float64)
    for std in ("none", "empirical"):
        assert DifferenceOfGaussians(0.0, outer, std)(field).isfinite().all()
    assert SpatialNormalisation(1.0, "empirical")(field).isfinite().all()
    constant = torch.full((1, 2, h, w), 3.0, dtype=torch.float64)
    assert difference_of_gaussians(constant, 0.0, outer).abs().max() < 1e-12
    torch.testing.assert_close(gaussian_blur(constant, outer), constant)


def test_alignment_gradients_reach_the_student_alone(generator):
    alignment = irepa(8, 5)
    tokens = torch.randn(2, 16, 8, generator=generator, requires_grad=True)
    target = torch.randn(2, 5, 4, 4, generator=generator, requires_grad=True)
    alignment(tokens, (4, 4), target).backward()
    assert tokens.grad is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in alignment.parameters())
    assert target.grad is None


@pytest.mark.parametrize("loss", [negative_cosine, gram])
@pytest.mark.parametrize("projector", [PerceptronProjector(3, 4, hidden=5), ConvolutionProjector(3, 4)])
def test_alignment_losses_pass_gradcheck(loss, projector, generator):
    alignment = Alignment(projector, SpatialNormalisation(0.6, "empirical"), loss).double()
    target = torch.randn(2, 4, 2, 3, generator=generator, dtype=torch.float64)
    tokens = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: alignment(x, (2, 3), target), tokens)


def test_alignment_filters_targets_on_their_own_grid_then_resamples(generator):
    tokens, fine = torch.randn(2, 16, 8, generator=generator), torch.randn(2, 8, 8, 8, generator=generator)
    band_pass = DifferenceOfGaussians(0.5, 2.0)
    found = Alignment(Projected(), band_pass)(tokens, (4, 4), fine)
    student = as_field(tokens, (4, 4))
    assert torch.equal(found, negative_cosine(student, resize(band_pass(fine), (4, 4), "bilinear")))
    other_way = negative_cosine(student, band_pass(resize(fine, (4, 4), "bilinear")))
    assert abs(float(found - other_way)) > 1e-3


@pytest.mark.slow
@pytest.mark.unchecked
def test_alignment_supports_autocast_and_compile(generator):
    alignment = repa_dog(8, 5, 0.5, 1.5)
    tokens, target = torch.randn(2, 64, 8, generator=generator), torch.randn(2, 5, 8, 8, generator=generator)
    plain = alignment(tokens, (8, 8), target)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = alignment(tokens, (8, 8), target)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(plain.item(), abs=0.01)
    with torch.autocast("cpu", torch.bfloat16):  # the projector rounds, the target and the loss do not
        exact = Alignment(Projected(), alignment.target_filter)(target.flatten(2).mT.contiguous(), (8, 8), target)
    assert exact == Alignment(Projected(), alignment.target_filter)(target.flatten(2).mT.contiguous(), (8, 8), target)
    torch.compiler.reset()  # sizes that an earlier test compiled would make this one's symbolic
    compiled = torch.compile(alignment, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens, (8, 8), target), plain)


@pytest.mark.parametrize("make", [PerceptronProjector, ConvolutionProjector])
def test_projectors_depend_on_the_seed_alone(make):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, same, other = make(4, 3, seed=5), make(4, 3, seed=5), make(4, 3, seed=6)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def one_line(said):
    return f"^[^\\n]*{re.escape(said)}[^\\n]*$"


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SpatialNormalisation(math.nan), "gamma"),
        (lambda: SpatialNormalisation(1.0, 0.0), "positive and finite, got 0.0"),
        (lambda: SpatialNormalisation(1.0, "zscore"), "none, empirical or a positive number, got 'zscore'"),
        (lambda: DifferenceOfGaussians(2.0, 1.0), "0 <= inner < outer"),
        (lambda: DifferenceOfGaussians(0.0, math.inf), "outer inf"),
        (lambda: repa(4, 3)(torch.zeros(2, 4, 4), (2, 2), torch.zeros(1, 3, 2, 2)), "for 2 images"),
        (lambda: repa(4, 3)(torch.zeros(2, 5, 4), (2, 2), torch.zeros(2, 3, 2, 2)), "of the grid alone"),
        (lambda: repa(4, 3)(torch.zeros(2, 4, 4), (2, 2), torch.zeros(2, 1, 2, 2)), "batch and grid and width"),
        (lambda: gram(torch.zeros(2, 3, 2, 2), torch.zeros(1, 3, 2, 2)), "of one batch and grid, got"),
        (
            lambda: repa(4, 3)(torch.zeros(2, 4, 4), (2, 2), torch.zeros(2, 3, 2, 4)),
            "aspect ratio of the tokens' grid, 2 x",
        ),
    ],
)
def test_alignment_refuses_impossible_arguments(make, said):
    with pytest.raises(ValueError, match=one_line(said)):
        make()


def test_scaled_leaves_a_single_token_unchanged():
    assert torch.equal(scaled(torch.ones(1, 2, 1, 1), "empirical"), torch.ones(1, 2, 1, 1))
