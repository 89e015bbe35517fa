"""Do the scores of sets of images detect known damage, and do their intervals hold?

    python experiments/scores_of_known_damage.py IMAGES FEATURES [--name cifar10] [--size 32]

Against 2,000 real images: eight disjoint sets of 1,000 others, the first of them also damaged in four ways, and its
bootstrap beside the delta method; writes experiments/results/scores_NAME.json.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from spectrum_matching.data import ImageSet, open_images
from spectrum_matching.evaluation import Reference, compute_reference, evaluate_generation
from spectrum_matching.metrics.images.frechet import frechet_distance
from spectrum_matching.metrics.images.statistics import RunningMoments
from spectrum_matching.nets.vision.extractors import Extractor, open_extractor
from spectrum_matching.records.scores import Evaluation

RESULTS = Path(__file__).parent / "results"
N_REFERENCE, N_IMAGES, N_SETS, N_RESAMPLES = 2_000, 1_000, 8, 100
COLUMNS = {
    "fid": "`fid`",
    "precision": "`precision`",
    "recall": "`recall`",
    "kid": "`kid`",
    "spectrum_error": "`spectrum_error`, dB",
    "swd": "`swd`",
}


def damaged(images: Tensor) -> dict[str, Tensor]:
    """Return the images (n, 3, size, size) in [-1, 1] with each kind of damage, by its name."""
    generator = torch.Generator().manual_seed(0)
    half = avg_pool2d(images, 2)
    return {
        "real": images,
        "noise of 0.1": (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(-1, 1),
        "half size, bilinear back": interpolate(half, scale_factor=2, mode="bilinear"),
        "half size, pixels doubled": interpolate(half, scale_factor=2),
        "uniform noise": 2 * torch.rand(images.shape, generator=generator) - 1,
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the scores of every damage, and the distances of all sets of real images."""
    images = open_images(arguments.images, arguments.size, split="all")
    extractor = open_extractor(arguments.features)
    if len(images) < (needed := N_REFERENCE + N_SETS * N_IMAGES):
        raise SystemExit(f"{arguments.images} has {len(images)} images, expected {needed}")
    reference = compute_reference("real", pixels(images, 0, N_REFERENCE).split(250), extractor)
    sets = [pixels(images, N_REFERENCE + i * N_IMAGES, N_IMAGES) for i in range(N_SETS)]
    rows = [scored(name, changed, reference, extractor) for name, changed in damaged(sets[0]).items()]
    real = [rows[0], *(scored("real", own, reference, extractor) for own in sets[1:])]
    together = scored("together", torch.cat(sets), reference, extractor)
    return {
        "question": "scores_of_known_damage",
        "command": arguments.command,
        "extractor": extractor.digest,
        "images": images.digest,
        "n_images": N_IMAGES,
        "n_reference": N_REFERENCE,
        "commit": rows[0].provenance.commit,
        "torch": rows[0].provenance.torch,
        "rows": [{"name": row.name, "scores": numbers(row)} for row in rows],
        "sets_of_real_images": [numbers(row)["fid"] for row in real],
        "together": {"n_images": N_IMAGES * N_SETS, "fid": together.value("fid")},
        "bootstrap_of_the_first": resampled(sets[0], reference, extractor),
    }


def pixels(images: ImageSet, first: int, n: int) -> Tensor:
    """Return n images (n, 3, size, size) from the index `first`."""
    return torch.stack([images[place].image for place in range(first, first + n)])


def scored(name: str, images: Tensor, reference: Reference, extractor: Extractor) -> Evaluation:
    """Score one set of images."""
    return evaluate_generation(name, images.split(250), reference, extractor)


def numbers(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Return the numbers of an evaluation, by key."""
    return {key: {"value": s.value, "half_width": s.half_width} for key, s in evaluation.scores.items()}


def resampled(images: Tensor, reference: Reference, extractor: Extractor) -> list[float]:
    """Return the distances of sets sampled from this one with replacement."""
    features = torch.cat([extractor(batch) for batch in images.split(250)])
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(len(features), (len(features),), generator=generator) for _ in range(N_RESAMPLES)]
    known = reference.statistics.moments["features"]
    return [frechet_distance(RunningMoments().add(features[own]), known) for own in drawn]


def spread(document: dict[str, Any]) -> dict[str, float]:
    """Return standard deviations of the distance, over the sets and by either method, and the bootstrap's mean."""
    sets, bootstrap = document["sets_of_real_images"], document["bootstrap_of_the_first"]
    return {
        "over_sets": statistics.stdev(own["value"] for own in sets),
        "delta_method": statistics.mean(own["half_width"] / 1.96 for own in sets),
        "bootstrap": statistics.stdev(bootstrap),
        "bootstrap_mean": statistics.mean(bootstrap),
    }


def table(document: dict[str, Any]) -> str:
    """Format a row for each damage as Markdown, half the interval of 95 % beside a value."""
    lines = [f"| images | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| {row['name']} | {' | '.join(cell(row['scores'][key]) for key in COLUMNS)} |" for row in document["rows"]
    ]
    return "\n".join(lines)


def cell(score: dict[str, Any]) -> str:
    """Format a score to two digits of its error, or three of its value."""
    value: float = score["value"]
    error: float | None = score["half_width"]
    if error is None:
        return f"{value:.3g}"
    n_decimals = max(0, 1 - int(f"{error:e}".partition("e")[2])) if error else 2
    return f"{value:.{n_decimals}f} ± {error:.{n_decimals}f}"


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("features")
    parser.add_argument("--name", default="cifar10")
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    arguments.command = f"python experiments/scores_of_known_damage.py {arguments.images} {arguments.features}"
    if arguments.name != "cifar10" or arguments.size != 32:
        arguments.command += f" --name {arguments.name} --size {arguments.size}"
    RESULTS.mkdir(exist_ok=True)
    document = measure(arguments)
    (RESULTS / f"scores_{arguments.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))
    print(spread(document))


if __name__ == "__main__":
    main()
