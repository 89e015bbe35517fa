from dataclasses import replace

import pytest
import torch

from spectrum_matching.analysis import analyze, numbers
from spectrum_matching.analysis.conditions import failures, read_conditions
from spectrum_matching.analysis.own_metrics import checked_metrics, open_metrics
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.metrics.decoder.sweep import DecoderMetric
from spectrum_matching.metrics.estimates import estimate_mean
from spectrum_matching.metrics.latents.sweep import BatchRows, LatentMetric
from spectrum_matching.metrics.metric import Metric
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.report.analysis.page import render

LARGEST = LatentMetric(
    (
        Metric(
            key="largest", title="largest value", range="from 0 on", source="here", conventions="raw", better="lower"
        ),
    ),
    lambda sweep: {"largest": estimate_mean(sweep.rows("largest"))},
    lambda batch: BatchRows({"largest": batch.raw.abs().amax((1, 2, 3))}),
)
ERROR = DecoderMetric(
    (Metric(key="l1", title="mean absolute error", unit="of [-1, 1]", range="0 to 2", source="here", conventions=""),),
    lambda sweep: {"l1": estimate_mean(sweep.rows("l1"))},
    lambda batch: {"l1": (batch.output - batch.images).abs().mean((1, 2, 3))},
)


class Halved:
    def encode(self, images):
        return images / 2

    def decode(self, latents):
        return latents


@pytest.fixture(scope="module")
def images():
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_analyze_measures_own_metrics_beside_the_catalogue(images, tmp_path):
    plain, analysis = (analyze(Halved(), images, n_tests=3, metrics=own) for own in ((), [LARGEST, ERROR]))
    found = numbers(analysis)
    assert found["largest"] == pytest.approx(float(images.abs().amax((1, 2, 3)).mean()) / 2)
    assert found["l1"] == pytest.approx(float(images.abs().mean()) / 2, rel=0.1)
    assert numbers(plain).items() < found.items()
    ANALYSES.write(tmp_path / "analysis.json", [analysis])
    assert ANALYSES.read(tmp_path / "analysis.json") == [analysis]
    page = render([analysis])
    assert "largest is no metric of the catalogue: largest value (from 0 on; lower is better)." in page
    assert "l1 is no metric of the catalogue: mean absolute error, of [-1, 1] (0 to 2)." in page
    (condition,) = read_conditions(["largest > 0.1"], ["largest"])
    assert failures([condition], [analysis])


def gives(**found):
    return replace(LARGEST, numbers=lambda sweep: found)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (gives(largest=1.0), "metric largest gives float, expected a Measurement"),
        (gives(largest=Measurement(float("nan"))), "metric largest: value is nan: must be a finite number"),
        (gives(other=Measurement(1.0)), "metric largest also gives other: describe it"),
        (replace(LARGEST, numbers=lambda sweep: {}[0]), r"metric largest fails \(KeyError: 0\)"),
        (replace(LARGEST, collect=lambda batch: batch.nothing), r"metric largest fails \(AttributeError"),
        (
            replace(LARGEST, collect=lambda batch: BatchRows({"labels": batch.labels})),
            "two metrics keep rows named labels",
        ),
        (replace(ERROR, collect=lambda batch: {"noise_0.1": batch.images}), "two metrics keep rows named noise_0.1"),
    ],
)
def test_analyze_names_the_own_metric_that_fails(images, metric, said):
    with pytest.raises(ValueError, match=said):
        analyze(Halved(), images, n_tests=2, metrics=[metric])


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ([LARGEST, LARGEST], "two metrics have the key 'largest'"),
        ([replace(LARGEST, metrics=(METRICS["psnr"],))], "two metrics have the key 'psnr'"),
        ([METRICS["psnr"]], "must be a LatentMetric or a DecoderMetric, got Metric"),
    ],
)
def test_checked_metrics_refuses(metrics, said):
    with pytest.raises(ValueError, match=said):
        checked_metrics(metrics)


def test_open_metrics_takes_metrics_and_functions_that_return_them(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"from {__name__} import LARGEST, ERROR\nmake, n = lambda: ERROR, int\n")
    assert open_metrics([f"python:{file}:LARGEST", f"python:{file}:make"]) == (LARGEST, ERROR)
    with pytest.raises(ValueError, match="got int"):
        open_metrics([f"python:{file}:n"])
    with pytest.raises(ValueError, match=r"give python:FILE\.py:NAME"):
        open_metrics(["largest"])
