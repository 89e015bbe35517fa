"""Does generation without training foretell what trained models of CIFAR-10's autoencoders score?

    specmatch compare cifar10
    python experiments/forecast_on_cifar10.py runs/compare/cifar10 [--images N] [--only ENTRY/seedN …]

Measures the generative tier of `specmatch analyze` on every autoencoder of a comparison's folder whose latents are
cached and whose trained model is scored, on images of the test split against the cache, and writes it to
results/forecast_cifar10.json beside the trained model's scores; again: those that have finished since. Prints the table
of docs/forecast.md and the rank correlations with the trained scores.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spectrum_matching.analysis.measure import analyze
from spectrum_matching.analysis.options import AnalysisOptions, open_reference_data
from spectrum_matching.data.images import ImageSet, open_images
from spectrum_matching.metrics.images.frechet import share_of_the_way
from spectrum_matching.metrics.ranks import rank_correlation
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.vision.extractors import Extractor, open_extractor
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.records.scores import EVALUATIONS

RESULT = Path(__file__).parent / "results" / "forecast_cifar10.json"
N_REFERENCE = 10_000
GAUSSIAN = "gaussian_fid_reconstructions"
MODELS = ("white", "stationary", "gaussian", "solved", "interpolation")
TITLES = ("white noise", "stationary", "Gaussian by class", "solved", "interpolation")


def finished(runs: Path) -> Iterator[tuple[str, Path, Path, Path]]:
    """Yield the name of each trial with a scored model, its autoencoder, its cache and its scores."""
    for scores in sorted(runs.glob("*/seed*/scores-*/scores.json")):
        trial = scores.parents[1]
        found = [sorted(trial.glob(kind)) for kind in ("autoencoder-*/run/export", "cache-*/latents/index.json")]
        if all(len(each) == 1 for each in found):
            yield f"{trial.parent.name}/{trial.name}", found[0][0], found[1][0].parent, scores


def trained(scores: Path) -> dict[str, Any]:
    """Return a trained model's distances and errors by key, and its steps."""
    evaluations = {each.kind: each for each in EVALUATIONS.read(scores)}
    generation = evaluations["generation"]
    keys = ("fid", "fid_reconstructions", "fid_reconstructions_floor")
    found = {key: plain(generation.scores[key]) for key in keys if key in generation.scores}
    sampling = generation.protocol.sampling
    steps = {"step": sampling.step if sampling else 0, "n_images": generation.protocol.n_images}
    return found | {"rfid": plain(evaluations["reconstruction"].scores["rfid"])} | steps


def plain(measurement: Measurement) -> list[float | None]:
    """Return value and standard error, six digits each."""
    pair = measurement.value, measurement.standard_error
    return [None if each is None else float(f"{each:.6g}") for each in pair]


def measure(source: Path, cache: Path, images: ImageSet, extractor: Extractor, n_images: int) -> dict[str, Any]:
    """Return the generative tier of one autoencoder."""
    reference = open_reference_data(f"latents:{cache}", images, N_REFERENCE)
    options = AnalysisOptions(features=extractor, reference=reference)
    analysis = analyze(
        Autoencoder.from_pretrained(source), images, n_images=n_images, n_tests=2, batch_size=64, options=options
    )
    record = analysis.generative
    assert record is not None
    numbers = {key: plain(number) for key, number in record.measurements.items()}
    facts = {"n_reference": record.coverage.n_images, "n_classes": record.coverage.n_classes, "n": record.n_generated}
    return {"digest": analysis.subject.digest, "numbers": numbers, **facts}


def share(row: dict[str, Any]) -> Measurement:
    """Return the share of the way from the floor to the Gaussian that the trained model has left."""
    distances = row["trained"]["fid_reconstructions"], row["trained"]["fid_reconstructions_floor"]
    return share_of_the_way(*(Measurement(*pair) for pair in (*distances, row["numbers"][GAUSSIAN])))


def table(result: dict[str, Any]) -> str:
    """Return the table in Markdown: both distances of each model, and the trained model's, by the latter."""
    heads = ["trained", *TITLES, "rFD", "share left"]
    lines = [f"| autoencoder | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in sorted(result["rows"], key=lambda row: row["trained"]["fid"][0]):
        keys = [f"{model}_fid" for model in MODELS]
        pairs = [[row["trained"][key] for key in ("fid", "fid_reconstructions")]]
        pairs += [[row["numbers"][key + end] for end in ("", "_reconstructions")] for key in keys]
        cells = [f"{one[0]:.1f} / {other[0]:.2f}" for one, other in pairs]
        left = share(row)
        ends = [f"{row['trained']['rfid'][0]:.1f}", f"{float(left):.2f} ± {left.standard_error or 0:.2f}"]
        lines.append(f"| {row['trial'].replace('/seed', ', ')} | {' | '.join([*cells, *ends])} |")
    return "\n".join(lines)


def correlations(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return Spearman's ρ of each model's distances with the trained model's of the same kind."""
    found = {}
    for model in MODELS:
        for end in ("", "_reconstructions"):
            measured = [row["numbers"][f"{model}_fid{end}"][0] for row in rows]
            found[f"{model}_fid{end}"] = rank_correlation(measured, [row["trained"][f"fid{end}"][0] for row in rows])
    found["rfid"] = rank_correlation(*([row["trained"][key][0] for row in rows] for key in ("rfid", "fid")))
    return found


def main() -> None:
    """Measure what is new, save after each, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="?", help="folder of the comparison; none: print what is there")
    parser.add_argument("--data", default="data/cifar10/test.parquet")
    parser.add_argument("--features", default="data/cifar10/features.pt")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    rows = json.loads(given.out.read_text())["rows"] if given.out.is_file() else []
    if given.runs:
        images, extractor = open_images(given.data, 32, split="all"), open_extractor(given.features)
        for trial, source, cache, scores in finished(given.runs):
            if trial in {row["trial"] for row in rows} or (given.only and trial not in given.only):
                continue
            if others := {row["n"] for row in rows} - {given.images}:
                raise SystemExit(
                    f"{given.out} has rows of {others.pop()} images, biased unlike {given.images}: name another --out"
                )
            row = {"trial": trial, "trained": trained(scores)}
            rows.append(row | measure(source, cache, images, extractor, given.images))
            given.out.write_text(json.dumps({"rows": rows, "rank_correlations": correlations(rows)}, indent=1) + "\n")
            print(trial, flush=True)
    print(table({"rows": rows}))
    for key, rho in correlations(rows).items():
        print(f"{key}: {'–' if rho is None else f'{rho:.2f}'}")


if __name__ == "__main__":
    main()
