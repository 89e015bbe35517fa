import json
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

import save_results

ROOT = Path(__file__).parents[1]


@pytest.fixture
def whole():
    return json.loads((ROOT / "experiments" / "results" / "compare_cifar10.json").read_text())


def part(document, keep):
    found = deepcopy(document)
    comparison = found["comparison"]
    comparison["trials"] = [trial for trial in comparison["trials"] if keep(trial)]
    comparison["notes"] = [*comparison["notes"], "Unfinished trials: several."]
    return found


def test_merged_parts_are_the_whole(whole):
    trials = whole["comparison"]["trials"]
    seeds = {trial["seed"] for trial in trials}
    parts = [part(whole, lambda trial, seed=seed: trial["seed"] == seed) for seed in sorted(seeds, reverse=True)]
    found = save_results.merged(parts)["comparison"]
    key = lambda trial: (trial["seed"], trial["method"])  # noqa: E731
    assert sorted(found["trials"], key=key) == sorted(trials, key=key)
    assert [trial["seed"] for trial in found["trials"]] == sorted(trial["seed"] for trial in trials)


def test_merged_has_the_seeds_and_entries_of_all_plans(whole):
    """Also where none of the plans has them all."""
    seeds, entries = deepcopy(whole), deepcopy(whole)
    for trial in seeds["comparison"]["trials"]:
        trial["seed"] += 10
    plan = yaml.safe_load(whole["comparison"]["plan"])
    kept, other = set(plan["seeds"]), {seed + 10 for seed in plan["seeds"]}
    seeds["comparison"]["plan"] = yaml.safe_dump({**plan, "seeds": sorted(other)}, sort_keys=False)
    plan["entries"] = {"another": plan["entries"]["DSM"]}
    entries["comparison"]["plan"] = yaml.safe_dump(plan, sort_keys=False)
    entries["comparison"]["trials"] = [
        trial | {"method": "another"} for trial in whole["comparison"]["trials"] if trial["method"] == "DSM"
    ]
    parts = [whole, seeds, entries]
    for order in (parts, parts[::-1]):
        found = save_results.merged(order)["comparison"]
        assert len(found["trials"]) == sum(len(part["comparison"]["trials"]) for part in parts)
        assert {trial["seed"] for trial in found["trials"]} == kept | other
        assert found["notes"][0].endswith(f"; {len(kept | other)} seeds.")
        note = next(note for note in found["notes"] if note.startswith("Unfinished"))
        assert "another, seed 10" in note
        assert "DSM, seed 10" not in note


def test_merged_names_what_is_missing(whole):
    control = whole["comparison"]["control"]
    first, second = (part(whole, lambda trial: trial["method"] != control) for _ in range(2))
    (note,) = [n for n in save_results.merged([first, second])["comparison"]["notes"] if n.startswith("Unfinished")]
    assert note.startswith(f"Unfinished trials: {control}, seed 0")


def test_merged_counts_the_seeds_that_have_a_trial(whole):
    first, second = (part(whole, lambda trial: trial["seed"] < 2) for _ in range(2))
    assert save_results.merged([first, second])["comparison"]["notes"][0].endswith("; 2 of 5 seeds.")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("steps: 2500", "steps: 2501", r"plan: diffusion\.steps"),
        ("cache: float16", "cache: float32", "plan: cache"),
        ("esm_weight: 0.1", "esm_weight: 0.2", r"ESM, paper: method\.esm_weight"),
    ],
)
def test_merged_refuses_another_plan(whole, old, new, what):
    other, plan = deepcopy(whole), whole["comparison"]["plan"]
    assert old in plan
    other["comparison"]["plan"] = plan.replace(old, new)
    with pytest.raises(ValueError, match=f"different plans: {what} is"):
        save_results.merged([other, whole])


def test_settings_that_an_earlier_version_lacks_had_their_default(whole):
    earlier, setting = deepcopy(whole), "    statistics: global\n"
    plan = whole["comparison"]["plan"]
    assert setting in plan
    earlier["comparison"]["plan"] = plan.replace(setting, "")
    assert save_results.merged([earlier, whole])["comparison"]["trials"] == whole["comparison"]["trials"]
    later = deepcopy(whole)
    later["comparison"]["plan"] = plan.replace(setting, setting.replace("global", "centred"))
    with pytest.raises(ValueError, match=r"plan: diffusion\.source\.statistics is global and centred"):
        save_results.merged([earlier, later])
