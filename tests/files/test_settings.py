from dataclasses import fields, is_dataclass, replace

import pytest

from spectrum_matching.files.settings import Rule, differences, flat_settings, hashed_settings
from spectrum_matching.sampling.generate import SamplingChoice
from spectrum_matching.training.autoencoder_config import AutoencoderRun
from spectrum_matching.training.diffusion_config import DiffusionRun

OF_EVERY_RUN = {
    *("name", "out", "max_bad_steps", "trackers"),
    *("intervals.log", "intervals.preview", "intervals.checkpoint", "intervals.keep_last", "intervals.keep_every"),
}
NOT_HASHED = {
    AutoencoderRun: OF_EVERY_RUN | {"data.workers", "method.encoder"},
    DiffusionRun: OF_EVERY_RUN
    | {"source.latents", "source.images", "source.autoencoder", "source.workers"}
    | {"alignment.encoder", "alignment.targets"}
    | {f"preview.{field.name}" for field in fields(SamplingChoice)},
    SamplingChoice: {"batch_size"},
}
RESULTS = {"steps", "precision", "optimizer.lr"}  # change the result, and may change on resuming
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
