"""The house rules that a reader relies on, held by walking the source."""

import ast
import statistics
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "spectrum_matching"
SOURCES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    "spectrum": 0,
    "latent_space": 0,
    "results": 0,
    "methods": 1,
    "nets": 1,
    "data": 1,
    "provenance": 1,
    "scores": 1,
    "study_records": 1,
    "comparisons": 2,
    "metrics": 2,
    "diffusion": 2,
    "analysis": 3,
    "report": 3,
    "evaluation": 3,
    "studies": 3,
    "cli": 5,
}
TOP_FLOOR = 4  # modules that are in no room
VERBS = {
    *("analyze", "write_report", "demo"),
    *("run_autoencoder", "cache_latents", "run_diffusion", "sample", "evaluate"),
    *("trials", "gather_trials", "compare"),  # a comparison is the other verbs in turn
    *("study", "study_frequency", "frequency_cases"),
}


def room(path):
    """The room of a file, or the name of a module that is in none: "spectrum", "cli", "__init__"."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def floor(name):
    return 0 if name == "__version__" else FLOORS.get(name, TOP_FLOOR)


def parse(path):
    return ast.parse(path.read_text(), str(path))


def own_imports(path):
    """Names right below the package that a file imports, absolutely or relatively, at its top or within functions."""
    package = ("spectrum_matching", *path.relative_to(PACKAGE).parts[:-1])
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        found |= {target[1] for target in targets if target[0] == "spectrum_matching" and len(target) > 1}
    return found


def foreign_imports(path):
    """Top-level names of other libraries that a file imports."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found - {"spectrum_matching"}


IN_ROOMS = [path for path in SOURCES if FLOORS.get(room(path), TOP_FLOOR) < TOP_FLOOR]
MODULES = [path for path in SOURCES if path.parent == PACKAGE and path.stem != "__init__"]


def test_the_package_is_found():
    assert {"spectrum", "methods"} <= {room(path) for path in IN_ROOMS}


@pytest.mark.parametrize("path", IN_ROOMS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_lower_floors_only(path):
    here = room(path)
    for other in own_imports(path) - {here, "__version__"}:
        assert floor(other) < floor(here), f"{here} (floor {floor(here)}) imports {other} (floor {floor(other)})"


def test_spectrum_and_methods_need_torch_and_the_standard_library_alone():
    for path in IN_ROOMS:
        if room(path) in ("spectrum", "methods"):
            assert foreign_imports(path) - {"torch"} <= sys.stdlib_module_names, path


def test_the_front_door_opens_on_the_library_alone():
    assert own_imports(PACKAGE / "__init__.py") <= {"spectrum", "methods"}


def test_only_verbs_and_the_command_line_import_verbs():
    for path in MODULES:
        imported = own_imports(path)
        assert "cli" not in imported or path.stem == "__main__", path
        if path.stem not in VERBS | {"cli", "__main__"}:
            assert not imported & VERBS, f"{path.stem} imports {imported & VERBS}"


def test_modules_do_not_import_in_circles():
    names = {path.stem for path in MODULES}
    graph = {path.stem: own_imports(path) & names - {path.stem} for path in MODULES}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_files_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.get)
    assert statistics.median(lengths.values()) < 200


def test_every_module_has_a_subject():
    assert not {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "misc"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_everything_public_is_documented(path):
    tree = parse(path)
    assert ast.get_docstring(tree), "the file has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
