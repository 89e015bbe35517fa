"""The command `compare`: methods × seeds, each from images to scores at equal cost, in one report."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ..comparison.checks import OpenedPlan, open_plan
from ..comparison.collect import collect_trials
from ..comparison.plans import NOT_RUN, PLANS, Plan
from ..comparison.trial import run_trial
from ..files.stages import RECORD, FinishedStage
from ..files.yaml_files import nearest, override, read_mapping, to_yaml
from ..records.analysis import Analysis
from ..records.comparison import COMPARISON, Comparison, Stage
from ..report.comparison.page import render_comparison
from ..report.comparison.tables import comparison_markdown
from .output import print_checked, print_results, progress_bar, write_page, write_results

log = logging.getLogger(__name__)

PLAN_HELP = f"{', '.join(name for name in PLANS if name not in NOT_RUN)}; not run yet: {', '.join(NOT_RUN)}."


def compare(
    plan: Annotated[str, arg(metavar="PLAN", help=PLAN_HELP)],
    /,
    *,
    config: Path | None = None,
    out: Path | None = None,
    data: str | None = None,
    seeds: tuple[int, ...] = (),
    only: tuple[str, ...] = (),
    dry_run: bool = False,
) -> Path | None:
    """Train, analyze, cache, diffuse, sample and score every entry of a plan; write one report.

    Rerun the same command to resume after an interruption. Several commands may share a plan: each stage runs once.

    Args:
        plan: Name of a plan; see PLAN_HELP.
        config: YAML file of changes to the plan; its `entries` replace all entries of the plan.
        out: Folder for all stages, comparison.json and report.html.
        data: Images to train on instead of the plan's.
        seeds: Run only these seeds.
        only: Run only these entries.
        dry_run: Check the plan, its data and networks, print it and stop.
    """
    resolved = resolve(plan, config, out, data)
    chosen = [(name, seed) for seed in seeds or resolved.seeds for name in only or resolved.entries]
    for name, seed in chosen:
        if name not in resolved.entries:
            raise ValueError(f"--only: no entry {name!r}; {nearest(name, list(resolved.entries))}")
        if seed not in resolved.seeds:
            raise ValueError(f"--seeds: {seed} is not a seed of the plan, which has {resolved.seeds}")
    opened = open_plan(resolved)
    if dry_run:
        print_checked(to_yaml(resolved))
        n, m, finished = len(resolved.entries), len(resolved.seeds), list(Path(resolved.out).rglob(RECORD))
        log.info("%d trials: %d entries x %d seeds; %d stages are finished", n * m, n, m, len(finished))
        return None
    run_trials(opened, chosen)
    comparison = collect_trials(opened, f"specmatch compare {plan}")
    write_comparison(comparison, Path(resolved.out))
    print_results(comparison_markdown(comparison))
    return Path(resolved.out) / "report.html"


def run_trials(opened: OpenedPlan, chosen: Sequence[tuple[str, int]]) -> list[dict[Stage, FinishedStage]]:
    """Run entries and seeds one after the other."""
    trials = []
    for number, (name, seed) in enumerate(chosen, 1):
        log.info("trial %d of %d: %s, seed %d", number, len(chosen), name, seed)
        trials.append(run_trial(opened, name, seed, progress=progress_bar))
    return trials


def resolve(name: str, config: Path | None, out: Path | None, data: str | None) -> Plan:
    """Return a plan with the changes of the command line and of its file."""
    if name not in PLANS:
        raise ValueError(f"no plan {name!r}; {nearest(name, list(PLANS))}")
    plan = PLANS[name]()
    if config is not None:
        plan = override(plan, read_mapping(config), str(config))
    if data is not None:
        autoencoder = replace(plan.autoencoder, data=replace(plan.autoencoder.data, path=data))
        plan = replace(plan, autoencoder=autoencoder)
    return replace(plan, out=str(out)) if out is not None else plan


def write_comparison(comparison: Comparison, out: Path, analyses: Sequence[Analysis] = ()) -> None:
    """Write comparison.json and report.html, with a report of the analyses, to a folder."""
    file = out / "comparison.json"
    write_results(out, lambda folder: COMPARISON.write(folder / file.name, comparison))
    write_page(out / "report.html", lambda: render_comparison(comparison, analyses), str(file))
