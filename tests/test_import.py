"""Importing defines, and does nothing else."""

import json
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import spectrum_matching
from spectrum_matching.cli.main import COMMANDS

HEAVY = {"numpy", "diffusers", "accelerate", "transformers", "torchvision", "matplotlib", "PIL", "skimage", "datasets"}
MODULES = sorted(m.name for m in pkgutil.walk_packages(spectrum_matching.__path__, "spectrum_matching."))
ROOT = Path(spectrum_matching.__file__).parent
EXPORTING = [
    ".".join(path.parent.relative_to(ROOT.parent).parts)
    for path in sorted(ROOT.rglob("__init__.py"))
    if "__all__ = " in path.read_text()
]

NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise RuntimeError("an import reached for the network")
socket.socket.connect = socket.getaddrinfo = refuse
"""


def modules_after(code):
    """Top-level modules in a new interpreter after `code`, which must print nothing and open no connection."""
    report = "\nimport json, sys\nprint(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", NO_NETWORK + code + report], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *printed, loaded = done.stdout.splitlines()
    assert not printed
    return set(json.loads(loaded))


LIBRARY = """
import spectrum_matching
for name in spectrum_matching.__all__:
    getattr(spectrum_matching, name)
import spectrum_matching.diffusion
"""


def test_import_of_package_loads_no_torch():
    assert "torch" not in modules_after("import spectrum_matching")


@pytest.mark.slow
def test_import_of_library_rooms_needs_torch_alone():
    # torch itself may load numpy.
    loaded = modules_after(LIBRARY) - modules_after("import torch")
    assert "spectrum_matching" in loaded
    assert not loaded & (HEAVY | {"jaxtyping", "beartype"})


@pytest.mark.slow
def test_import_of_every_module_prints_nothing_and_loads_no_optional_library():
    loaded = modules_after("\n".join(f"import {module}" for module in MODULES))
    # transformers is not named: diffusers imports it where it is installed.
    assert not loaded & {"matplotlib", "datasets", "skimage", "torchvision", "wandb"}


@pytest.mark.slow
def test_import_of_commands_loads_no_diffusers():
    """Help of a command waits for the types of its options alone; diffusers takes as long as torch and all else."""
    files = [name.replace("-", "_") for name in COMMANDS]
    assert "diffusers" not in modules_after("\n".join(f"import spectrum_matching.cli.{file}" for file in files))


@pytest.mark.parametrize("package", EXPORTING)
def test_import_of_exported_names_succeeds_once_each(package):
    module = __import__(package, fromlist=["__all__"])
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    repository = ROOT.parents[1]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, repository]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("spectrum_matching-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith("spectrum_matching/")}
    files = {path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert ROOT / "metrics" / "atlas" / "atlas.json" in files
    assert shipped == {path.relative_to(ROOT.parent).as_posix() for path in files}
