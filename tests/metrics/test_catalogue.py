import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from spectrum_matching.metrics.atlas.spaces import BOARD, read_atlas
from spectrum_matching.metrics.catalogue import CATALOGUE, DECODER_METRICS, LATENT_METRICS, METRICS
from spectrum_matching.metrics.decoder.lowpass import lowpass
from spectrum_matching.metrics.latents.moments import Moments
from spectrum_matching.metrics.latents.sweep import LatentBatch, LatentSweep
from spectrum_matching.metrics.metric import Published
from spectrum_matching.records.comparison import COMPARISON
from spectrum_matching.spectrum import gaussian_blur

PACKAGE = Path(__file__).parents[2] / "src" / "spectrum_matching"
RESULTS = Path(__file__).parents[2] / "experiments" / "results"
USED_BY_VERDICT = {"posterior_noise": {"verdict.py"}}
OF_LATENTS = [metric.key for entry in LATENT_METRICS for metric in entry.metrics]


def numbers_of(latents, labels, masks, features):
    stds = latents.double().std((0, 2, 3), correction=0)
    moments = Moments(0.0, 1.0, latents.double().mean((0, 2, 3)), stds)
    sweep = LatentSweep(lambda: [LatentBatch(latents, labels, masks, features=features)], moments, LATENT_METRICS)
    return sweep.numbers(all_readings=True)


def test_metrics_are_fully_described():
    assert all(metric.key == key for key, metric in METRICS.items())
    for metric in METRICS.values():
        fields = dataclasses.asdict(metric)
        assert all(fields[name] for name in ("title", "range", "source", "evidence", "conventions"))
        assert metric.better in ("lower", "higher", "target", "neither")
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


COLUMNS = {
    "interpolation_fid": "interpolation_fid",
    "sec_25": "sec_50",
    "sec_50": "sec_50",
    "viv": "viv_class",
    "viv_class": "viv_class",
    "lds_4n_far6": "lds_4n_far6",
    "cds_8": "cds_8",
    "equivariance_scale_50": "scale_equivariance",
    "equivariance_turn_90": "equivariance",
    "affinity_gap": "vf",
    "probe_accuracy": "probe_top1",
}
"""Numbers of the published table by metric."""


def published(column):
    """Values of a column that are possible, and gFID of SiT-B without guidance: (n,), (n,)."""
    rows = [(space.number(column), space.number("gfid_sit_b")) for space in read_atlas().of(BOARD)]
    return np.array([row for row in rows if None not in row]).T


def test_metrics_carry_the_published_correlations_across_families():
    assert COLUMNS.keys() == {key for key, metric in METRICS.items() if metric.across}
    for key, column in COLUMNS.items():
        across, (values, gfid) = METRICS[key].across, published(column)
        assert across.n == len(values)
        assert across.rho == pytest.approx(spearmanr(values, gfid).statistic, abs=0.006)
        draws = np.random.default_rng(1).integers(0, len(values), (1000, len(values)))
        x, y = (rankdata(numbers[draws], axis=1) for numbers in (values, gfid))
        x, y = (ranks - ranks.mean(1, keepdims=True) for ranks in (x, y))
        resampled = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
        assert across.interval == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.05)


@pytest.mark.parametrize(
    ("better", "interval", "doubt"),
    [
        ("lower", (0.1, 0.8), ""),
        ("higher", (-0.8, -0.1), ""),
        ("lower", (-0.8, -0.1), "across families its sign is the opposite"),
        ("higher", (0.1, 0.8), "across families its sign is the opposite"),
        ("lower", (0.0, 0.8), "across families its interval holds zero"),
        ("higher", (-0.8, 0.0), "across families its interval holds zero"),
        ("neither", (-0.8, 0.8), ""),
    ],
)
def test_metric_doubt_follows_sign_and_interval(better, interval, doubt):
    metric = dataclasses.replace(METRICS["sec_25"], better=better, across=Published(sum(interval) / 2, interval, 21))
    assert metric.doubt == doubt
    assert not dataclasses.replace(metric, across=None).doubt


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("sec_50", (0.0, 0.209, 1.0), (-0.01, 1.01)),
        ("viv_class", (0.0, 1.36, 1.5708), (-0.1, 2.13, 2.8, 2.9)),
        ("condition_number", (1.0, 1e12), (0.99,)),
        ("kurtosis", (-2.0, 40.0), (-2.1,)),
        ("psnr", (0.0, 34.3, 100.0), (-1.0, 100.1)),
        ("exponent", (-5.0, 5.0), ()),
    ],
)
def test_metric_allows_what_its_definition_does(key, inside, outside):
    assert all(map(METRICS[key].allows, inside))
    assert not any(map(METRICS[key].allows, outside))


def test_metrics_allow_every_number_that_was_measured(plain_and_blurred):
    trials = COMPARISON.read(RESULTS / "compare_cifar10.json").trials
    measured = [{key: m.value for key, m in numbers.items()} for numbers in plain_and_blurred]
    measured += [trial.numbers for trial in trials]
    checked = {(key, value) for each in measured for key, value in each.items() if key in METRICS and value is not None}
    assert len(checked) > 300
    assert not [(key, value) for key, value in checked if not METRICS[key].allows(value)]


@pytest.fixture(scope="module")
def plain_and_blurred():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 6, 12, 12, generator=generator)
    x = x + 0.7 * torch.randn(150, 6, 3, 3, generator=generator).repeat_interleave(4, -1).repeat_interleave(4, -2)
    masks = torch.zeros(150, 12, 12, dtype=torch.bool)
    masks[:, 4:8, 2:11] = True
    labels = torch.arange(150) % 2
    features = gaussian_blur(x, 3.0).repeat(1, 2, 1, 1) + 1
    return [numbers_of(latents, labels, masks, features) for latents in (x, gaussian_blur(x, 1.0))]


@pytest.mark.parametrize(
    "key", [key for key in OF_LATENTS if METRICS[key].one_sided and METRICS[key].better != "neither"]
)
def test_metrics_one_sided_are_won_by_blur(key, plain_and_blurred):
    plain, blurred = (numbers[key].value for numbers in plain_and_blurred)
    assert blurred < plain if METRICS[key].better == "lower" else blurred > plain


def test_lowpass_gap_is_won_by_a_constant_decoder():
    latents = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros_like(latents)
    found = lowpass(lambda z: torch.zeros_like(z), latents, nothing, latents, keep=7, block=8)
    assert torch.equal(found.decoded, found.aligned)
    assert METRICS["lowpass_gap"].one_sided


ROOMS = [*(PACKAGE / "metrics").rglob("*.py"), *(PACKAGE / "analysis").glob("*.py")]


@pytest.mark.parametrize("entry", [*LATENT_METRICS, *DECODER_METRICS], ids=lambda entry: entry.metrics[0].key)
def test_catalogue_entries_name_their_metrics_in_one_file(entry):
    """A new metric touches two files: its own, and the catalogue."""
    for metric in entry.metrics:
        files = {path.name for path in ROOMS if f'"{metric.key}"' in path.read_text()}
        assert files - {"catalogue.py"} == {Path(entry.numbers.__code__.co_filename).name} | USED_BY_VERDICT.get(
            metric.key, set()
        )


def test_catalogue_lists_metrics_in_order_and_once():
    keys = [metric.key for entry in CATALOGUE for metric in getattr(entry, "metrics", (entry,))]
    assert list(METRICS) == keys
