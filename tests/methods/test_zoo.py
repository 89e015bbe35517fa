import re

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from spectrum_matching.methods import (
    ESM,
    KL,
    METHODS,
    Added,
    Downscale,
    FeatureMatch,
    Identity,
    ScaleRotate,
    SpectralMask,
)

TABLE = {  # the unified view: encoding-side terms, shared transform
    "autoencoder": ((), Identity),
    "sd_vae": ((KL,), Identity),
    "esm": ((ESM,), Identity),
    "dsm": ((), SpectralMask),
    "esm_dsm": ((ESM,), SpectralMask),
    "scale_equivariance": ((KL,), Identity),
    "eq_vae": ((KL,), ScaleRotate),
    "va_vae": ((KL, FeatureMatch), Identity),
}


def test_methods_are_the_rows_of_the_table():
    assert list(METHODS) == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_methods_are_the_pairs_of_the_table(name, make):
    method = make(name)
    losses, shared = TABLE[name]
    assert method.name == name
    assert tuple(type(term.loss) for term in method.terms) == losses
    assert type(method.shared) is shared
    assert (method.added is not None) == (name == "scale_equivariance")
    assert type(method.before) is (ScaleRotate if name == "eq_vae" else Identity)
    assert all(term.weight > 0 for term in method.terms)
    assert len({term.name for term in method.terms}) == len(method.terms)


@pytest.mark.parametrize("name", TABLE)
def test_methods_have_citations(name, make):
    citation = make(name).citation
    assert re.search(r"\b(19|20)\d\d\b", citation)
    assert re.search(r"arXiv \d{4}\.\d{5}|Science", citation)


def test_methods_default_to_the_papers_numbers_and_the_scale_free_loss():
    both = METHODS["esm_dsm"]()
    assert both.terms[0].loss == ESM(delta=1.0, bins=16, variant="scale_free") == ESM()
    assert both.terms[0].weight == 0.01
    assert both.shared == SpectralMask(keep=(15, 7, 5, 3), block=8)
    added = METHODS["scale_equivariance"]().added
    assert (added.weight, added.shared.factors, added.shared.interpolation) == (0.25, (2, 3, 4), "bilinear")
    eq = METHODS["eq_vae"]()
    assert (eq.shared.probability, eq.before.probability, eq.before.turns) == (0.5, 0.25, (0,))
    assert (eq.shared.interpolation, eq.shared.antialias) == ("bilinear", False)


@pytest.mark.parametrize(("shape", "weight"), [((4, 32, 32), 1e-6), ((16, 16, 16), 1e-6), ((8, 8, 8), 8e-6)])
@pytest.mark.parametrize("name", ["sd_vae", "scale_equivariance", "eq_vae", "va_vae"])
def test_kl_has_the_papers_strength_at_every_size(name, shape, weight, make, field):
    """As a weight of the sum: 1e-6 for both of the paper's shapes at 256 × 256, 8e-6 at 32 × 32, f4d8."""
    c, h, w = shape
    posterior = DiagonalGaussianDistribution(field(1, (2, 2 * c, h, w)))
    term = make(name).terms[0]
    torch.testing.assert_close(term.weight * term.loss(posterior, None, None), weight * posterior.kl().mean())


def test_methods_pass_arguments_to_their_parts(make):
    method = METHODS["esm_dsm"](esm_weight=0.5, delta=0.4, bins=8, variant="scale_free", keep=(3, 1), block=4)
    assert method.terms[0].loss == ESM(0.4, 8, "scale_free")
    assert method.terms[0].weight == 0.5
    assert method.shared == SpectralMask((3, 1), 4)
    assert METHODS["esm"](delta=0.2).terms[0].loss.delta == 0.2
    assert METHODS["dsm"](keep=(5,)).shared.keep == (5,)
    assert METHODS["sd_vae"](kl_weight=3).terms[0].weight == 3
    assert METHODS["scale_equivariance"](factors=(1, 2), added_weight=2).added == Added(Downscale((1, 2)), 2)
    eq = METHODS["eq_vae"](probability=0.25, prior=0.125, interpolation="bicubic")
    assert eq.shared == ScaleRotate(probability=0.25, interpolation="bicubic")
    assert eq.before == ScaleRotate(turns=(0,), probability=0.125, interpolation="bicubic")
    options = {"feature_weight": 2.0, "cosine_margin": 0.1, "distance_margin": 0.2, "kl_weight": 3, "seed": 4}
    kl, features = make("va_vae", **options).terms
    assert (kl.loss, kl.weight, kl.balanced) == (KL("mean"), 3, False)
    assert (features.weight, features.balanced) == (2.0, True)
    assert (features.loss.cosine_margin, features.loss.distance_margin) == (0.1, 0.2)
    assert features.loss.projection.weight.equal(make("va_vae", seed=4).terms[1].loss.projection.weight)
    assert not features.loss.projection.weight.equal(make("va_vae").terms[1].loss.projection.weight)
