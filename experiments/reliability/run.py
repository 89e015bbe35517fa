"""Does a kill, a full disk, a second process, a damaged file or a wrong input ever cost work, or give a wrong number?

    python experiments/reliability/run.py kills --n 600 --seed 0
    python experiments/reliability/run.py all

Runs one campaign, or all at the sizes of docs/reliability.md, and writes experiments/results/reliability_CAMPAIGN.json.
The same command goes on after an interruption. Needs a POSIX system, and `disks` the right to mount a small tmpfs.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import torch
from campaign import run_trials
from forked import preload
from scenes import Scenes

from spectrum_matching import __version__

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
CAMPAIGNS = ("kills", "pairs", "disks", "damage", "bits", "fuzz")


def main() -> None:
    """Run campaigns; exit with status 1 if a trial failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=(*CAMPAIGNS, "all"))
    parser.add_argument("--n", type=int, help="how many, of what the campaign counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "specmatch-reliability")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", help="trials of verbs whose name holds this; writes no result")
    options = parser.parse_args()
    preload()
    chosen = CAMPAIGNS if options.campaign == "all" else (options.campaign,)
    failed = [name for name in chosen if run_campaign(name, options)]
    sys.exit(bool(failed))


def run_campaign(name: str, options: argparse.Namespace) -> bool:
    """Run one campaign and write its result; return whether a trial failed."""
    module = import_module(name)
    if why := getattr(module, "cannot_run", lambda: "")():
        print(f"{name}: skipped, {why}")
        return False
    work = options.work / f"{_code()}-{name}-{options.seed}"
    scenes, count = Scenes(work), options.n or module.COUNT
    trials = module.trials(scenes, options.seed)
    if options.only:
        trials = (trial for trial in trials if options.only in trial.verb)
    private = {str(work): "WORK", str(ROOT): "ROOT", str(Path.home()): "HOME"}
    journal = work / f"journal{options.only or ''}.jsonl"
    result = run_trials(trials, count, journal, private)
    print(f"{name}: {result['count']} in {result['seconds']} s, {result['failed']} failed; {result['outcomes']}")
    if not options.only:
        origin = {"campaign": name, "seed": options.seed, "version": __version__, "torch": torch.__version__}
        text = json.dumps(origin | {"counts": module.COUNTS} | result, indent=1, ensure_ascii=False)
        (options.out / f"reliability_{name}.json").write_text(text + "\n")
    return result["failed"] > 0


def _code() -> str:
    """Return a digest of the code that is tested and of the campaigns: another state of them starts anew."""
    paths = sorted([*(ROOT / "src").rglob("*.py"), *Path(__file__).parent.glob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


if __name__ == "__main__":
    main()
