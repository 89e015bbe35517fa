"""The demo: three tiny autoencoders on embedded photographs, measured side by side, in one report."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from .analyze import analyze_all
from .run_autoencoder import run_autoencoder
from .runs import AutoencoderRun, MethodChoice, Optimizer, tiny

METHODS = {
    "SD-VAE": MethodChoice("sd_vae"),
    # Few updates need a larger weight than the paper's 0.01, which it gives hundreds of thousands.
    "ESM": MethodChoice("esm", variant="scale_free", esm_weight=0.1),
    "DSM": MethodChoice("dsm"),
}


def demo(out: Path | None = None, fast: bool = False) -> None:
    """Train SD-VAE, ESM and DSM from one seed for equal updates, then analyze them together.

    Args:
        out: Folder of the runs and of the report; runs/demo by default, runs/demo-fast with --fast.
        fast: A quarter of the training, a quarter of the images.
    """
    out = out or Path("runs/demo-fast" if fast else "runs/demo")
    console = Console(stderr=True)
    exports = []
    for i, (name, run) in enumerate(demo_runs(out, fast).items(), 1):
        console.rule(f"{i} of {len(METHODS) + 1}: train {name}", align="left")
        exports.append(f"{name}={run_autoencoder(run, title=name)}")
    console.rule(f"{len(METHODS) + 1} of {len(METHODS) + 1}: analyze", align="left")
    analyze_all(tuple(exports), out=out, num_images=64 if fast else 256)


def demo_runs(out: Path, fast: bool) -> dict[str, AutoencoderRun]:
    """The runs by name, alike but for the method."""
    return {
        name: replace(
            tiny(choice.name),
            out=str(out / choice.name),
            steps=60 if fast else 240,
            method=choice,
            optimizer=Optimizer(lr=1e-3, warmup=30 if fast else 100, ema=0.99),
        )
        for name, choice in METHODS.items()
    }
