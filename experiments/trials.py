"""What experiments on a comparison's trials share: opening them, scoring other samples, saving rows call by call."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from spectrum_matching.cli.compare import resolve
from spectrum_matching.comparison.checks import OpenedPlan, open_plan
from spectrum_matching.comparison.shared import open_reference
from spectrum_matching.comparison.trial import SCORES, run_trial
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.decoded_reference import compute_decoded_reference
from spectrum_matching.evaluation.generation import evaluate_generation
from spectrum_matching.files.atomic import write_text_atomically
from spectrum_matching.files.locks import exclusive
from spectrum_matching.files.stages import FinishedStage, UnfinishedError, read_finished_stage
from spectrum_matching.records.comparison import Stage
from spectrum_matching.records.scores import EVALUATIONS, Evaluation
from spectrum_matching.sampling.model import Decoder

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def open_runs(runs: Path, seeds: Sequence[int], configs: Sequence[Path] = ()) -> OpenedPlan:
    """Open the comparison `cifar10`, changed by `configs`, that ran in the folder `runs`, with these seeds."""
    return open_plan(replace(resolve("cifar10", configs, runs, None), seeds=tuple(seeds)))


def finished(parser: argparse.ArgumentParser, opened: OpenedPlan, entry: str, seed: int) -> dict[Stage, FinishedStage]:
    """Return the stages of a finished trial; end with one line where it is not finished."""
    try:
        return run_trial(opened, entry, seed, read_finished_stage)
    except UnfinishedError as error:
        parser.error(f"{entry}, seed {seed}, is not finished (next: {error}): run the comparison first")


def values_of(evaluation: Evaluation) -> dict[str, float | None]:
    """Return the scores by key."""
    return {key: measured.value for key, measured in evaluation.scores.items()}


def scores_of(stages: Mapping[Stage, FinishedStage]) -> dict[str, float | None]:
    """Return every score of the samples of a finished trial."""
    (evaluation,) = EVALUATIONS.read(stages["scores"].folder / SCORES)
    return values_of(evaluation)


def score(opened: OpenedPlan, seed: int, samples: Iterable[Tensor], decoder: Decoder) -> dict[str, float | None]:
    """Score batches of samples as the comparison does, beside reconstructions by the decoder's own autoencoder."""
    assert opened.extractor is not None
    images, n = opened.measured[seed], opened.plan.measuring.reconstructions
    decoded = compute_decoded_reference(
        images.source, fixed_batches(images, 64, n), opened.extractor, decoder.name, decoder.digest, decoder.autoencoder
    )
    reference = open_reference(opened, seed)
    return values_of(
        evaluate_generation(decoder.name, samples, reference, opened.extractor, reconstructions=decoded, seed=seed)
    )


def save_rows(
    path: Path,
    lists: Mapping[str, tuple[Sequence[Row], Sequence[str]]],
    document: Callable[[dict[str, list[Row]]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Save lists of rows with those that earlier calls saved, and what `document` makes of all; return all of it.

    Several processes may save at once. lists: by name, rows and the fields that tell one row from another; a new row
    replaces an earlier one.
    """
    with exclusive(path, waiting=True):
        before = json.loads(path.read_text()) if path.exists() else {}
        merged = {}
        for name, (rows, key) in lists.items():
            found = {tuple(row[field] for field in key): row for row in (*before.get(name, ()), *rows)}
            merged[name] = [found[each] for each in sorted(found)]
        whole = {"question": path.stem, **merged, **document(merged)}
        write_text_atomically(path, json.dumps(whole, indent=1) + "\n")
    return whole
