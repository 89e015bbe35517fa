import json

import pytest
import yaml

from spectrum_matching.cli.presets import COMMANDS
from spectrum_matching.comparison.plans import NOT_RUN
from spectrum_matching.files.yaml_files import override
from spectrum_matching.training.autoencoder_config import FAMILIES, PRESETS, ROWS, AutoencoderRun


def test_presets_lists_all_of_every_command(specmatch):
    status, out, _ = specmatch("presets")
    assert status == 0
    shown = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert shown >= {name for command in COMMANDS if command != "train-ae" for name in COMMANDS[command]}
    assert shown >= {f"{name}_…" for name in FAMILIES} | {f"…_{name}" for name in ROWS}
    for line in out.partition("specmatch compare")[2].splitlines():
        assert ("not run yet" in line) == (line.split()[:1] != [] and line.split()[0] in NOT_RUN), line


def test_presets_prints_one_as_config_reads_it(specmatch):
    status, out, _ = specmatch("presets", "train-ae", "tiny_dsm")
    assert status == 0
    assert override(AutoencoderRun(), yaml.safe_load(out), "printed") == PRESETS["tiny_dsm"]()


def test_presets_as_json(specmatch):
    listed, one = specmatch("presets", "sample", "--json"), specmatch("presets", "sample", "sit", "--json")
    assert json.loads(listed[1])["sample"].keys() == COMMANDS["sample"].keys()
    assert json.loads(one[1])["steps"] == COMMANDS["sample"]["sit"]().steps


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train-ea",), "'train-ea' has no presets; did you mean train-ae?"),
        (("train-ae", "tiny_dms"), "no preset 'tiny_dms' of train-ae; did you mean tiny_dsm?"),
    ],
)
def test_presets_suggests_the_nearest(specmatch, words, said):
    assert specmatch("presets", *words) == (2, "", f"specmatch presets: {said}\n")
