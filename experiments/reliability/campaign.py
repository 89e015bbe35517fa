"""A campaign: trials one after the other, a line of a journal for each, and their counts in one JSON file.

A trial does something to a verb and says what came of it. Trials follow from the seed alone, so a campaign that was
interrupted goes on where it stopped.
"""

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from forked import Result

from spectrum_matching.files.json_lines import keep_json_lines

FOUND = ("error: failed ", "DAMAGED ")
"""What lines begin with where a command exits with status 1: `analyze --fail-on` and `check` found something."""
USAGE = ("For full helptext", "error: argument")
"""Parts of what tyro and argparse say of a wrong command line, in several lines."""


@dataclass(frozen=True)
class Outcome:
    """What came of a trial. failed: against a promise. weight: how many of what the campaign counts it holds."""

    name: str
    failed: bool = False
    detail: str = ""
    weight: int = 1


@dataclass(frozen=True)
class Trial:
    """verb: by which trials are counted. what: the trial in words. run: gives a list where it tries several inputs."""

    verb: str
    what: str
    run: Callable[[], Outcome | list[Outcome]]


def complaint(result: Result) -> str | None:
    """Return what is wrong with how a command ended, None where it succeeded or said in one line why not."""
    if result.timed_out:
        return "hang"
    if result.signal:
        return f"died of signal {result.signal}"
    if "Traceback (most recent call last)" in result.output:
        return "traceback"
    if result.code == 0 or (result.code == 1 and any(line.startswith(FOUND) for line in result.lines)):
        return None
    said = [line for line in result.lines if line.startswith("specmatch ")]
    is_usage = any(sign in result.output for sign in USAGE)
    if result.code != 2 or not (is_usage or (len(said) == 1 and said[0] == result.lines[-1])):
        return "unclear message"
    return None


def run_trials(trials: Iterator[Trial], count: int, journal: Path, private: dict[str, str]) -> dict[str, Any]:
    """Run trials until their weights reach the count, or none is left; return the summary.

    private: text that the summary must not hold, such as paths of this machine, and what stands for it.
    """
    done = keep_json_lines(journal)  # a crash may have cut the last line
    started, total = time.monotonic(), sum(map(_weight, done))
    with journal.open("a", buffering=1) as file:
        for number, trial in enumerate(trials):
            name = {"verb": trial.verb, "what": trial.what}
            if number < len(done):
                if name != {key: done[number][key] for key in name}:
                    raise ValueError(f"{journal} is of other trials: delete it, or use the seed that it was begun with")
                continue
            if total >= count:
                break
            began = time.monotonic()
            outcomes = trial.run()
            outcomes = outcomes if isinstance(outcomes, list) else [outcomes]
            details = [_cleaned(each.detail, private) if each.failed else "" for each in outcomes]
            cleaned = [asdict(replace(each, detail=text)) for each, text in zip(outcomes, details, strict=True)]
            done.append(name | {"outcomes": cleaned, "seconds": round(time.monotonic() - began, 2)})
            file.write(json.dumps(done[-1]) + "\n")
            total += _weight(done[-1])
            for each in cleaned:
                if each["failed"]:
                    print(f"FAILED {trial.verb}: {trial.what}: {each['name']}\n  {each['detail']}", flush=True)
            if number % 25 == 24:
                print(f"{total} of {count} in {time.monotonic() - started:.0f} s", flush=True)
    return summary(done)


def summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts by verb and outcome, and every failure in full."""
    outcomes = [(line, each) for line in done for each in line["outcomes"]]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line, each in outcomes:
        counts[line["verb"]][each["name"]] += each["weight"]
    return {
        "count": sum(map(_weight, done)),
        "failed": sum(each["failed"] for _, each in outcomes),
        "seconds": round(sum(line["seconds"] for line in done)),
        "outcomes": dict(sorted(sum(counts.values(), Counter[str]()).items())),
        "verbs": {verb: dict(sorted(counts[verb].items())) for verb in sorted(counts)},
        "failures": [
            {"verb": line["verb"], "what": line["what"], "outcome": each["name"], "detail": each["detail"]}
            for line, each in outcomes
            if each["failed"]
        ],
    }


def _weight(line: dict[str, Any]) -> int:
    return sum(each["weight"] for each in line["outcomes"])


def _cleaned(text: str, private: dict[str, str]) -> str:
    for secret, name in private.items():
        text = text.replace(secret, name)
    return re.sub(r"(?<=File \")/\S*/(?=[^/\"]+\")", "", text)
