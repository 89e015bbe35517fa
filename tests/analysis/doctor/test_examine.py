"""The whole examination: its order, its record, what it leaves as it was, and that it leaves sound classes alone."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from devices import Device
from spectrum_matching.analysis.doctor import CHECKS, examine
from spectrum_matching.analysis.doctor.examination import side_of
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.diagnosis import DIAGNOSIS

NETS = Path(__file__).parents[2] / "nets" / "autoencoder"
SMALL: dict[str, Any] = json.loads((NETS / "small_autoencoders.json").read_text())
UNTRAINED = {"initial-weights", "reconstruction"}
"""What may be said of random weights: that they are new, or where a class has an initialisation of its own, that
images do not come back."""

WRONG_FACTOR = ("AutoencoderKLWan", "AutoencoderKLHunyuanImageRefiner", "AutoencoderKLLTX2Video")
BROKEN = dict.fromkeys(("AutoencoderTiny", "AutoencoderKLHunyuanImage", *WRONG_FACTOR), "tiling")
BROKEN["AutoencoderKLMagvit"] = "batches"
"""What fails in diffusers: tiles at any factor but 8; of images at all; where a configuration names another factor than
the class; slicing."""


def levels(diagnosis):
    return {outcome.check: outcome.level for outcome in diagnosis.outcomes}


def test_checks_need_only_checks_before_them():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for position, check in enumerate(CHECKS):
        assert {*check.needs, *check.explained_by} <= set(names[:position]), check.name


def test_examine_finds_nothing_in_a_sound_autoencoder(blocks, coloured):
    diagnosis = examine(blocks, coloured, name="blocks", source="here")
    assert [outcome.check for outcome in diagnosis.outcomes] == [check.name for check in CHECKS]
    assert not diagnosis.of("wrong") + diagnosis.of("look")
    assert levels(diagnosis)["reconstruction"] == "fine"
    assert (diagnosis.subject.name, diagnosis.subject.source, diagnosis.sample.n_images) == ("blocks", "here", 4)


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel])
def test_examine_looks_inside_wrappers(blocks, coloured, wrap):
    diagnosis = examine(wrap(blocks), coloured)
    assert diagnosis.subject.kind == "Blocks"
    assert not diagnosis.of("wrong") + diagnosis.of("look")


def test_examine_says_nothing_of_consequences(blocks, coloured):
    decode = blocks.decode
    blocks.decode = lambda latents: decode(latents).flip(1)
    diagnosis = examine(blocks, coloured)
    assert [outcome.check for outcome in diagnosis.of("wrong")] == ["wiring"]
    assert not diagnosis.of("look")
    skipped = {outcome.check: outcome.verdict for outcome in diagnosis.of("skipped")}
    assert skipped["reconstruction"] == "says nothing before wiring is right"


def test_examine_leaves_everything_as_it_was(coloured):
    model = Autoencoder.from_preset("tiny").model.train()
    attributes = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    before, random = {name: x.clone() for name, x in model.state_dict().items()}, torch.get_rng_state()
    seen = []
    examine(model, coloured, progress=lambda done, total: seen.append((done, total)))
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert model.training
    assert attributes == {name: value for name, value in vars(model).items() if not name.startswith("_")}
    assert (seen[0], seen[-1]) == ((0, len(CHECKS)), (len(CHECKS), len(CHECKS)))


def test_examine_finds_the_same_on_a_device_without_float64(coloured):
    with Device() as device:
        there = examine(Autoencoder.from_preset("tiny"), coloured, device="mps")
    assert device.n > 100
    assert levels(there) == levels(examine(Autoencoder.from_preset("tiny"), coloured))


def test_examine_goes_on_where_the_network_fails(blocks, coloured):
    calls = []

    def decode(latents, decode=blocks.decode):
        calls.append(len(latents))
        if len(calls) > 1 and len(latents) == 4:  # after the trial on two grey images
            raise RuntimeError("out of\nluck")
        return decode(latents)

    blocks.decode = decode
    found = levels(examine(blocks, coloured))
    assert found["runs"] == "wrong"
    assert {found[check.name] for check in CHECKS if "runs" in check.needs} == {"skipped"}


def test_examine_refuses_too_few_images(blocks, coloured):
    with pytest.raises(ValueError, match="2 images can be read, expected at least 3"):
        examine(blocks, coloured[:2])


def test_diagnosis_survives_json(blocks, coloured, tmp_path):
    diagnosis = examine(blocks, coloured)
    DIAGNOSIS.write(tmp_path / "doctor.json", diagnosis)
    assert DIAGNOSIS.read(tmp_path / "doctor.json") == diagnosis


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_examine_says_of_each_class_of_diffusers_only_that_it_is_untrained(name, coloured):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(getattr(diffusers, name.split()[0])(**SMALL[name]["config"]).eval())
    images = torch.nn.functional.interpolate(coloured, (side_of(model),) * 2, mode="area")
    diagnosis = examine(model, images)
    found = diagnosis.of("wrong") + diagnosis.of("look")
    assert found
    broken = {BROKEN[name]} if name in BROKEN else set()
    assert broken <= {outcome.check for outcome in found} <= UNTRAINED | broken, found
    assert {outcome.level for outcome in found if outcome.check in broken} <= {"look"}
    assert not [outcome for outcome in diagnosis.of("skipped") if "could not run" in outcome.verdict]
