"""What training runs hold and leave on the disk, in a form that tests can compare."""

import json
import time
from pathlib import Path

import torch

from spectrum_matching.files.yaml_files import to_yaml
from spectrum_matching.training import autoencoder_config

EVERYTHING = {  # all state that there can be, each part of it touched within 4 steps
    "method": autoencoder_config.MethodChoice("esm_dsm", block=4, keep=(7, 3)),
    "discriminator": autoencoder_config.DiscriminatorChoice(weight=0.5, start=1, width=8, depth=2),
    "batch_size": 4,
    "accumulation": 2,
}


def files(folder):
    """Contents of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def logged(run):
    """The log without what depends on the clock."""
    clock = ("images_per_second", "waiting", "time")
    lines = [json.loads(line) for line in (Path(run.out) / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def checkpointed(run):
    return sorted(path.name for path in (Path(run.out) / "checkpoints").iterdir())


def asked(run, tmp_path, name="asked"):
    """The file of a run."""
    path = tmp_path / f"{name}.yaml"
    path.write_text(to_yaml(run))
    return path


def wait_for(condition, process):
    """Wait until the condition holds or the process has ended."""
    deadline = time.monotonic() + 60
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def flat(value, prefix=""):
    """Every leaf of a nested state, by its path."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for k, v in items for path, leaf in flat(v, f"{prefix}/{k}").items()}
    return {prefix: value}


def differing(a, b):
    """The paths at which two states are not equal bit for bit."""
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    return [k for k in a if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]
