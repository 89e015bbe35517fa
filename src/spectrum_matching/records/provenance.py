"""Provenance of a measurement: the versions of code and libraries, the device, the seed."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from .. import __version__
from .analysis import Provenance


def commit() -> str:
    """Return the checkout's commit, with a plus if files differ from it; "" for an installed package."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # The package may be installed within another repository, whose commit says nothing of it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    return f"{git('rev-parse', '--short=12', 'HEAD')}{'+' if git('status', '--porcelain', '-uno') else ''}"


def provenance(device: torch.device, dtype: torch.dtype, seed: int) -> Provenance:
    """Return the provenance of a measurement made now."""
    return Provenance(
        version=__version__,
        commit=commit(),
        torch=torch.__version__,
        diffusers=version("diffusers"),
        device=device.type,
        dtype=str(dtype).removeprefix("torch."),
        seed=seed,
    )
