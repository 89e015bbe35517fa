import re
from pathlib import Path

from spectrum_matching.records.analysis import Provenance
from spectrum_matching.studies.unified_view.page import change_table, unified_page
from spectrum_matching.studies.unified_view.record import UNIFIED_VIEW, Change, MethodResult, Quantity, UnifiedView

RESULTS = Path(__file__).parents[3] / "experiments" / "results"


def study_of(values):
    """A study of one number, the best delta, of several methods of two seeds; the first is the control."""
    key = "best_delta_scale_free"
    zero = sum(values["control"]) / 2
    methods = []
    for name, seeds in values.items():
        shifts = tuple(seed - zero for seed in seeds)
        change = Change(key, seeds, shifts, sum(shifts) / 2, abs(shifts[1] - shifts[0]) / 2, "undecided")
        methods.append(MethodResult(name, (), (change,)))
    quantity = Quantity(key, "best delta, scale-free", "", "neither", "")
    provenance = Provenance("0", "", "", "", "cpu", "float32", 0)
    fixed = {
        "delta": 1.0,
        "deltas": (),
        "keeps": (),
        "block": 8,
        "latent_shape": (4, 8, 8),
        "images": "",
        "command": "",
    }
    of = {"control": "control", "quantities": (quantity,), "methods": tuple(methods), "notes": ()}
    return UnifiedView(**fixed, **of, provenance=provenance)


def shown(values):
    study = study_of(values)
    rows = change_table(study, study.quantities).rows
    return {name: cells[0].value for name, (_, cells) in zip(values, rows, strict=True)}


def test_change_table_shows_bounds_where_a_best_delta_is_an_end_of_the_search():
    at_end = {
        "control": (0.2, 0.4),
        "end": (-0.5, -0.5),
        "partly": (-0.5, -0.3),
        "far": (2.5, 2.5),
        "within": (0.5, 0.7),
    }
    assert shown(at_end) == {
        "control": "0.30",
        "end": "≤ −0.80",
        "partly": "≤ −0.70",
        "far": "≥ +2.20",
        "within": "+0.30",
    }
    study = study_of(at_end)
    (_, (half,)) = change_table(study, study.quantities).rows[1]
    assert "±" not in half.spread


def test_change_table_turns_the_bound_of_the_control():
    at_end = {"control": (-0.5, -0.5), "within": (0.5, 0.7), "end": (-0.5, -0.5)}
    # Of two that are both at an end, either may be the lower.
    assert shown(at_end) == {"control": "≤ −0.50", "within": "≥ +1.10", "end": "–"}


def test_unified_page_folds_the_papers_variant_away():
    page = unified_page(UNIFIED_VIEW.read(RESULTS / "unified_view_cifar10.json"))
    main, paper = re.findall(r"<table .*?</table>", page, flags=re.DOTALL)[:2]
    heads = [re.findall(r'<th scope="col".*?</th>', table, flags=re.DOTALL) for table in (main, paper)]
    assert [len(each) for each in heads] == [7, 4]  # with that of the methods
    assert "the\u00a0paper’s" not in main
    assert paper.count("the\u00a0paper’s") == 3
    assert re.search(r'<details class="more">\s*<summary>The same by the paper’s variant</summary>', page)
