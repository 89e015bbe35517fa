"""The verb `compare`: methods × seeds, each from images to scores at equal cost, in one table and one report."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ..comparison.checks import check_plan, open_plan
from ..comparison.collect import collect_trials
from ..comparison.plans import PLANS, Plan
from ..comparison.trial import run_trial
from ..files.atomic import write_text_atomically
from ..files.stages import RECORD
from ..files.yaml_files import nearest, override, read_mapping, to_yaml
from ..records.analysis import Analysis
from ..records.comparison import COMPARISON, Comparison
from ..report.comparison.page import render_comparison
from ..report.comparison.tables import comparison_markdown
from .progress import progress_bar
from .results import print_results

log = logging.getLogger(__name__)


def compare(
    plan: Annotated[str, arg(metavar="PLAN")],
    /,
    *,
    config: Path | None = None,
    out: Path | None = None,
    data: str | None = None,
    seeds: tuple[int, ...] = (),
    only: tuple[str, ...] = (),
    dry_run: bool = False,
) -> Path | None:
    """Train, analyze, cache, diffuse, sample and score every entry of a plan. The same command goes on after a kill.

    Several commands may share a plan: each stage is done once, by whoever comes first.

    Args:
        plan: Name of a preset plan.
        config: YAML with what differs from it; its `entries` stand for all of the plan's.
        out: Folder of all stages, of comparison.json and report.html.
        data: Images to train on, in place of the plan's.
        seeds: Run these seeds only.
        only: Run these entries only.
        dry_run: Check the plan, print it, and stop; no data are needed.
    """
    resolved = resolve(plan, config, out, data)
    chosen = [(name, seed) for seed in seeds or resolved.seeds for name in only or resolved.entries]
    for name, seed in chosen:
        if name not in resolved.entries:
            raise ValueError(f"--only: no entry {name!r}; {nearest(name, list(resolved.entries))}")
        if seed not in resolved.seeds:
            raise ValueError(f"--seeds: {seed} is none of the plan's, {resolved.seeds}")
    if dry_run:
        check_plan(resolved)
        print(to_yaml(resolved), end="")
        n, n_done = len(resolved.entries) * len(resolved.seeds), len(list(Path(resolved.out).rglob(RECORD)))
        counts = f"{n} trials: {len(resolved.entries)} entries x {len(resolved.seeds)} seeds; {n_done} stages are there"
        log.info(counts)
        return None
    opened = open_plan(resolved)
    for number, (name, seed) in enumerate(chosen, 1):
        log.info("trial %d of %d: %s, seed %d", number, len(chosen), name, seed)
        run_trial(opened, name, seed, progress=progress_bar)
    comparison = collect_trials(opened, f"specmatch compare {plan}")
    write_comparison(comparison, Path(resolved.out))
    print_results(comparison_markdown(comparison))
    return Path(resolved.out) / "report.html"


def resolve(name: str, config: Path | None, out: Path | None, data: str | None) -> Plan:
    """The preset with what the command line and its file change."""
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
    """comparison.json and report.html in the folder `out`, each complete or not at all; analyses: for the report."""
    COMPARISON.write(out / "comparison.json", comparison)
    write_text_atomically(out / "report.html", render_comparison(comparison, analyses))
