"""The command `demo`: from photographs to generated images by three methods, in one report."""

from dataclasses import replace
from pathlib import Path

from ..comparison import plans
from ..comparison.checks import open_plan
from ..comparison.collect import collect_trials
from ..files.locks import exclusive
from ..files.stages import require_stage_folder
from ..records.analysis import ANALYSES, Analysis
from ..report.comparison.tables import comparison_markdown
from ..report.terminal import answer_lines
from .compare import RESULTS, run_trials, write_comparison
from .output import print_results


def demo(out: Path | None = None, fast: bool = False) -> Path:
    """Train SD-VAE, ESM and DSM from one seed for equal updates, a diffusion model on each, and compare them.

    Args:
        out: Folder of the runs and of the report; runs/demo by default, runs/demo-fast with --fast.
        fast: Images of half the side, a quarter of the training.
    """
    plan = plans.demo(fast)
    plan = replace(plan, out=str(out or Path("runs") / plan.name))
    require_stage_folder(Path(plan.out), RESULTS)
    opened = open_plan(plan)
    analyses: list[Analysis] = []
    for stages in run_trials(opened, [(name, plan.seeds[0]) for name in plan.entries]):
        analyses += ANALYSES.read(stages["analysis"].folder / "analysis.json")
    with exclusive(Path(plan.out) / "report.html", waiting=True):
        comparison = collect_trials(opened, "specmatch demo --fast" if fast else "specmatch demo")
        write_comparison(comparison, Path(plan.out), analyses)
    print_results(*answer_lines(analyses), comparison_markdown(comparison))
    return Path(plan.out) / "report.html"
