"""Faults in a real autoencoder, one a test, on real weights if they are on this machine: each is found and named."""

import os
from pathlib import Path

import pytest

import seeded_faults as faults
from spectrum_matching.analysis.doctor import examine
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
FOLDERS = {"SPECMATCH_TAE_FAMILY": DATA / "tae_family", "SPECMATCH_TAEF2": DATA / "taef2"}
FOLDERS = {name: Path(os.environ.get(name, folder)) for name, folder in FOLDERS.items()}


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(folder.is_dir() for folder in FOLDERS.values()), reason="needs the tiny autoencoders"),
]


@pytest.fixture(autouse=True)
def weights(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, folder in FOLDERS.items():
        monkeypatch.setenv(name, str(folder))


@pytest.fixture(scope="module")
def crops():
    return faults.crops()


@pytest.mark.parametrize("name", faults.FAULTS)
def test_doctor_finds_and_names(name, crops):
    net = faults.load(faults.SOUND["tiny taesd"]).model
    row = faults.row(name, faults.diagnose(faults.FAULTS[name], net, crops))
    assert row["named"], row
    assert not row["others"]


@pytest.mark.parametrize("name", faults.SOUND)
def test_doctor_finds_nothing_in_a_sound_latent_space(name):
    model = Autoencoder.from_pretrained(faults.SOUND[name])
    diagnosis = examine(model, open_images("embedded", 64, split="held_out"))
    assert not diagnosis.of("wrong")
    # Tiles of diffusers' AutoencoderTiny are encoded to 4 channels, whatever it has.
    broken = ["tiling"] if model.kind == "AutoencoderTiny" and model.channels != 4 else []
    assert [outcome.check for outcome in diagnosis.of("look")] == broken
