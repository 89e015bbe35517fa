"""Does what is measured without training predict what trained models of CIFAR-10's autoencoders score?

    specmatch compare cifar10
    python experiments/forecast_on_cifar10.py runs/compare/cifar10

Reads the generative tier of every autoencoder in a comparison's folder whose trained model is scored, which the
comparison measures, adds the semantic tier of `specmatch analyze`, on images of the test split, and writes both to
results/forecast_cifar10.json beside the trained model's scores; again: those that have finished since. Prints the table
of docs/forecast.md and the rank correlations with the trained scores.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from spectrum_matching.analysis.conditions import measurements
from spectrum_matching.analysis.measure import analyze
from spectrum_matching.analysis.options import AnalysisOptions
from spectrum_matching.comparison.plans import main_entries
from spectrum_matching.comparison.trial import GENERATED, SCORES
from spectrum_matching.data.images import ImageSet, open_images
from spectrum_matching.files.stages import slug
from spectrum_matching.metrics.images.frechet import normalised_distance
from spectrum_matching.metrics.ranks import rank_correlation
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.vision.encoders import VisionEncoder, open_vision
from spectrum_matching.records.generative import GENERATIVE
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.records.scores import EVALUATIONS

RESULT = Path(__file__).parent / "results" / "forecast_cifar10.json"
N_IMAGES = 4096
GAUSSIAN = "gaussian_fid_reconstructions"
MODELS = {
    "white": "white noise",
    "stationary": "stationary",
    "gaussian": "Gaussian by class",
    "solved": "solved",
    "interpolation": "interpolation",
    "interpolation_unit": "interpolation, unit scale",
}
SEMANTIC = {
    "affinity_gap_direction": "affinity gap, direction",
    "affinity_gap_distance": "affinity gap, distance",
    "probe_accuracy": "linear probe",
    "neighbour_accuracy": "five nearest neighbours",
}


def finished(runs: Path) -> Iterator[tuple[str, Path, Path, tuple[Path, Path]]]:
    """Yield each scored trial: its name, autoencoder, generative tier, and scores of reconstructions and samples."""
    kinds = (
        "autoencoder-*/run/export",
        f"generative-*/{GENERATED}",
        f"reconstruction-*/{SCORES}",
        f"scores-*/{SCORES}",
    )
    for trial in sorted(runs.glob("*/seed*")):
        found = [sorted(trial.glob(kind)) for kind in kinds]
        if any(len(each) > 1 for each in found):
            raise ValueError(f"{trial} was run with several settings: delete the stages that do not count")
        if all(found):
            autoencoder, generative, reconstruction, scores = (each[0] for each in found)
            yield f"{trial.parent.name}/{trial.name}", autoencoder, generative, (reconstruction, scores)


def trained(scores: tuple[Path, Path]) -> dict[str, Any]:
    """Return a trained model's distances and errors by key, and its steps; scores: of reconstructions and samples."""
    (reconstruction,), (generation,) = map(EVALUATIONS.read, scores)
    keys = ("fid", "fid_reconstructions", "fid_reconstructions_floor")
    found = {key: plain(generation.scores[key]) for key in keys if key in generation.scores}
    sampling = generation.protocol.sampling
    steps = {"step": sampling.step if sampling else 0, "n_images": generation.protocol.n_images}
    return found | {"rfid": plain(reconstruction.scores["rfid"])} | steps


def plain(measurement: Measurement) -> list[float | None]:
    """Return value and standard error, six digits each."""
    pair = measurement.value, measurement.standard_error
    return [None if each is None else float(f"{each:.6g}") for each in pair]


def measure(source: Path, generated: Path, images: ImageSet, encoder: VisionEncoder) -> dict[str, Any]:
    """Return the generative tier of one autoencoder, which is read, and its semantic tier, which is measured."""
    record = GENERATIVE.read(generated)
    numbers = {key: plain(number) for key, number in record.measurements.items()}
    options = AnalysisOptions(labels=True, encoder=encoder)
    analysis = analyze(
        Autoencoder.from_pretrained(source), images, n_images=N_IMAGES, n_tests=2, batch_size=64, options=options
    )
    numbers |= {key: plain(number) for key, number in measurements(analysis).items() if key in SEMANTIC}
    facts = {"n_reference": record.coverage.n_images, "n_classes": record.coverage.n_classes, "n": record.n_generated}
    return {"digest": analysis.subject.digest, "numbers": numbers, **facts}


def normalised(row: dict[str, Any]) -> Measurement:
    """Return the trained model's distance to reconstructions between its floor, 0, and the Gaussian's, 1."""
    distances = row["trained"]["fid_reconstructions"], row["trained"]["fid_reconstructions_floor"]
    return normalised_distance(*(Measurement(*pair) for pair in (*distances, row["numbers"][GAUSSIAN])))


def pair(row: dict[str, Any], model: str) -> tuple[float, float]:
    """Return the distances of a model of the latents, to images and to reconstructions."""
    name, unit = model.removesuffix("_unit"), model.endswith("_unit")
    key = f"{name}_fid_unit" if unit else f"{name}_fid"
    return row["numbers"][key][0], row["numbers"][f"{key}_reconstructions"][0]


def parts(row: dict[str, Any]) -> dict[str, float]:
    """Return what each model covers of the way from white noise to the floor, to reconstructions, and what is left."""
    ends = [pair(row, model)[1] for model in ("white", "stationary", "gaussian", "solved")]
    ends.append(row["numbers"]["fid_reconstructions_floor"][0])
    names = "spectrum", "place, channels and class", "solved denoiser", "neither"
    return {n: (one - other) / (ends[0] - ends[-1]) for n, (one, other) in zip(names, pairwise(ends), strict=True)}


def table(result: dict[str, Any]) -> str:
    """Return the table in Markdown, by the trained model's distance to images: the numbers of each autoencoder."""
    heads = ["trained", *MODELS.values(), "rFD", "normalised", *SEMANTIC.values()]
    lines = [f"| autoencoder | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    names = {slug(entry): entry for entry in main_entries()}
    has_seeds = len({row["trial"].partition("/")[2] for row in result["rows"]}) > 1
    for row in sorted(result["rows"], key=lambda row: row["trained"]["fid"][0]):
        scores, left = row["trained"], normalised(row)
        pairs = [(scores["fid"][0], scores["fid_reconstructions"][0]), *(pair(row, model) for model in MODELS)]
        cells = [f"{one:.1f} / {other:.2f}" for one, other in pairs]
        cells += [f"{scores['rfid'][0]:.1f}", f"{float(left):.2f} ± {left.standard_error or 0:.2f}"]
        cells += [f"{row['numbers'][key][0]:.3f}" for key in SEMANTIC]
        method, _, seed = row["trial"].partition("/seed")
        name = names.get(method, method) + f", seed {seed}" * has_seeds
        lines.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join(lines)


def correlations(rows: Sequence[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Return Spearman's ρ of each number with the trained model's distances to images and to reconstructions.

    A number with two distances is ranked by the one of the same kind.
    """
    trained = [[row["trained"][key][0] for row in rows] for key in ("fid", "fid_reconstructions")]
    found = {model: list(zip(*(pair(row, model) for row in rows), strict=True)) for model in MODELS}
    found["rfid"] = [tuple(row["trained"]["rfid"][0] for row in rows)] * 2
    found |= {key: [tuple(row["numbers"][key][0] for row in rows)] * 2 for key in SEMANTIC}
    return {key: [rank_correlation(*each) for each in zip(pairs, trained, strict=True)] for key, pairs in found.items()}


def main() -> None:
    """Measure what is new, save after each, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="?", help="folder of the comparison; none: print what is there")
    parser.add_argument("--data", default="data/cifar10/test.parquet")
    parser.add_argument("--encoder", default="shufflenet:data/shufflenetv2_05/shufflenetv2_backbone.pth")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    rows = json.loads(given.out.read_text())["rows"] if given.out.is_file() else []
    if given.runs:
        images, encoder = open_images(given.data, 32, split="all"), open_vision(given.encoder, torch.device("cpu"))
        for trial, source, generated, scores in finished(given.runs):
            if trial not in {row["trial"] for row in rows}:
                row = {"trial": trial, "trained": trained(scores)} | measure(source, generated, images, encoder)
                rows.append(row | {"parts": parts(row)})
                given.out.write_text(
                    json.dumps({"rows": rows, "rank_correlations": correlations(rows)}, indent=1) + "\n"
                )
                print(trial, flush=True)
    print(table({"rows": rows}))
    for key, found in correlations(rows).items():
        to_images, to_reconstructions = ("undefined" if rho is None else f"{rho:.2f}" for rho in found)
        print(f"{key}: {to_images} to images, {to_reconstructions} to reconstructions")


if __name__ == "__main__":
    main()
