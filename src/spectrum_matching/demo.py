"""The demo: three tiny autoencoders on embedded photographs, measured side by side, in one report."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from .analyze import analyze_all
from .run_autoencoder import run_autoencoder
from .runs import AutoencoderRun, tiny

NAMES = {"sd_vae": "SD-VAE", "esm": "ESM", "dsm": "DSM"}


def demo(out: Path = Path("runs/demo"), fast: bool = False) -> None:
    """Train SD-VAE, ESM and DSM from one seed for equal updates, then analyze them together.

    out: folder of the runs and of the report. fast: a quarter of the training, fewer images.
    """
    console = Console(stderr=True)
    exports = {}
    for i, run in enumerate(demo_runs(out, fast)):
        name = NAMES[run.method.name]
        console.rule(f"{i + 1} of {len(NAMES) + 1}: {name}")
        exports[name] = run_autoencoder(run, title=f"training {name}")
    console.rule(f"{len(NAMES) + 1} of {len(NAMES) + 1}: analysis")
    analyze_all([f"{name}={folder}" for name, folder in exports.items()], out=out, num_images=64 if fast else 192)


def demo_runs(out: Path, fast: bool) -> list[AutoencoderRun]:
    """The three runs: alike but for the method."""
    return [
        replace(tiny(method), name=method, out=str(out / method), steps=150 if fast else 600)
        for method in ("sd_vae", "esm", "dsm")
    ]
