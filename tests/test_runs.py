import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

import spectrum_matching
from spectrum_matching import runs
from spectrum_matching.methods.zoo import METHODS
from spectrum_matching.nets.autoencoder import PRESETS as NETWORKS

RECORDS = [c for _, c in inspect.getmembers(runs, dataclasses.is_dataclass) if c.__module__ == runs.__name__]


@pytest.mark.parametrize("name", runs.PRESETS)
def test_every_preset_makes_a_run_of_its_name_whose_method_cites(name):
    run = runs.PRESETS[name]()
    assert (run.name, run.out) == (name, f"runs/{name}")
    method = run.method.build()
    assert name.endswith(method.name)
    assert method.citation
    assert run.network.pretrained or run.network.preset in NETWORKS


def test_every_field_of_a_run_is_read():
    sources = Path(spectrum_matching.__file__).parent.rglob("*.py")
    read = {
        node.attr
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    options = {option for make in METHODS.values() for option in inspect.signature(make).parameters}
    assert len(RECORDS) == 8
    for record in RECORDS:
        known = options | {"name"} if record is runs.MethodChoice else read
        assert {f.name for f in dataclasses.fields(record)} <= known, record.__name__


def test_the_command_line_offers_every_row_of_the_zoo_with_all_its_options():
    assert set(METHODS) == set(runs.MethodName.__args__)
    fields = {f.name for f in dataclasses.fields(runs.MethodChoice)}
    for make in METHODS.values():
        assert set(inspect.signature(make).parameters) <= fields


@pytest.mark.parametrize("name", METHODS)
def test_an_option_reaches_the_method_or_is_refused(name):
    values = {
        "kl_weight": 0.5,
        "kl_reduction": "mean",
        "esm_weight": 0.25,
        "delta": 1.5,
        "bins": 8,
        "variant": "scale_free",
        "keep": (3,),
        "block": 16,
        "factors": (1, 2),
        "probability": 0.75,
    }
    assert set(values) == {f.name for f in dataclasses.fields(runs.MethodChoice)} - {"name"}
    for option, value in values.items():
        choice = runs.MethodChoice(name, **{option: value})
        if option in inspect.signature(METHODS[name]).parameters:
            assert choice.build() == METHODS[name](**{option: value}) != METHODS[name]()
        else:
            with pytest.raises(ValueError, match=f"method {name} has no option {option}; it has"):
                choice.build()
