"""A fresh environment with torch alone, as `pip install spectrum-matching` makes it."""

import importlib.metadata as metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import spectrum_matching
from spectrum_matching.cli.main import COMMANDS

HERE, SOURCE = Path(torch.__file__).parents[1], Path(spectrum_matching.__file__).parents[1]
NEEDS_NOTHING = """
import sys, torch
from spectrum_matching import ESM, SpectralMask, power_spectrum
g = torch.Generator().manual_seed(0)
latents = torch.randn(2, 4, 8, 8, generator=g)
loss = ESM()(None, latents.requires_grad_(), torch.randn(2, 3, 64, 64, generator=g))
loss.backward()
SpectralMask().draw(g, grid=(8, 8))(latents)
assert latents.grad.isfinite().all() and "numpy" not in sys.modules
"""


def needed(name, found):
    """Add to `found` a distribution and all that it needs, without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in found:
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another platform
            return
        for line in found[key].requires or ():
            if "extra ==" not in line:
                needed(re.match(r"[\w.-]+", line)[0], found)


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """The interpreter of an environment that holds torch, what torch needs, and nothing else."""
    folder = tmp_path_factory.mktemp("core")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    found = {}
    needed("torch", found)
    for distribution in found.values():
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if (HERE / top).exists() and not (site / top).exists():
                (site / top).symlink_to(HERE / top)
    return folder / "bin" / "python"


def run(core, *words):
    environment = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    return subprocess.run([core, *words], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_losses_and_transforms_need_torch_alone(core):
    done = run(core, "-c", NEEDS_NOTHING)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_commands_say_in_one_line_what_to_install(core):
    assert run(core, "-m", "spectrum_matching").returncode == 0
    for name in COMMANDS:
        done = run(core, "-m", "spectrum_matching", name, "--help")
        if len(COMMANDS[name]) > 2:
            done = run(core, "-m", "spectrum_matching", name, COMMANDS[name][1], "--help")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert re.fullmatch(
            rf"specmatch {name}: needs \w+, which is not installed: pip install 'spectrum-matching\[cli\]'\n",
            done.stderr,
        )
