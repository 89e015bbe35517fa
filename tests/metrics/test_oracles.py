"""Every recorded value of metrics of latents: authors' code, independent implementations, and values by hand.

NOT_OF_LATENTS are metrics of decoders or of sets of images, tested elsewhere, and metrics that are not offered.
"""

import json
import math
from pathlib import Path

import pytest
import torch

from spectrum_matching.methods.encoding_losses import spectrum_distributions
from spectrum_matching.metrics.decoder.lowpass import lowpass
from spectrum_matching.metrics.latents.block_dct import block_amplitudes, block_profile, high_share
from spectrum_matching.metrics.latents.concentration import concentration
from spectrum_matching.metrics.latents.eigenspectrum import (
    channel_covariance,
    channel_products,
    condition_number,
    effective_rank,
    participation_ratio,
    top_share,
)
from spectrum_matching.metrics.latents.irreducible_variance import irreducible_variance
from spectrum_matching.metrics.latents.local_correlation import local_correlation
from spectrum_matching.metrics.latents.neighbours import chance_level, gsq, neighbour_consistency, pool
from spectrum_matching.metrics.latents.region_similarity import srss
from spectrum_matching.metrics.latents.similarity import cds, distance_cosines, lds
from spectrum_matching.spectrum import (
    block_lowpass,
    dct2,
    flatten_bands,
    kl_divergence,
    power_spectrum,
    radial_bins,
    radial_profile,
    rmsc,
    spectrum_distribution,
)
from spectrum_matching.spectrum.block_lowpass import lowpass_projection
from spectrum_matching.spectrum.separable import FLOAT64

ORACLES = json.loads((Path(__file__).parents[1] / "oracles" / "metric_values.json").read_text())["oracles"]

NOT_OF_LATENTS = {
    "TwoNN intrinsic dimension": "unusable on flattened latents of a few hundred images, not offered",
    "Frechet distance": "of features of images: distances",
    "Frechet distance (pytorch-fid)": "of features of images: distances",
    "equivariance error": "needs the encoder: equivariance",
    "equivariance error (per image)": "needs the encoder: equivariance",
    "slerp": "part of iFID, not offered",
    "slerp (unnormalised endpoints, weights sin((1-t)th)/sin th, sin(t th)/sin th)": "part of iFID, not offered",
    "iFID": "needs the training set's latents, not offered",
    "iFID candidate weights softmax(-mean squared difference)": "part of iFID, not offered",
    "LPC": "needs the decoder: consistency",
    "LPC scale weights": "needs the decoder: consistency",
    "zig-zag band energy (UAE style, raw part only)": "descriptive alone, not offered",
}


def standardised(x, eps=0.0):
    return (x - x.mean((0, 2, 3), keepdim=True)) / (x.std((0, 2, 3), keepdim=True) + eps)


def cosines(x):
    return distance_cosines(x), x.shape[-2:]


def squared_if(value, params):
    return value if params.get("sqrt", True) else value.square()


def gap_on_one_grid(images, latents, params):
    """The paper's spectra of images that already have the latents' grid."""
    log_power = params["power"] == "log1p"
    bands = []
    for x in (images, latents):
        power = power_spectrum(x).mean(1)
        power[:, 0, 0] = 0
        bands.append(radial_profile(power, params["bins"], "index"))
    target = flatten_bands(bands[0], torch.arange(1.0, params["bins"] + 1), params["delta"])
    return kl_divergence(spectrum_distribution(target, log_power), spectrum_distribution(bands[1], log_power))


def gap_from_pixels(images, latents, params):
    return kl_divergence(*spectrum_distributions(latents, images, delta=params["delta"], variant="paper"))


def unnormalised_rmsc(x, params):
    """Energy outside DC, by Parseval."""
    power = power_spectrum(x).sum(1)
    return ((power.sum((-2, -1)) - power[:, 0, 0]) / power[0].numel()).sqrt()


def block_lowpassed(x, params):
    keep = 15 - params["k"]
    low = block_lowpass(x, keep)
    return {
        "kept_of_64": round(float(lowpass_projection(keep, 8, like=FLOAT64).trace())),
        "energy_ratio": float(low.square().sum() / x.square().sum()),
        "first3": low.flatten()[:3].tolist(),
    }


def profile(x, params):
    profile = block_profile(block_amplitudes(x, params["block"]).sum(0))
    return {f"index_{i}": float(profile[i]) for i in (1, 2, 8, 32, 63)} | {"mean_32_to_63": float(high_share(profile))}


def viv(x, params):
    x = standardised(x)
    found = irreducible_variance(lambda: [(x, torch.zeros(len(x), dtype=torch.long))], params["iterations"])
    return {"mean_over_spectrum": found.mean, "sum_over_d": found.per_dimension, "rho": found.within}


def neighbours(x, params):
    labels = torch.arange(40) % 5
    masks = None
    if "diskmask" in params["mask"]:
        i = torch.arange(8) - 3.5
        masks = (i[:, None].square() + i.square() <= 2.2**2).expand(40, 8, 8)
    assert not params["centre"]
    return float(neighbour_consistency(pool(x, masks), labels, params["k"], params["similarity"], False).mean())


def eigenspectrum(x, params):
    n = torch.tensor(x[:, 0].numel())
    covariance = channel_covariance(channel_products(x).sum(0), x.sum((0, 2, 3)), n)
    values = torch.linalg.eigvalsh(covariance)
    correlations = torch.linalg.eigvalsh(x.transpose(0, 1).flatten(1).corrcoef())
    return {
        "participation_ratio_cov": float(participation_ratio(values)),
        "participation_ratio_corr": float(participation_ratio(correlations)),
        "top1_fraction": float(top_share(values)),
        "condition_number": float(condition_number(values)),
    }


MEASURES = {
    "LDS": lambda x, p: lds(*cosines(x), p["far_dist"]),
    "CDS": lambda x, p: cds(cosines(x)[0], p["dmax"]),
    "RMSC": lambda x, p: squared_if(rmsc(x), p),
    "RMSC, 2x2 cells stacked per token": lambda x, p: rmsc(x, p["patch"]),
    "RMSC without token normalisation": unnormalised_rmsc,
    "SRSS": lambda x, m, p: srss(x, m, p["d_pos"], p["d_neg"]),
    "local correlation": lambda x, p: float(
        local_correlation(standardised(x, 1e-6) if p["per_channel_standardise"] else x, p["window"][0]).mean()
    ),
    "2-D DCT-II orthonormal": lambda x, p: dct2(x),
    "SEC": lambda x, p: concentration(x if p["normalise"] == "none" else standardised(x), p["rho"]),
    "block-DCT zig-zag profile": profile,
    "spectrum gap to f^delta-flattened image target (per sample)": gap_on_one_grid,
    "spectrum gap, faithful preprocessing from 256x256": gap_from_pixels,
    "DSM block low-pass": block_lowpassed,
    "VIV (Kronecker flip-flop)": viv,
    "LNC": neighbours,
    "GSQ": lambda x, p: float(gsq(pool(x), torch.arange(40) % 5).mean()),
    "channel eigenspectrum": eigenspectrum,
    "eRank (PAE)": lambda x, p: float(effective_rank(pool(x), "not centred" not in p["features"])),
}

WHITE = torch.randn(64, 64, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WHITE_32 = torch.randn(64, 16, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CONSTANT = torch.full((2, 4, 16, 16), 3.0, dtype=torch.float64)
HALVES = torch.ones(1, 4, 16, 16, dtype=torch.float64)
HALVES[..., 8:] = -1
LEFT = torch.zeros(1, 16, 16, dtype=torch.bool)
LEFT[..., :8] = True


def wide(values):
    return torch.tensor(values, dtype=torch.float64)


def concentrations(x):
    return {f"rho={rho}": concentration(x, rho) for rho in (0.25, 0.5)}


def chance_of_shuffled_labels():
    """(n − 1) / (N − 1) for 8 classes of 5."""
    return chance_level(torch.arange(40) % 8)


def gap_to_its_own_target():
    images = WHITE[:, :3]
    target = flatten_bands(radial_profile(power_spectrum(images).mean(1)), torch.arange(1.0, 17), 0.7)
    return float(kl_divergence(*[spectrum_distribution(target)] * 2).abs().max())


def identity_decoder_error():
    images = WHITE[:2, :3]
    found = lowpass(lambda z: z, images, images, images, 7, 8)
    return {"mse": float((found.decoded - found.image).square().mean())}


BY_HAND = {
    ("SEC", "expectation for white noise, 16x16 grid"): lambda v: (concentrations(WHITE), v),
    ("SEC", "expectation for white noise, 32x32 grid"): lambda v: (concentrations(WHITE_32), v),
    ("SEC", "constant non-zero latent"): lambda v: (concentration(CONSTANT), v),
    ("radial bin cell counts (16 bins, floor(r/r_corner*16), last cell clamped)", "grid 16x16 and 32x32"): lambda v: (
        {key: radial_bins(*map(int, key.split("x"))).counts.tolist() for key in v},
        v,
    ),
    ("LNC", "expectation for labels independent of latents, balanced classes of n in N images"): lambda v: (
        chance_of_shuffled_labels(),
        4 / 39,
    ),
    ("participation ratio", "eigenvalues (3,1)"): lambda v: (participation_ratio(wide([3, 1])), v),
    ("participation ratio", "rank one"): lambda v: (participation_ratio(wide([3, 0])), v),
    ("participation ratio", "C equal eigenvalues"): lambda v: (participation_ratio(wide([2] * 7)), 7.0),
    ("LDS", "expectation, white noise, many channels"): lambda v: (float(lds(*cosines(WHITE)).mean()), v),
    ("LDS / CDS / RMSC", "constant non-zero latent"): lambda v: (
        {
            "LDS": float(lds(*cosines(CONSTANT))[0]),
            "CDS": float(cds(cosines(CONSTANT)[0])[0]),
            "RMSC": float(rmsc(CONSTANT)[0]),
        },
        v,
    ),
    ("RMSC", "halves(+1,-1)"): lambda v: (float(rmsc(HALVES)), v),
    ("SRSS", "halves with mask = one half"): lambda v: (float(srss(HALVES, LEFT)), v),
    ("local correlation", "white noise expectation"): lambda v: (float(local_correlation(WHITE).mean()), v),
    ("local correlation", "globally constant latent (0/0 guarded by 1e-8)"): lambda v: (
        float(local_correlation(CONSTANT).mean()),
        v,
    ),
    ("block-DCT zig-zag profile", "constant non-zero latent: all AC entries"): lambda v: (
        float(block_profile(block_amplitudes(CONSTANT).sum(0))[1:].max()),
        v,
    ),
    ("spectrum gap", "latent spectrum equal to the flattened target"): lambda v: (gap_to_its_own_target(), v),
    ("low-pass decoder test", "identity autoencoder"): lambda v: (identity_decoder_error(), v),
}

RMSC_OF_NOISE = "expectation of the squared value for independent isotropic tokens, T cells"


def named(oracle):
    return f"{oracle['metric']}-{'-'.join(oracle.get('inputs', ['by hand']))}"


def assert_equal(found, expected, oracle):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = zip(*((found[key], expected[key]) for key in expected), strict=True)
        for pair in zip(found, expected, strict=True):
            assert_equal(*pair, oracle)
        return
    pair = (torch.as_tensor(value, dtype=torch.float64) for value in (found, expected))
    torch.testing.assert_close(*pair, rtol=oracle["rtol"], atol=oracle["atol"])


@pytest.mark.parametrize("oracle", [o for o in ORACLES if "inputs" in o and o["metric"] in MEASURES], ids=named)
def test_metrics_reproduce_recorded_values(oracle, oracle_input):
    inputs = (oracle_input(name) for name in oracle["inputs"])
    assert_equal(MEASURES[oracle["metric"]](*inputs, oracle["params"]), oracle["value"], oracle)


@pytest.mark.parametrize("key", BY_HAND, ids=" ".join)
def test_metrics_reproduce_values_by_hand(key):
    (oracle,) = (o for o in ORACLES if (o["metric"], o.get("setup")) == key)
    assert_equal(*BY_HAND[key](oracle["value"]), oracle)


def test_rmsc_of_white_noise_depends_on_positions():
    squared = rmsc(WHITE).square()
    assert float(squared.mean()) == pytest.approx(1 - 1 / 256, abs=3 * float(squared.std()) / math.sqrt(len(WHITE)))


def test_oracles_are_all_used():
    done = {key[0] for key in BY_HAND} | MEASURES.keys() | NOT_OF_LATENTS.keys()
    assert {o["metric"] for o in ORACLES} <= done
    by_hand = {(o["metric"], o["setup"]) for o in ORACLES if "inputs" not in o and o["metric"] not in NOT_OF_LATENTS}
    assert by_hand == BY_HAND.keys() | {("RMSC", RMSC_OF_NOISE)}
