"""The command `demo`: from photographs to generated images by three methods, in one report that grows as it goes on."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..comparison import plans
from ..comparison.checks import open_plan
from ..comparison.collect import collect_trials
from ..comparison.trial import run_trial
from ..files.atomic import write_text_atomically
from ..files.locks import exclusive
from ..files.stages import FinishedStage, Work, require_stage_folder, run_stage
from ..records.analysis import ANALYSES, Analysis
from ..records.comparison import Comparison
from ..report.analysis.page import render_within
from ..report.comparison.progress import render_progress
from ..report.comparison.tables import comparison_markdown
from ..report.terminal import answer_lines
from .compare import RESULTS, write_comparison
from .output import print_results, progress_bar
from .typed import typed_command

log = logging.getLogger(__name__)

SHARES = {
    "autoencoder": 0.56,
    "analysis": 0.06,
    "reconstruction": 0.02,
    "cache": 0.08,
    "diffusion": 0.22,
    "samples": 0.05,
    "scores": 0.01,
}
"""The part of a trial's time that each stage takes, roughly: what is left is estimated from it."""

WORDS = {
    "autoencoder": "training the autoencoder",
    "analysis": "measuring its latents",
    "reconstruction": "scoring its reconstructions",
    "cache": "encoding all images",
    "diffusion": "training a diffusion model on the latents",
    "samples": "generating images",
    "scores": "scoring these",
}


def demo(out: Path | None = None, fast: bool = False) -> Comparison:
    """Train SD-VAE, ESM and DSM from one seed for equal updates, a diffusion model on each, and compare them.

    The page can be opened at once: it shows real latent spaces first, each autoencoder as soon as it is measured, and
    the whole comparison at the end. Rerun the same command to resume.

    For example:
        specmatch demo
        specmatch demo --fast --out runs/look

    Args:
        out: Folder of the runs and of the report; by default runs/demo, and runs/demo-fast with --fast.
        fast: A quarter of the training and of the images that are measured.
    """
    plan = plans.demo(fast)
    plan = replace(plan, out=str(out or Path("runs") / plan.name))
    folder, names = Path(plan.out), tuple(plan.entries)
    require_stage_folder(folder, RESULTS)
    opened, page = open_plan(plan), GrowingPage(folder / "report.html", names)
    page.write("preparing the images")
    log.info("open %s in a browser: it is kept up to date", page.path)
    try:
        for name in names:
            page.method = name
            run_trial(opened, name, plan.seeds[0], page.run_stage, progress_bar)
    except BaseException:
        with suppress(OSError, ValueError):  # a full disk has an error of its own
            page.interrupt()
        raise
    with exclusive(page.path, waiting=True):
        comparison = collect_trials(opened, typed_command())
        write_comparison(comparison, folder, page.analyses)
    print_results(*answer_lines(page.analyses), comparison_markdown(comparison), str(page.path))
    return comparison


@dataclass
class GrowingPage:
    """The report while it is made: what is being done, what comes next, and the analyses that there are.

    report: the figures and tables of the analyses.
    seconds, share: of the stages that are finished, and their part of all trials.
    """

    path: Path
    names: tuple[str, ...]
    method: str = ""
    analyses: list[Analysis] = field(default_factory=list)
    report: str = ""
    doing: str = ""
    seconds: float = 0.0
    share: float = 0.0

    def run_stage(self, parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> FinishedStage:
        """Run a stage, a `StageRunner`, and say before what it does."""
        doing = f"{self.method}, {self.names.index(self.method) + 1} of {len(self.names)}: {WORDS.get(name, name)}"
        log.info("%s", " – ".join(filter(None, (doing, self.left()))))
        self.write(doing)
        finished = run_stage(parent, name, inputs, work)
        self.seconds += finished.seconds
        self.share += SHARES.get(name, 0.0) / len(self.names)
        if name == "analysis":
            self.analyses += ANALYSES.read(finished.folder / "analysis.json")
            self.report = render_within(self.analyses, "latents-")
        return finished

    def left(self) -> str:
        """Say how long the rest may take, from the stages that are finished; "" before there is one."""
        if not self.share:
            return ""
        minutes = self.seconds * (1 - self.share) / self.share / 60
        return f"about {minutes:.0f} min left" if minutes >= 1.5 else "about a minute left"

    def write(self, doing: str) -> None:
        """Write the page as far as it has come."""
        self.doing, left = doing, self.left()
        lines = [
            f"Three methods, one after the other ({', '.join(self.names)}), each through the same steps: "
            f"{', '.join(WORDS.values())}. Then this page becomes their comparison.",
            " ".join(filter(None, ("This page loads itself again.", left and f"{left.capitalize()}."))),
        ]
        self._write(doing, lines, is_running=True)

    def interrupt(self) -> None:
        """Write where the work was interrupted, on a page that does not load itself again."""
        lines = ["The same command goes on from there; what is finished is kept. Load this page again once it runs."]
        self._write(f"Interrupted: {self.doing}", lines, is_running=False)

    def _write(self, now: str, lines: list[str], is_running: bool) -> None:
        with exclusive(self.path, waiting=True):
            text = render_progress(
                "From photographs to generated images", now, lines, self.analyses, self.report, is_running
            )
            write_text_atomically(self.path, text)
