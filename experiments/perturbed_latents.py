"""What does `analyze` say about a latent space that is made too noisy, and too smooth?

    python experiments/perturbed_latents.py NAME AUTOENCODER --data PATH [--size 256] [--images 100] [--tests 50]

Measures an autoencoder, the same with white noise of half a channel's standard deviation on its latents, and the same
with its latents blurred by one position, on the same images; writes experiments/results/perturbed_NAME.json.
"""

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectrum_matching.analysis import analyze, numbers
from spectrum_matching.analysis.options import AnalysisOptions
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import Analysis
from spectrum_matching.spectrum.filters import gaussian_blur

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "psnr": "PSNR, dB",
    "std": "latent std",
    "exponent": "exponent",
    "best_delta": "best delta",
    "gap_scale_free_1": "gap at delta 1",
    "sec_25": "SEC 0.25",
    "sec_50": "SEC 0.5",
    "lds_4n_far6": "LDS",
    "cds_8": "CDS",
    "viv": "VIV, one class",
    "lowpass_gap": "low-pass gap, dB",
}


class Noisy(nn.Module):
    """Add white noise to latents, half a standard deviation of each channel, seeded by the image."""

    def __init__(self, codec: Autoencoder, stds: Tensor) -> None:
        super().__init__()
        self.codec, self.stds, self.multiple = codec, stds, codec.multiple

    def encode(self, images: Tensor) -> Tensor:
        """Encode images (b, 3, H, W) → latents (b, c, h, w)."""
        latents = self.codec.encode(images).mean
        digests = [hashlib.blake2b(image.numpy().tobytes(), digest_size=7).digest() for image in images]
        seeds = [int.from_bytes(digest, "big") for digest in digests]
        noise = [torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return latents + 0.5 * self.stds.view(-1, 1, 1) * torch.stack(noise)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents → images."""
        return self.codec.decode(latents)


class Blurred(nn.Module):
    """Blur latents by a Gaussian of one position."""

    def __init__(self, codec: Autoencoder) -> None:
        super().__init__()
        self.codec, self.multiple = codec, codec.multiple

    def encode(self, images: Tensor) -> Tensor:
        """Encode images (b, 3, H, W) → latents (b, c, h, w)."""
        return gaussian_blur(self.codec.encode(images).mean, 1.0)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents → images."""
        return self.codec.decode(latents)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; one row for each of the three."""
    codec = Autoencoder.from_pretrained(arguments.autoencoder)
    images = open_images(arguments.data, arguments.size, split="all")
    options = {"n_images": arguments.images, "batch_size": 10, "options": AnalysisOptions(all_readings=True)}
    plain = analyze(codec, images, name="as it is", n_tests=arguments.tests, **options)
    stds = torch.tensor([channel.std for channel in plain.view("mean").channels])
    others = {"with white noise, half a std": Noisy(codec, stds), "blurred by one cell": Blurred(codec)}
    analyses = [plain, *(analyze(other, images, name=name, n_tests=10, **options) for name, other in others.items())]
    return {
        "question": "perturbed_latents",
        "command": arguments.command,
        "autoencoder": plain.subject.kind,
        "digest": plain.subject.digest,
        "latent_shape": plain.latent_shape,
        "n_images": plain.sample.n_images,
        "images": plain.sample.digest,
        "commit": plain.provenance.commit,
        "torch": plain.provenance.torch,
        "rows": [row(analysis) for analysis in analyses],
    }


def row(analysis: Analysis) -> dict[str, Any]:
    """Return the numbers and the verdict of one."""
    measurements = analysis.view("mean").measurements | analysis.decoding.measurements
    errors = {key: measurement.standard_error for key, measurement in measurements.items()}
    match = analysis.view("mean").match("scale_free")
    return {
        "name": analysis.subject.name,
        "n_tests": analysis.decoding.n_tests,
        "numbers": {
            key: {"value": value, "standard_error": errors.get(key)} for key, value in numbers(analysis).items()
        },
        "best_delta_interval": match.best_delta_interval,
        "image_exponent": analysis.image_on_latent_grid.exponent.value,
        "transfer": dataclasses.asdict(analysis.decoding.transfer),
        "noise": [dataclasses.asdict(point) for point in analysis.decoding.noise],
        "lowpass": [dataclasses.asdict(point) for point in analysis.decoding.lowpass],
        "equivariance": [dataclasses.asdict(point) for point in analysis.equivariance],
        "findings": [dataclasses.asdict(finding) for finding in analysis.findings],
    }


def table(document: dict[str, Any]) -> str:
    """Format a column for each of the three as Markdown."""
    rows = document["rows"]
    lines = [f"| | {' | '.join(row['name'] for row in rows)} |", "|---" * (len(rows) + 1) + "|"]
    for key, title in COLUMNS.items():
        lines.append(f"| {title} | {' | '.join(cell(row['numbers'].get(key)) for row in rows)} |")
    said = (", ".join(finding["key"] for finding in row["findings"]) for row in rows)
    return "\n".join([*lines, f"| verdict | {' | '.join(said)} |"])


def cell(number: dict[str, float | None] | None) -> str:
    """Format a value ± its standard error."""
    if number is None:
        return "refused"
    value, error = number["value"], number["standard_error"]
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("autoencoder")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--tests", type=int, default=50)
    arguments = parser.parse_args()
    arguments.command = (
        f"python experiments/perturbed_latents.py {arguments.name} {arguments.autoencoder} --data {arguments.data} "
        f"--size {arguments.size} --images {arguments.images} --tests {arguments.tests}"
    )
    RESULTS.mkdir(exist_ok=True)
    document = measure(arguments)
    (RESULTS / f"perturbed_{arguments.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
