"""The ledger of claims is what its program makes of the results, and holds no number that is not in them."""

import ast
import re
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NAMES = re.compile(
    r"\b(f8|f16|finetune256_|compare cifar10_all|iREPA|1/f|CIFAR-10|delta 2|delta -1|0\.6 mean|1/f\^\w)\b"
)


@pytest.fixture(scope="module")
def claims():
    """The module claims."""
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        import claims
    finally:
        sys.path.remove(str(EXPERIMENTS))
    return claims


@pytest.fixture(scope="module")
def results(claims):
    return claims.load()


@pytest.fixture(scope="module")
def found(claims, results):
    return claims.rows(results)


def test_the_page_is_what_its_program_makes_of_the_results(claims, results, found):
    assert claims.PAGE.read_text() == claims.page(found, results.commits)


def test_the_words_of_the_rows_hold_no_number():
    for name in ("claim_rows.py", "control_rows.py", "claims.py"):
        tree = ast.parse((EXPERIMENTS / name).read_text())
        keys = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys | documented:
                is_key = re.fullmatch(r"[a-z]\w*", node.value)
                assert is_key or not re.search(r"\d", NAMES.sub("", node.value)), (name, node.lineno, node.value)


def test_every_claim_and_every_control_has_a_row_with_a_verdict(found):
    keys = [row.key for row in found]
    assert len(set(keys)) == len(keys)
    for letter in ("A, first", "A, best", "A, cause", "A, perception", "B-i", "B-ii, DSM", "C, failures", "C, VA-VAE"):
        assert letter in keys
    assert {"C, EQ-VAE", "C, Scale Equivariance", "D, energy", "D, order"} <= set(keys)
    assert len([key for key in keys if key.startswith("control, ")]) == 9
    for row in found:
        assert row.verdict in ("supported at this scale", "not supported", "undecided")
        assert row.because
        assert row.needs
        assert row.measured or row.verdict == "undecided"
