import math
import re
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated

import pytest
from pydantic import Field

from spectrum_matching.comparison.plans import Entry, Plan
from spectrum_matching.files.settings import Rule, differences, flat_settings, hashed_settings, validate
from spectrum_matching.sampling.generate import SamplingChoice
from spectrum_matching.studies.frequency_bias.plans import FrequencyPlan
from spectrum_matching.training.autoencoder_config import AutoencoderRun, MethodChoice
from spectrum_matching.training.diffusion_config import DiffusionRun

OF_EVERY_RUN = {
    *("name", "out", "max_bad_steps", "trackers", "tracking.project", "tracking.entity", "tracking.name"),
    *("intervals.log", "intervals.preview", "intervals.checkpoint", "intervals.keep_last", "intervals.keep_every"),
}
NOT_HASHED = {
    AutoencoderRun: OF_EVERY_RUN | {"data.workers", "method.encoder", "push_to_hub"},
    DiffusionRun: OF_EVERY_RUN
    | {"source.latents", "source.images", "source.autoencoder", "source.workers"}
    | {"alignment.encoder", "alignment.targets", "shard"}
    | {f"preview.{field.name}" for field in fields(SamplingChoice)},
    SamplingChoice: {"batch_size"},
}
# These change the result, or its cost, and may change on resuming.
RESULTS = {"steps", "precision", "accumulation", "gradient_checkpointing", "optimizer.lr"}
CHANGEABLE = {
    AutoencoderRun: NOT_HASHED[AutoencoderRun] - {"method.encoder"} | RESULTS,
    DiffusionRun: NOT_HASHED[DiffusionRun] - {"source.latents", "source.images", "alignment.encoder"} | RESULTS,
}


def changed(record, prefix=""):
    """The dotted key of every setting of a record, with a copy of the record in which that setting alone differs."""
    for field in fields(record):
        value, key = getattr(record, field.name), prefix + field.name
        if is_dataclass(value):
            yield from ((inner, replace(record, **{field.name: other})) for inner, other in changed(value, f"{key}."))
        else:
            yield key, replace(record, **{field.name: f"not {value!r}"})


@pytest.mark.parametrize("kind", NOT_HASHED, ids=lambda kind: kind.__name__)
def test_hashed_settings_leave_out_what_has_no_effect_and_nothing_else(kind):
    others = dict(changed(kind()))
    same = {key for key, other in others.items() if hashed_settings(other) == hashed_settings(kind())}
    assert same == NOT_HASHED[kind]
    assert hashed_settings(kind()).keys() == others.keys() - same


@pytest.mark.parametrize("kind", CHANGEABLE, ids=lambda kind: kind.__name__)
def test_differences_ignore_what_may_change_on_resuming_and_nothing_else(kind):
    found = {key: differences(kind(), other, ignore=Rule.CHANGEABLE) for key, other in changed(kind())}
    assert {key for key, differing in found.items() if not differing} == CHANGEABLE[kind]
    assert all(differing.keys() <= {key} for key, differing in found.items())


def test_differences_give_both_values_by_dotted_key():
    run = AutoencoderRun()
    other = replace(run, seed=5, data=replace(run.data, size=128))
    assert differences(run, run) == {}
    assert differences(run, other) == {"seed": (0, 5), "data.size": (64, 128)}


def test_flat_settings_enter_mappings():
    assert [setting[:2] for setting in flat_settings({"a": {"b": 1}, "c": (2,)})] == [("a.b", 1), ("c", (2,))]


def with_number(record, number, prefix=""):
    """The dotted key of every setting that may be a number, with a copy of the record in which it is this one."""
    for field in fields(record):
        value, key = getattr(record, field.name), prefix + field.name
        if is_dataclass(value):
            inner = with_number(value, number, f"{key}.")
            yield from ((name, replace(record, **{field.name: other})) for name, other in inner)
        elif isinstance(value, float):
            yield key, replace(record, **{field.name: number})
        elif isinstance(value, tuple) and value and isinstance(value[0], float):
            yield key, replace(record, **{field.name: (*value[:-1], number)})


@pytest.mark.parametrize("record", [AutoencoderRun(), DiffusionRun(), Plan(), FrequencyPlan(), SamplingChoice()])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_validate_refuses_numbers_that_are_not_finite(record, number):
    others = dict(with_number(record, number))
    assert others
    for key, other in others.items():
        with pytest.raises(ValueError, match=rf"^{re.escape(key)}[.0-9]* is -?(nan|inf): must be "):
            validate(other)


def test_validate_refuses_numbers_that_are_not_finite_in_options_and_entries():
    for delta in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^method.delta is (nan|inf): must be a finite number$"):
            validate(replace(AutoencoderRun(), method=MethodChoice("esm", delta=delta)))
        plan = Plan(entries={"one": Entry(MethodChoice("esm", delta=delta))})
        with pytest.raises(ValueError, match=r"^entries.one.method.delta is (nan|inf): must be a finite number$"):
            validate(plan)


@dataclass(frozen=True)
class Unbounded:
    largest: Annotated[float, Field(allow_inf_nan=True)] = math.inf
    other: float = 0.0


def test_validate_takes_infinity_where_the_field_says_so():
    assert validate(Unbounded()).largest == math.inf
    with pytest.raises(ValueError, match="other is inf"):
        validate(Unbounded(other=math.inf))
