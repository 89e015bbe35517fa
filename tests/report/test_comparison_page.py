import base64
import dataclasses
import io
import math

import torch

from spectrum_matching.comparisons import Comparison, CurvePoint, Trial
from spectrum_matching.results import Estimate, Provenance, Spectrum
from spectrum_matching.scores import BandPower, Evaluation, Protocol, Sampling, Score

OWN = Provenance("0.3.0", "afc7f8e", "2.13.0", "0.42.0", "cpu", "float32", 0)
FREQUENCIES = tuple((i + 0.5) / 16 * math.sqrt(0.5) for i in range(1, 16))


def png(seed, side=24):
    """Noise as base64."""
    from PIL import Image

    pixels = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def spectrum(exponent):
    return Spectrum(FREQUENCIES, tuple(f**-exponent for f in FREQUENCIES), Estimate(exponent, 0.01))


def evaluation(kind, scores, blur=0.0, seed=0):
    """Scores by key, None for a refused one."""
    sampling = Sampling(
        denoiser=f"runs/{seed}/denoiser",
        denoiser_digest="0123456789abcdef",
        step=2000,
        averaged=True,
        autoencoder=f"runs/{seed}/autoencoder",
        autoencoder_digest="fedcba9876543210",
        path="linear",
        prediction="velocity",
        sampler="heun",
        steps=25,
        evaluations=50,
        guidance=1.0,
        guidance_interval=(0.0, 1.0),
        labels="balanced",
        n_images=2000,
        seed=seed,
        dtype="float32",
    )
    made = tuple(
        Score(key, None, None, 2000, "needs 64 images or more, and there are 32")
        if value is None
        else Score(key, value, (value * 0.97, value * 1.03) if kind == "generation" else None, 2000)
        for key, value in scores.items()
    )
    bands = tuple(BandPower(f, 1.0, 1.1, -blur * f * 20) for f in FREQUENCIES) if blur else ()
    protocol = Protocol(
        2000, 10000, 32, "cifar10 test", "aa" * 8, "features.pt", "bb" * 8, "none", "256 levels", None
    )
    if kind == "generation":
        protocol = Protocol(*[*vars(protocol).values()][:-1], sampling)
    return Evaluation(f"{kind} {seed}", kind, made, bands, protocol, OWN, ())


def trial(method, seed, quality, **changes):
    """A trial whose numbers all follow from its quality: the greater the better."""
    shaken = quality + 0.11 * math.sin(7 * seed + 3 * len(method))
    scores = {
        "fid": 90 - 9 * shaken,
        "precision": 0.4 + 0.02 * shaken,
        "recall": 0.3 + 0.01 * shaken,
        "kid": 0.05 - 0.003 * shaken,
        "spectrum_error": 2.1 - 0.2 * shaken,
        "swd": 0.081 - 0.004 * shaken,
        "swd_scale_1": 0.09 - 0.004 * shaken,
    }
    numbers = {
        "psnr": 24 + 0.4 * math.cos(5 * shaken),
        "best_delta": 0.3 + 0.2 * shaken,
        "exponent": 1.9 - 0.2 * shaken,
        "gap_scale_free_1": 0.2 - 0.03 * shaken,
        "lowpass_gap": 3 - 0.4 * shaken,
        "sec_25": 0.3 + 0.05 * shaken,
        "noise_psnr": 31 + shaken,
        "lds": 0.4,
    }
    own = Trial(
        method=method,
        seed=seed,
        numbers=numbers,
        latent_spectrum=spectrum(1.9 - 0.2 * shaken),
        reconstruction=evaluation("reconstruction", {"rfid": 20 - shaken, "psnr": 24.1, "rfid_lowpass_7": 40 - shaken}, 0.1),
        generation=evaluation("generation", scores, 0.4 / (1 + quality), seed),
        curve=tuple(CurvePoint(s, 0.8 + math.exp(-s / 400) + 0.05 * shaken) for s in range(100, 2001, 100)),
        samples=png(seed + 17 * len(method)),
        seconds={"autoencoder": 310.2, "analysis": 12.1, "cache": 4.4, "diffusion": 402.0, "samples": 61.5, "scores": 9.9},
        autoencoder_digest="fedcba9876543210",
        denoiser_digest="0123456789abcdef",
    )
    return dataclasses.replace(own, **changes)


def comparison(trials, control="control", **changes):
    own = Comparison(
        name="cifar10-small",
        plan="name: cifar10-small\nseeds: [0, 1]\nmethods:\n- control\n- esm\n",
        control=control,
        command="specmatch compare plans/cifar10.yaml --out runs",
        n_parameters=(1_234_567, 3_400_000),
        image_spectrum=spectrum(2.1),
        images=png(99),
        trials=tuple(trials),
        provenance=OWN,
        notes=(
            "Small: 2,000 updates of 64 images at 32 × 32 pixels on two CPU cores, about a thousandth of the paper’s.",
            "Nothing here says what would hold at full size.",
        ),
    )
    return dataclasses.replace(own, **changes)
