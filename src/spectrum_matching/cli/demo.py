"""The demo: from photographs to generated images by three methods, in one report."""

from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from ..comparison import plans
from ..comparison.checks import open_plan
from ..comparison.collect import collect_trials
from ..comparison.trial import run_trial
from ..records.analysis import ANALYSES
from ..report.comparison.tables import comparison_markdown
from ..report.terminal import summary, verdict
from .compare import write_comparison
from .progress import console, progress_bar
from .results import print_results


def demo(out: Path | None = None, fast: bool = False) -> None:
    """Train SD-VAE, ESM and DSM from one seed for equal updates, a diffusion model on each, and hold them together.

    Args:
        out: Folder of the runs and of the report; runs/demo by default, runs/demo-fast with --fast.
        fast: Images of half the side, a quarter of the training.
    """
    plan = plans.demo(fast)
    plan = replace(plan, out=str(out or Path("runs") / plan.name))
    folder = Path(plan.out)
    opened = open_plan(plan)
    analyses = []
    for place, name in enumerate(plan.entries, 1):
        console.rule(escape(f"{place} of {len(plan.entries)}: {name}"), align="left")
        stages = run_trial(opened, name, plan.seeds[0], progress=progress_bar)
        analyses += ANALYSES.read(stages["analysis"].folder / "analysis.json")
    comparison = collect_trials(opened, "specmatch demo --fast" if fast else "specmatch demo")
    write_comparison(comparison, folder, analyses)
    print_results(
        *map(verdict, analyses), summary(analyses), comparison_markdown(comparison), str(folder / "report.html")
    )
