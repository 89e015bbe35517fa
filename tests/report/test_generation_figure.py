import pytest

from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.report.analysis.generation_figure import MODELS, shares_of_generation, what_generation_is

NUMBERS = dict(zip(MODELS, map(Measurement, (40.0, 20.0, 10.0, 8.0, 0.0)), strict=True))


def test_shares_of_generation_run_from_white_noise_to_the_floor():
    assert list(shares_of_generation(NUMBERS).values()) == pytest.approx([1, 0.5, 0.25, 0.2, 0])
    lifted = {key: Measurement(float(number) + 4) for key, number in NUMBERS.items()}
    assert shares_of_generation(lifted) == pytest.approx(shares_of_generation(NUMBERS))


def test_shares_of_generation_without_ends_are_none():
    for key in ("white_fid_reconstructions", "fid_reconstructions_floor"):
        assert shares_of_generation({k: v for k, v in NUMBERS.items() if k != key}) == {}
        assert shares_of_generation(NUMBERS | {key: Measurement(None, refused="few")}) == {}
    assert shares_of_generation(NUMBERS | {"white_fid_reconstructions": Measurement(0.0)}) == {}


def test_what_generation_is_draws_every_model_that_was_measured():
    some = NUMBERS | {"solved_fid_reconstructions": Measurement(None, refused="few")}
    panel = what_generation_is(["A", "B", "C"], [NUMBERS, some, {}])
    assert panel.svg.count("<title>") == 5 + 4
    assert "A\n+ spectrum: 20" in panel.svg


def test_models_of_the_figure_are_metrics():
    assert MODELS.keys() <= METRICS.keys()
