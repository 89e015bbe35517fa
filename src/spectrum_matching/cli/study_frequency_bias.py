"""The verb `study frequency-bias`: which spatial frequencies a diffusion model learns first, and which best."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import arg

from ..diffusion.path import Kind, Prediction
from ..files.yaml_files import nearest, override, read_mapping, to_yaml
from ..report.study_page import render_study
from ..studies.frequency_bias.cases import in_one_line, run_study
from ..studies.frequency_bias.page import frequency_blocks, frequency_lead
from ..studies.frequency_bias.plans import PLANS, check_plan
from ..studies.frequency_bias.record import FREQUENCY_BIAS, FrequencyBias
from .names import chosen_device, named_sources
from .study import PAGE_FILE, write_study


def frequency_bias(
    plan: Annotated[str, arg(metavar="PLAN")] = "embedded",
    /,
    *,
    config: Path | None = None,
    out: Path | None = None,
    data: str | None = None,
    size: int | None = None,
    denoiser: str | None = None,
    path: Kind | None = None,
    prediction: Prediction | None = None,
    steps: int | None = None,
    seeds: tuple[int, ...] = (),
    cases: tuple[str, ...] = (),
    deltas: tuple[float, ...] | None = None,
    exponents: tuple[float, ...] | None = None,
    loss_powers: tuple[float, ...] | None = None,
    autoencoders: tuple[str, ...] = (),
    pixels_per_degree: float | None = None,
    lpips: str | None = None,
    features: str | None = None,
    device: str = "auto",
    dry_run: bool = False,
) -> Path:
    """Train denoisers on images, tilted images, Gaussian fields and latents; write study.json and report.html.

    The same command goes on after a kill. Several commands may share a plan by --cases: each case is done once. What is
    not given is the plan's, whose every field --dry-run prints and --config sets.

    Args:
        plan: embedded, cifar10 or gpu.
        config: YAML with what differs from the plan; every field of it may be set there.
        out: Folder of all cases, of study.json and report.html.
        data: "embedded", a folder or parquet path, or hub:NAME; a part is held out.
        size: Side of the square images in pixels.
        denoiser: Network of pixels, such as SiT-micro/4 or UViT-micro/4.
        path: From data to noise: linear, cosine or vp.
        prediction: What networks predict: velocity, noise or data.
        steps: Updates of each case.
        seeds: The first runs every case, the others the plan's main ones.
        cases: Run these cases only; the page shows all that are finished.
        deltas: Exponents of f that the images' power is multiplied by; 2 makes 1/f^2 flat, below 0 is steeper.
        exponents: Of the power law 1/f^α of Gaussian fields; 0 is white noise.
        loss_powers: Exponents of f that squared errors are weighted by.
        autoencoders: NAME=SOURCE each, as for `specmatch analyze`: latents of the same images.
        pixels_per_degree: At which images are looked at, for contrast sensitivity.
        lpips: Weights of LPIPS, a path or hub name.
        features: Extractor for injected errors: inception:PATH, dinov2[:FOLDER], a TorchScript file,
            python:FILE.py:FACTORY.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        dry_run: Check the plan, print it, and stop; no data are needed.
    """
    if plan not in PLANS:
        raise ValueError(f"no plan {plan!r}; {nearest(plan, list(PLANS))}")
    resolved = PLANS[plan]()
    if config is not None:
        resolved = override(resolved, read_mapping(config), str(config))
    given = {
        "out": None if out is None else str(out),
        "data": data,
        "size": size,
        "denoiser": denoiser,
        "path": path,
        "prediction": prediction,
        "steps": steps,
        "seeds": seeds or None,
        "deltas": deltas,
        "exponents": exponents,
        "loss_powers": loss_powers,
        "autoencoders": tuple(map("=".join, named_sources(autoencoders).items())) if autoencoders else None,
        "pixels_per_degree": pixels_per_degree,
        "lpips": lpips,
        "features": features,
    }
    given = {key: value for key, value in given.items() if value is not None}
    resolved = replace(resolved, **given)  # type: ignore[arg-type]  # their types are those of the fields
    # What all cases predict needs no case of its own.
    others = tuple(own for own in resolved.predictions if own != resolved.prediction)
    resolved = replace(resolved, predictions=others) if prediction else resolved
    check_plan(resolved)
    for name in cases:
        if name not in resolved.subjects:
            raise ValueError(f"--cases: no case {name!r}; {nearest(name, list(resolved.subjects))}")
    chosen = [(name, seed) for name, seed in resolved.trials if not cases or name in cases]
    console = Console(stderr=True)
    if dry_run:
        print(to_yaml(resolved), end="")
        console.print(
            f"{len(chosen)} trainings of {resolved.steps} updates: {', '.join(dict(chosen))}", highlight=False
        )
        return Path(resolved.out)
    command = shlex.join(["specmatch", "study", "frequency-bias", plan, *_options(given, config)])
    study = run_study(resolved, chosen, chosen_device(device), command, console)
    page = render_study(
        "The frequency bias of diffusion training",
        frequency_lead(study),
        frequency_blocks(study),
        study.names,
        study.provenance,
        study.command,
        study.notes,
        [("the plan", in_one_line(resolved))],
    )
    write_study(Path(resolved.out), FREQUENCY_BIAS.to_json(study), page)
    print_cases(study, console)
    found = Path(resolved.out) / PAGE_FILE
    console.print(str(found), highlight=False, soft_wrap=True, markup=False)
    return found


def _options(given: Mapping[str, object], config: Path | None) -> list[str]:
    """What was given on the command line, as words."""
    words = [] if config is None else ["--config", str(config)]
    for key, value in given.items():
        words.append("--" + key.replace("_", "-"))
        words += [f"{each:g}" if isinstance(each, float) else str(each) for each in _each(value)]
    return words


def _each(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def print_cases(study: FrequencyBias, console: Console) -> None:
    """A row a training: when the lowest and the highest band were half learned, and how far from Wiener they ended."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("case", overflow="fold")
    for title in ("half, lowest band", "highest", "over Wiener, lowest", "highest"):
        table.add_column(title, justify="right")
    for case in study.cases:
        low, high = case.bands[0], case.bands[-1]
        halves = ("–" if half is None else f"{half:.0f}" for half in (low.half.to_final, high.half.to_final))
        ratios = (f"{band.ratio.value:.2f}" for band in (low, high))
        table.add_row(escape(f"{case.name}, seed {case.seed}"), *halves, *ratios)
    console.print(table)
