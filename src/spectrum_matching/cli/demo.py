"""The demo: from photographs to generated images by three methods, in one report."""

import logging
from dataclasses import replace
from pathlib import Path

from ..comparison import plans
from ..comparison.checks import open_plan
from ..comparison.collect import collect_trials
from ..comparison.trial import run_trial
from ..records.analysis import ANALYSES
from ..report.comparison.tables import comparison_markdown
from ..report.terminal import summary, verdict
from .compare import write_comparison
from .progress import progress_bar
from .results import print_results

log = logging.getLogger(__name__)


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
    for number, name in enumerate(plan.entries, 1):
        log.info("method %d of %d: %s", number, len(plan.entries), name)
        stages = run_trial(opened, name, plan.seeds[0], progress=progress_bar)
        analyses += ANALYSES.read(stages["analysis"].folder / "analysis.json")
    comparison = collect_trials(opened, "specmatch demo --fast" if fast else "specmatch demo")
    write_comparison(comparison, folder, analyses)
    print_results(
        *map(verdict, analyses), summary(analyses), comparison_markdown(comparison), str(folder / "report.html")
    )
