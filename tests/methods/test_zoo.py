import re

import pytest

from spectrum_matching.methods import ESM, KL, METHODS, Downscale, FeatureMatch, Identity, ScaleRotate, SpectralMask

TABLE = {  # the unified view: encoding-side terms, shared transform
    "autoencoder": ((), Identity),
    "sd_vae": ((KL,), Identity),
    "esm": ((ESM,), Identity),
    "dsm": ((), SpectralMask),
    "esm_dsm": ((ESM,), SpectralMask),
    "scale_equivariance": ((KL,), Downscale),
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
    assert all(term.weight > 0 for term in method.terms)
    assert len({term.name for term in method.terms}) == len(method.terms)


@pytest.mark.parametrize("name", TABLE)
def test_methods_have_citations(name, make):
    citation = make(name).citation
    assert re.search(r"\b(19|20)\d\d\b", citation)
    assert re.search(r"arXiv \d{4}\.\d{5}|Science", citation)


def test_methods_default_to_the_paper():
    both = METHODS["esm_dsm"]()
    assert both.terms[0].loss == ESM(delta=1.0, bins=16, variant="paper")
    assert both.terms[0].weight == 0.01
    assert both.shared == SpectralMask(keep=(15, 7, 5, 3), block=8)
    assert METHODS["sd_vae"]().terms[0].loss == KL("sum")
    assert METHODS["sd_vae"]().terms[0].weight == 1e-6


def test_methods_pass_arguments_to_their_parts(make):
    method = METHODS["esm_dsm"](esm_weight=0.5, delta=0.4, bins=8, variant="scale_free", keep=(3, 1), block=4)
    assert method.terms[0].loss == ESM(0.4, 8, "scale_free")
    assert method.terms[0].weight == 0.5
    assert method.shared == SpectralMask((3, 1), 4)
    assert METHODS["esm"](delta=0.2).terms[0].loss.delta == 0.2
    assert METHODS["dsm"](keep=(5,)).shared.keep == (5,)
    assert METHODS["sd_vae"](kl_weight=3, kl_reduction="mean").terms[0].loss == KL("mean")
    assert METHODS["scale_equivariance"](factors=(1, 2)).shared.factors == (1, 2)
    assert METHODS["eq_vae"](probability=0.25).shared.probability == 0.25
    options = {"feature_weight": 2.0, "cosine_margin": 0.1, "distance_margin": 0.2, "kl_weight": 3, "seed": 4}
    kl, features = make("va_vae", kl_reduction="mean", **options).terms
    assert (kl.loss, kl.weight, kl.balanced) == (KL("mean"), 3, False)
    assert (features.weight, features.balanced) == (2.0, True)
    assert (features.loss.cosine_margin, features.loss.distance_margin) == (0.1, 0.2)
    assert features.loss.projection.weight.equal(make("va_vae", seed=4).terms[1].loss.projection.weight)
    assert not features.loss.projection.weight.equal(make("va_vae").terms[1].loss.projection.weight)
