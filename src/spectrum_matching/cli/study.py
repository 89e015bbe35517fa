"""The command `study`: one question about encoders, saved analyses or training, answered in numbers and on one page."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import arg

from ..data.images import Split, open_images
from ..files.documents import Document
from ..files.locks import exclusive
from ..files.stages import STAGE_NAME, require_stage_folder
from ..files.yaml_files import nearest, override, read_mapping, to_yaml
from ..records.analysis import ANALYSES
from ..report.terminal import terminal_table
from ..studies.directional_energy import measure as directional
from ..studies.directional_energy.page import directional_page, number_table
from ..studies.directional_energy.record import DIRECTIONAL_ENERGY, DirectionalEnergy
from ..studies.frequency_bias.page import case_table, frequency_page
from ..studies.frequency_bias.plans import PLANS, check_plan
from ..studies.frequency_bias.record import FREQUENCY_BIAS, FrequencyBias
from ..studies.frequency_bias.run_study import OpenedStudy, collect_cases, run_cases
from ..studies.unified_view.measure import measure_unified_view
from ..studies.unified_view.page import unified_lead, unified_page
from ..studies.unified_view.record import UNIFIED_VIEW, UnifiedView
from .names import chosen_device, named_sources
from .output import (
    claims,
    print_checked,
    print_document,
    print_results,
    progress_bar,
    progress_bars,
    write_page,
    write_results,
)
from .typed import typed_command

log = logging.getLogger(__name__)

FILE = "study.json"

Study = TypeVar("Study")


@claims("study.json", "report.html")
def directional_energy(
    encoders: Annotated[Sequence[str], arg(metavar="ENCODER ...")],
    /,
    *,
    data: str,
    out: Path,
    size: int = 256,
    num_images: int = 100,
    split: Split = "all",
    gamma: tuple[float, ...] = directional.GAMMAS,
    inner: float = directional.INNER,
    outer: float | None = None,
    masks: Path | None = None,
    batch_size: int = 16,
    device: str = "auto",
    overwrite: bool = False,
) -> DirectionalEnergy:
    """Measure the directional spectrum of encoders' tokens before and after each target filter of alignment.

    For example:
        specmatch study directional-energy gradients autoencoder:runs/tiny --data embedded --out study

    Args:
        encoders: gradients[:CELL] (no weights), shufflenet:PATH, a folder in transformers' format, hub:OWNER/NAME, or
            autoencoder:SOURCE for latents, as in `specmatch analyze`; NAME=ENCODER sets the displayed name.
        data: A folder, parquet or tar path, URL, (hub|stream):NAME[:SPLIT], or "embedded".
        out: Folder for study.json and report.html.
        size: Side of the square images in pixels.
        num_images: Number of images, spread over the split.
        split: Part of the data: train, held_out or all.
        gamma: Shares of the mean token that spatial normalisation subtracts.
        inner: Smaller standard deviation of the difference of Gaussians, in tokens.
        outer: Larger one, also that of the high-pass; by default a fifth of the grid's shorter side.
        masks: Folder of foreground masks named like the images; adds SRSS.
        batch_size: Images per batch.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        overwrite: Replace files of these names that specmatch did not write, in any folder.
    """
    if not encoders:
        raise ValueError(
            'no encoder was given: name "gradients", shufflenet:PATH, folders, hub:OWNER/NAME or autoencoder:SOURCE'
        )
    if num_images < 2 or batch_size < 1:
        raise ValueError(f"expected at least 2 images in batches of at least 1; got {num_images} and {batch_size}")
    sources, torch_device = named_sources(encoders), chosen_device(device)
    images = open_images(data, size, split=split, labels=None)
    opened = {name: directional.open_encoder(source, torch_device) for name, source in sources.items()}
    filters: dict[str, Any] = {"gamma": gamma, "inner": inner, "outer": outer}
    with progress_bar("images") as progress:
        reading: dict[str, Any] = {"n_images": num_images, "masks": masks, "batch_size": batch_size, "split": split}
        study = directional.measure_directional_energy(
            opened, images, **filters, **reading, command=typed_command(), progress=progress
        )
    _write_numbers(out, DIRECTIONAL_ENERGY, study)
    print_results(terminal_table(number_table(study), list(opened), brief=True))
    _write_page(out, lambda: directional_page(study))
    return study


@claims("study.json", "report.html")
def unified_view(
    analyses: Annotated[Sequence[Path], arg(metavar="ANALYSIS ...")],
    /,
    *,
    control: str,
    out: Path,
    delta: float = 1.0,
    overwrite: bool = False,
) -> UnifiedView:
    """Find which side of spectrum matching each method acts on; analyses of one name are seeds of one method.

    For example:
        specmatch study unified-view runs/compare/embedded --control autoencoder --out study

    Args:
        analyses: analysis.json files of `specmatch analyze` or `specmatch compare`, or folders with any number below.
        control: Name of the method with which the others are compared.
        out: Folder for study.json and report.html.
        delta: Flattening of the images' spectrum with which that of the latents is compared.
        overwrite: Replace files of these names that specmatch did not write, in any folder.
    """
    if not analyses:
        raise ValueError("no analysis was given: name analysis.json files, or the folders that hold them")
    files = []
    for path in analyses:
        found = sorted(path.rglob("analysis.json")) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path} holds no analysis.json: name a folder that specmatch analyze or compare wrote")
        files += found
    _require_one_analysis_a_trial(files)
    read = [analysis for file in files for analysis in ANALYSES.read(file)]
    study = measure_unified_view(read, control, typed_command(), delta)
    _write_numbers(out, UNIFIED_VIEW, study)
    print_results(*unified_lead(study))
    _write_page(out, lambda: unified_page(study))
    return study


def _require_one_analysis_a_trial(files: Sequence[Path]) -> None:
    """Check that no trial of a comparison was analyzed with several settings, which would count as several seeds."""
    found: dict[Path, Path] = {}
    for file in (path.absolute() for path in files):
        if STAGE_NAME.fullmatch(file.parent.name):
            trial, first = file.parents[1], found.setdefault(file.parents[1], file)
            if first != file:
                raise ValueError(f"{trial} has several analyses, {first} and {file}: name one of them")


def frequency_bias(
    plan: Annotated[str, arg(metavar="PLAN")] = "embedded",
    /,
    *,
    config: Path | None = None,
    out: Path | None = None,
    data: str | None = None,
    steps: int | None = None,
    autoencoders: tuple[str, ...] = (),
    cases: tuple[str, ...] = (),
    device: str = "auto",
    dry_run: bool = False,
) -> FrequencyBias | None:
    """Train denoisers on images, tilted images, Gaussian fields and latents; measure each frequency band.

    Rerun the same command to resume. Several commands may share a folder, with some --cases each.

    For example:
        specmatch study frequency-bias embedded --dry-run
        specmatch study frequency-bias embedded --cases images --steps 200 --out study

    Args:
        plan: The plan; `specmatch presets study` lists them.
        config: YAML with fields of the plan to change, such as seeds, denoiser or prediction; --dry-run prints all.
        out: Folder for all cases, study.json and report.html; by default the plan's, under runs.
        data: "embedded", a folder, parquet or tar path, URL, or hub:NAME, by default the plan's; a part is held out.
        steps: Updates of each case; by default the plan's.
        autoencoders: NAME=SOURCE each, as in `specmatch analyze`: adds a case of latents of the same images.
        cases: Run only these, by default all; the page shows all that are finished.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        dry_run: Check the plan, its data and networks, print it, and stop.
    """
    if plan not in PLANS:
        raise ValueError(f"no plan {plan!r}; {nearest(plan, list(PLANS))}")
    named = tuple(map("=".join, named_sources(autoencoders).items())) if autoencoders else None
    options = {"out": out and str(out), "data": data, "steps": steps, "autoencoders": named}
    resolved = override(PLANS[plan], read_mapping(config) if config else {}, str(config))
    resolved = override(resolved, {key: value for key, value in options.items() if value is not None}, "command line")
    check_plan(resolved)
    for name in cases:
        if name not in resolved.cases:
            raise ValueError(f"--cases: no case {name!r}; {nearest(name, list(resolved.cases))}")
    trials = [(name, seed) for name, seed in resolved.trials if not cases or name in cases]
    folder = Path(resolved.out)
    require_stage_folder(folder, ("study.json", "report.html"))
    if dry_run:
        OpenedStudy(resolved, chosen_device(device))
        print_checked(to_yaml(resolved))
        log.info("%d trainings of %d updates: %s", len(trials), resolved.steps, "; ".join(dict(trials)))
        return None
    opened = OpenedStudy(resolved, chosen_device(device))
    with progress_bars([f"{name}, seed {seed}" for name, seed in trials]) as bars:
        run_cases(opened, trials, bars)
    with exclusive(folder / "report.html", waiting=True):  # the last of several commands collects all
        study = collect_cases(opened, typed_command())
        _write_numbers(folder, FREQUENCY_BIAS, study)
        print_results(terminal_table(case_table(study), study.names))
        _write_page(folder, lambda: frequency_page(study))
    return study


def _write_numbers(out: Path, document: Document[Study], study: Study) -> None:
    """Write study.json into a folder, and print it where JSON is asked for."""
    write_results(out, lambda folder: document.write(folder / FILE, study))
    print_document(document, study)


def _write_page(out: Path, draw: Callable[[], str]) -> None:
    """Write report.html into a folder, beside the numbers, and print its path."""
    write_page(out / "report.html", draw, str(out / FILE))
    print_results(str(out / "report.html"))
