"""Draw the figures of docs/theory.md and docs/five_latent_spaces.md, from results alone.

    python experiments/theory_figures.py

The first is the closed form; the others draw experiments/results/frequency_bias_cifar10.json, what_esm_asks_for.json
and five_latent_spaces.json. Writes docs/theory_*.svg and docs/five_latent_spaces.svg.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from spectrum_matching.diffusion import Path as DiffusionPath
from spectrum_matching.studies.frequency_bias.record import FREQUENCY_BIAS, Case, FrequencyBias

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results", HERE.parent / "docs"
INK, MUTED, RULE = "#1d1f23", "#6b6f76", "#e2e0d8"
SERIES = ("#c2452d", "#1f6f8b", "#3f7d3a", "#7b4fa3", "#b0781a", "#3c4a9e")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # a picture of a document has no page whose fonts it could take
    "svg.hashsalt": "theory",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
TITLES = {2.0: "power 1/f², as of images", 1.0: "1/f, flattened by delta = 1", 0.0: "white"}
FLATTENED = ("images, delta -1", "images", "images, delta 1", "images, delta 2")
OTHERS = ("images", "Gaussian surrogates", "white noise", "predicts data")


@contextmanager
def drawing(name: str, n: int, n_rows: int = 1) -> Iterator[list[Axes]]:
    """Yield n panels side by side in each row, and write them to docs/NAME.svg."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * n, 2.7 * n_rows), layout="constrained", facecolor="white")
        yield list(figure.subplots(n_rows, n, squeeze=False).flat)
        figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None})


def wiener() -> None:
    """Draw the relative error of the best linear denoiser by frequency, for three exponents at equal variance."""
    path, frequencies = DiffusionPath("linear"), torch.logspace(-1.8, -0.15, 60, dtype=torch.float64)
    with drawing("theory_wiener", 3) as panels:
        for axes, exponent in zip(panels, (2.0, 1.0, 0.0), strict=True):
            power = frequencies**-exponent
            power = (
                power / torch.trapezoid(power * frequencies, frequencies) * torch.trapezoid(frequencies, frequencies)
            )
            for index, t in enumerate((0.2, 0.5, 0.8)):
                along = path.coefficients(torch.tensor(t, dtype=torch.float64))
                error = along.sigma**2 / (along.alpha**2 * power + along.sigma**2)
                axes.plot(frequencies, error, color=SERIES[index], label=f"t = {t}")
            frequency_axis(axes, "cycles per sample")
            axes.set(ylim=(0, 1.03), title=TITLES[exponent])
        panels[0].set_ylabel("error over power")
        panels[0].legend()


def learned(study: FrequencyBias) -> None:
    """Draw each band's error over its power and over the best linear denoiser's, its loss, and its half-time."""
    with drawing("theory_learned", 2, 2) as panels:
        for index, name in enumerate(FLATTENED):
            case = study.of(name)[0]
            _by_band(panels[0], case, [band.final_error for band in case.bands], index, name)
            _by_band(panels[1], case, [band.ratio.value for band in case.bands], index, name)
            _by_band(panels[2], case, [band.final_loss - band.wiener_loss for band in case.bands], index, name)
        for index, name in enumerate(OTHERS):
            case = study.of(name)[0]
            _by_band(panels[3], case, [band.half or float("nan") for band in case.bands], index, name)
        for axes in panels:
            frequency_axis(axes, "cycles per pixel")
            if axes is not panels[2]:
                plain_log(axes)
        panels[2].axhline(0, color=INK, lw=0.8)
        panels[0].set_title("error over the band's power")
        panels[1].set_title("error over the best linear denoiser's")
        panels[2].set_title("loss less the best linear denoiser's")
        panels[3].set_title("updates to half of a band's loss")
        panels[0].legend()
        panels[3].legend()


def _by_band(axes: Axes, case: Case, values: list[float], index: int, name: str) -> None:
    axes.plot([band.frequency for band in case.bands], values, "o-", ms=3, color=SERIES[index], label=name)


def loss_and_mask(esm: dict[str, Any]) -> None:
    """Draw the exponent that the loss prefers at each scale of the latents, and the shortest period a mask keeps."""
    with drawing("theory_loss_and_mask", 2) as (left, right):
        for index, (variant, name) in enumerate((("paper", "the paper's"), ("scale_free", "scale-free"))):
            best = esm["losses"][variant]["best_exponent"]
            left.plot([float(std) for std in best], list(best.values()), "o-", ms=4, color=SERIES[index], label=name)
        left.axhline(1, color=MUTED, lw=0.8, ls="--")
        left.set_xscale("log")
        left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        left.set(xlabel="standard deviation of the latents", title="exponent that the loss prefers")
        left.legend()
        masks = esm["masks"]
        for index, (key, name) in enumerate(
            (("pixels_image", "image"), ("pixels_latent_f8", "latents, f8"), ("pixels_latent_f16", "latents, f16"))
        ):
            periods = [masks[keep][key] for keep in masks]
            right.plot([int(keep) for keep in masks], periods, "o-", ms=4, color=SERIES[index], label=name)
        plain_log(right)
        right.set(
            xlabel="keep, diagonals of 8 × 8",
            title="shortest period kept, pixels",
            xticks=[int(keep) for keep in masks],
        )
        right.legend()


def five_spaces(document: dict[str, Any], images: str = "kodak_256") -> None:
    """Draw the spectrum of each real latent space beside its target, and the ratio of the two."""
    with drawing("five_latent_spaces", 3, 2) as panels:
        for index, (name, space) in enumerate(document[images].items()):
            match, colour = space["matches"]["scale_free"], SERIES[index]
            latent, target = (10 * torch.tensor(match[side]).log10() for side in ("latent", "target"))
            panels[index].plot(match["frequencies"], target, "--", color=MUTED, label="target, delta 1")
            panels[index].plot(match["frequencies"], latent, color=colour, label="latents")
            panels[index].set(title=name, ylim=(-27, -1), ylabel="share of a band, dB")
            panels[-1].plot(match["frequencies"], latent - target, color=colour, label=name)
        panels[-1].axhline(0, color=MUTED, lw=0.8, ls="--")
        panels[-1].set(title="latents over target", ylabel="dB")
        for axes in panels:
            frequency_axis(axes, "cycles per latent position")
            axes.legend()


def frequency_axis(axes: Axes, label: str) -> None:
    """Give the axes a logarithmic x axis of frequencies."""
    axes.set(xscale="log", xlabel=label)
    axes.xaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def plain_log(axes: Axes) -> None:
    """Give the axes a logarithmic y axis with plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def main() -> None:
    """Read and draw."""
    wiener()
    learned(FREQUENCY_BIAS.read(RESULTS / "frequency_bias_cifar10.json"))
    loss_and_mask(json.loads((RESULTS / "what_esm_asks_for.json").read_text()))
    five_spaces(json.loads((RESULTS / "five_latent_spaces.json").read_text()))


if __name__ == "__main__":
    main()
