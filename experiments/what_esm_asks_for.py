"""What does the paper's loss on the latent spectrum ask for, and what does a block mask keep, in numbers?

    python experiments/what_esm_asks_for.py

On Gaussian fields of known spectra and on the embedded images, from one seed, with no training:

- the loss of both variants of ESM, by the power law of the latents and their standard deviation;
- how far the image spectrum that the paper's code takes (blurred with zeros beyond the border, resized without
  antialiasing) lies from that of the image itself, by factor;
- the periods that each `keep` of DSM's mask leaves, in pixels, on each side.

Writes experiments/results/what_esm_asks_for.json.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.methods.encoding_losses import ESM, spectrum_distributions
from spectrum_matching.records.provenance import commit
from spectrum_matching.spectrum import idct2, kl_divergence

RESULT = Path(__file__).parent / "results" / "what_esm_asks_for.json"
STDS = (0.1, 0.3, 1.0, 2.0, 5.0, 20.0)
EXPONENTS = tuple(round(0.1 * i, 1) for i in range(31))
SHOWN = (0.0, 0.5, 1.0, 1.5, 2.0)
N, CHANNELS, GRID, SIDE = 16, 16, 32, 256
KEEPS = (15, 7, 5, 3)
N_IMAGES = 64


def field(exponent: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Sample a Gaussian field of power 1/f^exponent and unit variance, without DC."""
    h, w = shape[-2:]
    f = torch.hypot(torch.arange(h)[:, None] / (2 * h), torch.arange(w) / (2 * w)).double()
    f[0, 0] = 1
    amplitude = f ** (-exponent / 2)
    amplitude[0, 0] = 0
    made = idct2(torch.randn(shape, generator=generator, dtype=torch.float64) * amplitude)
    return (made / made.square().mean().sqrt()).float()


def losses_by_scale() -> dict[str, Any]:
    """Return ESM of latents 1/f^exponent at each standard deviation, towards images of 1/f² flattened by 1."""
    generator = torch.Generator().manual_seed(0)
    images = 0.5 * field(2.0, (N, 3, SIDE, SIDE), generator)
    made = {exponent: field(exponent, (N, CHANNELS, GRID, GRID), generator) for exponent in EXPONENTS}
    rows: dict[str, Any] = {}
    for variant in ("paper", "scale_free"):
        esm = ESM(1.0, 16, variant)
        found = {std: [float(esm(None, std * z, images)) for z in made.values()] for std in STDS}
        rows[variant] = {
            "losses": {str(std): dict(zip(map(str, EXPONENTS), values, strict=True)) for std, values in found.items()},
            "best_exponent": {str(std): EXPONENTS[values.index(min(values))] for std, values in found.items()},
        }
    return rows


def targets_by_factor() -> dict[str, Any]:
    """Return the KL in nats from the images' bands, up to the latent grid's Nyquist, to those of the paper's code."""
    images = open_images("embedded", SIDE, split="all")
    x = next(fixed_batches(images, N_IMAGES, N_IMAGES)).images
    rows = {}
    for factor in (8, 16):
        side = SIDE // factor
        cells = torch.zeros(len(x), 1, side, side)
        own, _ = spectrum_distributions(cells, x, delta=0.0, variant="scale_free")
        papers, _ = spectrum_distributions(cells, x, delta=0.0, variant="paper", log_power=False)
        upper = own.shape[1] // 2
        rows[str(factor)] = {
            "kl": float(kl_divergence(own, papers).mean()),
            "upper_half_own": float(own[:, upper:].sum(1).mean()),
            "upper_half_paper": float(papers[:, upper:].sum(1).mean()),
        }
    return rows


def periods_of_masks() -> dict[str, Any]:
    """Return the shortest period along an axis that `keep` diagonals of 8 × 8 blocks leave, in samples and pixels."""
    rows = {}
    for keep in KEEPS:
        samples = 16 / (keep - 1) if keep < 15 else 2.0
        kept = sum(u + v < keep for u in range(8) for v in range(8))
        rows[str(keep)] = {
            "coefficients": kept,
            "samples": samples,
            "pixels_image": samples,
            **{f"pixels_latent_f{factor}": factor * samples for factor in (8, 16)},
        }
    assert math.isclose(rows["3"]["samples"], 8)
    return rows


def main() -> None:
    """Compute, save and print."""
    document = {
        "question": "what_esm_asks_for",
        "command": "python experiments/what_esm_asks_for.py",
        "seed": 0,
        "fields": {"n": N, "channels": CHANNELS, "grid": GRID, "image_side": SIDE, "image_std": 0.5},
        "n_images": N_IMAGES,
        "losses": losses_by_scale(),
        "targets": targets_by_factor(),
        "masks": periods_of_masks(),
        "commit": commit(),
        "torch": torch.__version__,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    for variant, row in document["losses"].items():
        print(variant, row["best_exponent"])
        for std, found in row["losses"].items():
            print(f"  std {std}: {[round(found[str(exponent)], 3) for exponent in SHOWN]}")
    print(document["targets"])
    print(document["masks"])


if __name__ == "__main__":
    main()
