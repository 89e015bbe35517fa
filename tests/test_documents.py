"""Numbers in the documents are those of experiments/results.

A comment in a document names, in order, the sources of the numbers and words before it, back to the last empty line or
comment of this kind:

    <!-- results in BASE: SOURCE; SOURCE; … -->

A source is a path, or several joined by ` - ` and ` / ` (one by one), by ` ~ ` (rank correlation), by ` ! ` (p of one
method of a comparison against its control, corrected for all methods) or by ` ? ` (the difference that this test would
find with a power of 80 %); `mean of` and the like before it make one number of all. A path is FILE/KEY/KEY/…: the key
of an object, the index or the name of a record in a list, `name#1` for the second of that name, `*` for all. FILE&FILE
reads two files one after the other; {a|b} stands for several paths. BASE, which may be left out, stands before every
path. Several values are written as mean ± half their range, text as it is, nothing as "never"; the author chooses the
digits. Numbers in code are settings, and have no source.
"""

import itertools
import json
import re
import statistics
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from spectrum_matching.metrics.atlas.known_pairs import own_pairs
from spectrum_matching.metrics.images.catalogue import SCORES
from spectrum_matching.metrics.ranks import rank_correlation
from spectrum_matching.records.comparison import COMPARISON
from spectrum_matching.report.comparison.quantities import Quantity, against_control
from spectrum_matching.report.comparison.tables import comparison_markdown, pairs

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
COMMENT = re.compile(r"<!-- results(?: in (?P<base>[^:]*?))?:\s(?P<sources>.*?)\s-->", re.DOTALL)
DIGITS = r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
NUMBER = re.compile(rf"(?<![\w./−^-])({DIGITS})(?: ± ({DIGITS}))?( %)?(?![\w/^])")
HIDDEN = re.compile(r"<!--.*?-->|```.*?```|`[^`\n]*`|\]\([^)]*\)", re.DOTALL)
REDUCER = re.compile(r"(?:(mean|deviation|sum|count|missing|greatest|least) of )?(.+)")
CONSTANT = re.compile(r"\d+(?:\.\d+)?")
REDUCE = {
    "mean": lambda values: [statistics.mean(values)],
    "deviation": lambda values: [statistics.stdev(values)],
    "sum": lambda values: [sum(values)],
    "count": lambda values: [len(values)],
    "missing": lambda values: [values.count(None)],
    "greatest": lambda values: [max(value for value in values if value is not None)],
    "least": lambda values: [min(value for value in values if value is not None)],
}
NAMES = ("name", "method", "entry", "key", "metric", "family", "plan")
DIRECTION = re.compile(r", (lower|higher|undecided)\b")


class Measured(NamedTuple):
    """half: half the range over seeds, or a standard error. direction: of a difference of several seeds, or ""."""

    mean: float
    half: float | None
    direction: str


@cache
def load(file):
    document = json.loads((RESULTS / f"{file}.json").read_text())
    return next(value for key, value in document.items() if key != "format") if "format" in document else document


def nodes(path):
    """Whatever the path leads to, in all of its files."""
    files, *keys = path.split("/")
    found = [load(file) for file in files.split("&")]
    for key in keys:
        found = [child for node in found for child in children(node, key)]
        assert found, f"{path}: there is no {key}"
    return found


def children(node, key):
    if key == "*":
        return list(node.values() if isinstance(node, dict) else node)
    if isinstance(node, dict):
        return [node[key]] if key in node else []
    if re.fullmatch(r"-?\d+", key):
        return [node[int(key)]]
    name, _, place = key.partition("#")
    named = [each for each in node if name in [each.get(field) for field in NAMES]]
    return [named[int(place)]] if place else named


def expanded(path):
    """One path for each choice among its braces."""
    parts = [part[1:-1].split("|") if part[:1] == "{" else [part] for part in re.split(r"(\{[^}]*\})", path)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def expected_of(source, base=""):
    """What a source says should be written, one for each choice among its braces: a text or a Measured."""
    reduce, formula = REDUCER.fullmatch(" ".join(source.split())).groups()
    first, *rest = re.split(r" ([-/~!?]) ", formula)
    if rest[:1] in (["!"], ["?"]):
        found = [against(base + path, rest[1]) for path in expanded(first)]
        return [Measured(each.p if rest[0] == "!" else each.detectable, None, "") for each in found]
    choices = [nodes(base + path) for path in expanded(first)]
    for sign, operand in zip(rest[::2], rest[1::2], strict=True):
        others = [[float(operand)]] if CONSTANT.fullmatch(operand) else [nodes(base + p) for p in expanded(operand)]
        if sign == "~":
            sides = [
                side[0] if len(side) == 1 else [statistics.mean(each) for each in side] for side in (choices, others)
            ]
            return [Measured(rank_correlation(*sides), None, "")]
        n = max(len(choices), len(others))
        pairs = zip(*(side * n if len(side) == 1 else side for side in (choices, others)), strict=True)
        choices = [combined(one, sign, other) for one, other in pairs]
    return [written(REDUCE[reduce](each) if reduce else each, " - " in formula) for each in choices]


def against(path, control):
    """How FILE/trials/METHOD/SOURCE/scores/KEY/value differs from the control's, as the comparison's page says."""
    file, _, method, source, _, key, _ = path.split("/")
    comparison = COMPARISON.read(RESULTS / f"{file}.json")
    assert comparison.control == control
    return against_control(comparison, Quantity(source, SCORES[key], key))[method]


def combined(one, sign, other):
    other = other * len(one) if len(other) == 1 else other
    return [a - b if sign == "-" else a / b for a, b in zip(one, other, strict=True)]


def written(values, is_difference):
    if values == [None]:
        return "never"
    if isinstance(values[0], str):
        (text,) = set(values)
        return text
    if isinstance(values[0], dict):
        return Measured(values[0]["value"], values[0]["standard_error"], "")
    lowest, highest = min(values), max(values)
    direction = "lower" if highest < 0 else "higher" if lowest > 0 else "undecided"
    return Measured(
        statistics.mean(values), (highest - lowest) / 2 or None, direction if is_difference and len(values) > 1 else ""
    )


def agrees(written, number, factor=1.0):
    """Whether a text is the number, rounded to the digits that it has."""
    plain = written.replace(",", "").replace("−", "-")
    return abs(float(plain) - factor * number) <= 0.5001 * 10.0 ** -len(plain.partition(".")[2])


def same(match, expected, text):
    """Whether a number in the text is the expected one, with its uncertainty and the direction behind it."""
    factor, behind = 100.0 if match[3] else 1.0, DIRECTION.match(text, match.end())
    return (
        agrees(match[1], expected.mean, factor)
        and (match[2] is None) == (expected.half is None)
        and (match[2] is None or agrees(match[2], expected.half, factor))
        and (not expected.direction or not behind or behind[1] == expected.direction)
    )


def hold(text, every):
    """Compare a document with the results; the numbers in it that have a source. every: whether all must have one."""
    hidden = [range(*match.span()) for match in HIDDEN.finditer(text)]
    numbers = [match for match in NUMBER.finditer(text) if not any(match.start() in span for span in hidden)]
    held, start = [], 0
    for comment in COMMENT.finditer(text):
        cursor = max(start, text.rfind("\n\n", 0, comment.start()))
        base = f"{comment['base']}/" if comment["base"] else ""
        for source in comment["sources"].split(";"):
            for expected in expected_of(source, base):
                if isinstance(expected, str):
                    words = re.compile(r"\s+".join(map(re.escape, expected.split())))
                    found = words.search(text, cursor, comment.start())
                    assert found, f"{expected!r} is not in front of {comment[0]}"
                    held += [m for m in numbers if found.start() <= m.start() < found.end()]
                    cursor = found.end()
                    continue
                later = [match for match in numbers if cursor <= match.start() < comment.start()]
                match = next((m for m in (later[:1] if every else later) if same(m, expected, text)), None)
                assert match, f"{source.strip()} is {expected}, and the text says {[m[0] for m in later]}: {comment[0]}"
                held.append(match)
                cursor = match.end()
        start = comment.end()
    if every:
        lost = [f"{m[0]} in line {1 + text.count(chr(10), 0, m.start())}" for m in numbers if m not in held]
        assert not lost, f"numbers without a source: {lost}"
    return held


DOCUMENTS = {
    "README.md": 3,
    "bench/README.md": 100,
    "docs/alignment.md": 12,
    "docs/analyze.md": 16,
    "docs/cluster.md": 16,
    "docs/compare.md": 33,
    "docs/compare_latents.md": 19,
    "docs/evaluate.md": 13,
    "docs/five_latent_spaces.md": 66,
    "docs/fidelity.md": 45,
    "docs/finetune.md": 14,
    "docs/flatten.md": 22,
    "docs/forecast.md": 32,
    "docs/reliability.md": 20,
    "docs/study.md": 5,
    "docs/theory.md": 41,
    "docs/which_numbers_to_trust.md": 9,
    "experiments/CLAIMS.md": 226,
    "experiments/README.md": 12,
}
"""The least number of numbers that must be held: a document that has lost its comments, or its rows, fails."""
PAGES = ("*.md", "docs/**/*.md", "experiments/*.md", "bench/*.md")
LEDGER = "experiments/CLAIMS.md"
CLAIMS = (
    *("A, first", "A, best", "A, cause", "A, perception", "B-i", "B-ii, DSM", "B-ii, correspondence", "C, failures"),
    *("C, VA-VAE", "C, EQ-VAE", "C, Scale Equivariance", "D, energy", "D, DoG", "D, iREPA", "control, scale"),
    *("control, blur", "control, delta", "control, block", "control, start", "control, KL", "control, evaluation"),
    *("control, updates", "control, DoG"),
)
TABLES = (
    ("methods_at_small_scale", "methods_cifar10", "experiments/README.md"),
    ("methods_at_small_scale", "methods_bsds500", "experiments/README.md"),
    ("real_latents", "five_latent_spaces", "docs/five_latent_spaces.md"),
    ("perturbed_latents", "perturbed_taef2", "docs/five_latent_spaces.md"),
    ("compare_real_latents", "latent_maps", "docs/compare_latents.md"),
    ("scores_of_known_damage", "scores_cifar10", "docs/evaluate.md"),
    ("cost_of_plans", "cost_of_plans", "docs/compare.md"),
    ("memory_of_training", "memory_of_training", "docs/finetune.md"),
    ("distil_real_latents", "distil_real_latents", "docs/finetune.md"),
    ("finetune_real_weights", "finetune_real_weights", "docs/finetune.md"),
    ("forecast_on_cifar10", "forecast_cifar10", "docs/forecast.md"),
    ("decoder_alone", "decoder_alone", "docs/compare.md"),
    ("equal_reconstruction", "equal_reconstruction", "docs/compare.md"),
    ("paired_differences", "paired_flatten", "docs/flatten.md"),
    ("paired_differences", "paired_flatten_retraining", "docs/flatten.md"),
    ("paired_differences", "paired_flatten_controls", "docs/flatten.md"),
    ("paired_differences", "paired_flatten_forms", "docs/flatten.md"),
    ("paired_differences", "paired_repa", "docs/alignment.md"),
    *(("paired_differences", f"paired_flatten_{name}", "docs/flatten.md") for name in ("625", "10000", "eq_vae")),
    ("flatten_curves", "flatten_curves", "docs/flatten.md"),
    ("flatten_bands", "flatten_bands", "docs/flatten.md"),
    ("beside_peers", "beside_peers", "docs/fidelity.md"),
    ("seeded_faults", "seeded_faults", "docs/doctor.md"),
    ("which_numbers", "calibration_compare_calibration", "docs/which_numbers_to_trust.md"),
    ("calibration", "calibration_compare_calibration", "experiments/README.md"),
)
"""The program that writes a table, the result it is made of, and the document that has it."""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_numbers_match_results(name):
    assert len(hold((ROOT / name).read_text(), every=name == LEDGER)) >= DOCUMENTS[name]


@pytest.mark.slow
def test_hold_refuses_every_changed_number(monkeypatch):
    monkeypatch.setitem(globals(), "expected_of", cache(expected_of))
    text = (ROOT / LEDGER).read_text()
    for match in hold(text, every=True):
        last = next(i for i in reversed(range(match.start(), match.end())) if text[i].isdecimal())
        changed = text[:last] + str((int(text[last]) + 5) % 10) + text[last + 1 :]
        with pytest.raises(AssertionError):
            hold(changed, every=True)


@pytest.mark.parametrize(
    "file", ["compare_cifar10", "frequency_bias_cifar10", "unified_view_cifar10", "perturbed_taef2"]
)
def test_hold_refuses_changed_results(file, monkeypatch):
    def changed(value):
        if isinstance(value, dict):
            return {key: changed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [changed(each) for each in value]
        return value * 1.1 if isinstance(value, float) else value

    result, others = changed(load(file)), load
    monkeypatch.setitem(globals(), "load", lambda name: result if name == file else others(name))
    with pytest.raises(AssertionError):
        hold((ROOT / LEDGER).read_text(), every=True)


@pytest.mark.parametrize(
    "text",
    [
        "Measured: 3.\n<!-- results: cost_of_plans/rows/*/seeds -->",
        "Measured: 3 and 4.\n<!-- results in cost_of_plans/rows: celeba256_f8d4/seeds -->",
        "Measured: 3.\n\n<!-- results in cost_of_plans/rows: celeba256_f8d4/seeds -->",
        "Measured: 3.\n<!-- results in cost_of_plans/rows: celeba256_f8d4/nothing -->",
        "Measured: 3.",
    ],
)
def test_hold_refuses_numbers_without_their_source(text):
    with pytest.raises(AssertionError):
        hold(text, every=True)


def test_hold_accepts_rounded_numbers():
    text = "3 seeds, 42.3 hours, 25 %.\n<!-- results in cost_of_plans: rows/celeba256_f8d4/seeds; "
    text += "rows/celeba256_f8d4/hours_of_a_trial/autoencoder; assumed_share_of_peak/autoencoder -->"
    assert len(hold(text, every=True)) == 3
    for written in ("42", "42.34"):
        hold(text.replace("42.3", written), every=False)


def test_ledger_has_every_claim_with_one_verdict():
    text = (ROOT / LEDGER).read_text()
    verdicts = dict(re.findall(r"^\| (.*?) \| .*? \| \*\*(.*?)\*\* \|$", text, re.MULTILINE))
    assert tuple(verdicts) == CLAIMS
    assert set(verdicts.values()) == {"supported at this scale", "not supported", "undecided"}
    runs = re.findall(r"^- \*\*([\w-]+)\*\*: `", text, re.MULTILINE)
    sections = re.findall(r"^## (.*?): (.*?)\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert {key: verdict for key, verdict, _ in sections} == verdicts
    for key, verdict, section in sections:
        assert f"- Verdict: **{verdict}**" in section, key
        assert "- To decide: " in section, key
        assert COMMENT.search(section) or "- Run: none." in section, key
        named = re.sub(r" \(.*?\)", "", re.search(r"^- Run: (.*?)\.", section, re.MULTILINE)[1]).split(", ")
        assert set(named) <= {*runs, "none"}, key


def test_experiment_programs_import():
    programs = [path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "trials"]
    assert len(programs) >= 7
    for program in programs:
        assert import_module(program).main


@pytest.mark.parametrize(("program", "result", "document"), TABLES)
def test_document_tables_are_those_of_results(program, result, document):
    assert import_module(program).table(load(result)) in (ROOT / document).read_text()


@pytest.mark.parametrize(
    ("result", "document"), [("compare_cifar10", "compare.md"), ("compare_cifar10_alignment", "alignment.md")]
)
def test_document_tables_of_comparisons_are_those_of_results(result, document):
    comparison = COMPARISON.read(RESULTS / f"{result}.json")
    assert comparison_markdown(comparison).strip() in (ROOT / "docs" / document).read_text()


def test_compare_page_counts_decided_pairs():
    decided = pairs(COMPARISON.read(RESULTS / "compare_cifar10.json"))
    text = f"Of {decided.n_pairs} pairs of methods {decided.n_decided} are decided"
    page = " ".join((ROOT / "docs" / "compare.md").read_text().split())
    assert text in page


def test_forecast_page_says_which_autoencoders_our_pairs_reuse():
    images, reconstructions = own_pairs("fid"), own_pairs("fid_reconstructions")
    (other,) = [pair.names for pair in images if pair.names[0] != "EQ-VAE"]
    assert other[1] != "EQ-VAE"
    assert {pair.names[1] for pair in reconstructions} == {"DSM", "ESM + DSM", "EQ-VAE"}
    page = (ROOT / "docs" / "forecast.md").read_text()
    numbers = {8: "eight", 9: "nine"}
    said = f"in {numbers[len(images) - 1]} of the {numbers[len(images)]} by distance to images EQ-VAE is the worse one"
    assert f"{said}, and in all {len(reconstructions)} by distance to reconstructions the better one is DSM" in page


def test_results_hold_no_pictures_and_no_folder_of_a_machine():
    files = list(RESULTS.glob("*.json"))
    assert len(files) >= 18
    for file in files:
        text = file.read_text()
        assert import_module("save_results").PNG not in text, file.name
        assert '"/' not in text, file.name


def test_every_page_has_its_place_in_the_site():
    def places(entry):
        return [entry] if isinstance(entry, str) else [at for each in entry for at in places(next(iter(each.values())))]

    found = {path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)}
    assert sorted(places(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])) == sorted(found)
    index = (ROOT / "docs" / "README.md").read_text()
    asked = {page.removeprefix("docs/") for page in found if page.startswith("docs/")} - {"README.md"}
    assert asked <= set(re.findall(r"\]\(([^)#]+)", index)), "a page without a question in docs/README.md"


def test_document_links_exist():
    documents = [path for pattern in PAGES for path in ROOT.glob(pattern)]
    assert {ROOT / "README.md", ROOT / "docs" / "compare.md", ROOT / "bench" / "README.md"} <= set(documents)
    for document in documents:
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            assert link.startswith("https://") or (document.parent / link).exists(), f"{document.name} links to {link}"
