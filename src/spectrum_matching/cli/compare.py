"""The command `compare`: methods × seeds, each from images to scores at equal cost, in one report."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ..comparison.checks import OpenedPlan, open_plan
from ..comparison.collect import collect_trials
from ..comparison.cost import SHARE, cost_of, total
from ..comparison.plans import PLANS, Plan
from ..comparison.trial import finished_stages, planned_stages, run_trial
from ..files.locks import exclusive
from ..files.stages import FinishedStage, require_stage_folder
from ..files.yaml_files import nearest, override, read_mapping, to_yaml
from ..processes import agreed, in_all, in_main, open_accelerator
from ..records.analysis import Analysis
from ..records.comparison import COMPARISON, Comparison, Stage
from ..report.comparison.page import render_comparison
from ..report.comparison.tables import comparison_markdown
from ..report.digits import number
from ..report.table import Cell, Column, Table
from ..report.terminal import terminal_table
from .output import print_checked, print_document, print_results, progress_bar, show, write_page, write_results
from .typed import typed_command

log = logging.getLogger(__name__)

RESULTS = ("comparison.json", "report.html")

OTHER_NAMES = (
    "it compares methods, as a plan says; autoencoders are compared side by side by `specmatch analyze A B`, and as "
    "drop-ins for one another by `specmatch compare-latents A B`"
)
"""What to say of a name beyond those that the command takes, and of a path in place of a plan."""


def compare(
    plan: Annotated[str | None, arg(metavar="PLAN")] = None,
    /,
    *,
    config: tuple[Path, ...] = (),
    out: Path | None = None,
    data: str | None = None,
    seeds: tuple[int, ...] = (),
    only: tuple[str, ...] = (),
    dry_run: bool = False,
) -> Comparison | None:
    """Train, analyze, cache, diffuse, sample and score every entry of a plan; write one report.

    Rerun the same command to resume after an interruption. Several commands may share a plan: each stage runs once.
    Launched by torchrun, all processes share each stage.
    It runs where Accelerate says: on a GPU if there is one, or where ACCELERATE_TORCH_DEVICE=cpu or cuda:1 says.

    For example:
        specmatch compare embedded --dry-run
        specmatch compare embedded --only SD-VAE DSM --seeds 0
        specmatch compare cifar10 --data data/cifar10/train.parquet --config changes.yaml --out runs/mine

    Args:
        plan: The plan; `specmatch presets compare` lists them.
        config: YAML files of changes to the plan, one after the other; `entries` replace all entries before them.
        out: Folder for all stages, comparison.json and report.html; by default runs/compare/PLAN.
        data: Images to train on, by default the plan's: "embedded", a folder, parquet or tar path, URL, or
            (hub|stream):NAME[:SPLIT].
        seeds: Run only these seeds; by default all.
        only: Run only these entries; by default all.
        dry_run: Check the plan, its data and networks, print it and stop.
    """
    with agreed():
        resolved = resolve(plan, config, out, data)
        chosen = [(name, seed) for seed in seeds or resolved.seeds for name in only or resolved.entries]
        for name, seed in chosen:
            if name not in resolved.entries:
                raise ValueError(f"--only: no entry {name!r}; {nearest(name, list(resolved.entries))}")
            if seed not in resolved.seeds:
                raise ValueError(f"--seeds: {seed} is not a seed of the plan, which has {resolved.seeds}")
    accelerator = open_accelerator()
    in_main(accelerator, lambda: require_stage_folder(Path(resolved.out), RESULTS))
    opened = in_all(accelerator, lambda: open_plan(resolved))
    if dry_run:
        print_checked(to_yaml(opened.plan, brief=True))
        show(terminal_table(entries_table(opened.plan, only), list(only or opened.plan.entries)))
        finished = in_main(accelerator, lambda: finished_stages(opened, chosen))
        for line in cost_lines(opened, planned_stages(opened.plan, chosen) - finished, accelerator.num_processes):
            log.info("%s", line)
        n, m = len(only or resolved.entries), len(seeds or resolved.seeds)
        log.info("%d trials: %d entries x %d seeds; %d of their stages are finished", n * m, n, m, len(finished))
        return None
    run_trials(opened, chosen)

    def report() -> Comparison:
        with exclusive(Path(resolved.out) / "report.html", waiting=True):  # the last of several commands collects all
            comparison = collect_trials(opened, typed_command())
            write_comparison(comparison, Path(resolved.out))
        print_results(comparison_markdown(comparison), str(Path(resolved.out) / "report.html"))
        return comparison

    comparison: Comparison = in_main(accelerator, report)
    return comparison


def entries_table(plan: Plan, only: Sequence[str] = ()) -> Table:
    """Return a row for each entry: its method, with every option, and what its diffusion model has of its own.

    only: names of the entries; by default all.
    """
    rows = []
    for entry in (plan.entries[name] for name in only or plan.entries):
        options = {name: getattr(entry.method, name) for name in entry.method.options()}
        said = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
        own = [str(entry.gain)] if entry.gain.is_given else []
        own += [f"curriculum {entry.curriculum.keep}"] if entry.curriculum.keep else []
        if (alignment := entry.alignment).weight:
            own.append(
                f"alignment {alignment.weight:g} with {alignment.encoder}, {alignment.filter} {alignment.projector}"
            )
        rows.append((Cell(entry.method.name), Cell(said), Cell("; ".join(own))))
    columns = (Column("method", is_text=True), Column("options", is_text=True), Column("diffusion", is_text=True))
    return Table(columns, tuple(enumerate(rows)))


def cost_lines(opened: OpenedPlan, stages: Collection[tuple[Path, Stage]], n_processes: int = 1) -> list[str]:
    """Return what stages of a plan would cost, as lines: hours of one H200, memory of each process, disk."""
    plan, cost = opened.plan, cost_of(opened.plan, n_processes)
    if cost is None:
        return ["no cost estimate: it is counted for autoencoders from a preset"]
    hours = ", ".join(f"{stage} {amount(value, 'h')}" for stage, value in cost.hours.items())
    shares = " and ".join(f"{share:.0%} for {stage}" for stage, share in SHARE.items())
    memory = ", ".join(f"{stage} {gigabytes(value)}" for stage, value in cost.memory.items())
    much = [stage for stage, value in cost.memory.items() if value > plan.gigabytes * 1e9]
    held = f"memory that training holds in {'each' if n_processes > 1 else 'one'} process, on paper: {memory}"
    fits = f"too few: raise {' and '.join(f'{name}.accumulation' for name in much)}" if much else "which is enough"
    cached = total({"cache": opened.n_training * cost.latents}, stages)
    return [
        f"hours of one H200 for a trial, at assumed shares of its peak ({shares}): {hours}; for all that is left to "
        f"run {amount(total(cost.hours, stages), 'h')}, without analysis, cache, features and scores",
        f"{held}; the plan is for GPUs of {plan.gigabytes:g} GB, {fits}",
        f"disk for all that is left to run, roughly: {gigabytes(cached)} of latents, "
        f"{gigabytes(total(cost.disk, stages))} of weights, checkpoints and samples",
    ]


def amount(value: float, unit: str, digits: int = 3) -> str:
    """Return an amount as people read it: "2,206 h", "0.59 GB", "under 0.01 h"."""
    return f"under 0.01 {unit}" if 0 < value < 0.01 else f"{number(value, digits)} {unit}"


def gigabytes(n_bytes: float) -> str:
    """Return a number of bytes in GB, rounded to two significant digits."""
    return amount(float(f"{n_bytes / 1e9:.2g}"), "GB", 2)


def run_trials(opened: OpenedPlan, chosen: Sequence[tuple[str, int]]) -> list[dict[Stage, FinishedStage]]:
    """Run entries and seeds one after the other."""
    trials = []
    for n, (name, seed) in enumerate(chosen, 1):
        log.info("trial %d of %d: %s, seed %d", n, len(chosen), name, seed)
        trials.append(run_trial(opened, name, seed, progress=progress_bar))
    return trials


def resolve(name: str | None, configs: Sequence[Path], out: Path | None, data: str | None) -> Plan:
    """Return a plan with the changes of its files, one after the other, and of the command line."""
    if name is None:
        raise ValueError(f"name a plan: {', '.join(PLANS)}; `specmatch presets compare` says what they are")
    if name not in PLANS:
        others = f"; {OTHER_NAMES}" if Path(name).exists() else ""
        raise ValueError(f"no plan {name!r}; {nearest(name, list(PLANS))}{others}")
    plan = PLANS[name]()
    for config in configs:
        plan = override(plan, read_mapping(config), str(config))
    if data is not None:
        autoencoder = replace(plan.autoencoder, data=replace(plan.autoencoder.data, path=data))
        plan = replace(plan, autoencoder=autoencoder)
    return replace(plan, out=str(out)) if out is not None else plan


def write_comparison(comparison: Comparison, out: Path, analyses: Sequence[Analysis] = ()) -> None:
    """Write comparison.json and report.html, with a report of the analyses, to a folder.

    Prints the comparison where JSON is asked for.
    """
    file = out / "comparison.json"
    write_results(out, lambda folder: COMPARISON.write(folder / file.name, comparison))
    print_document(COMPARISON, comparison)
    write_page(out / "report.html", lambda: render_comparison(comparison, analyses), str(file))
