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

DIRECTION = (
    ("spectrum", "seeding", "files"),
    ("latent_space", "methods", "diffusion", "records", "processes"),
    ("nets", "data", "metrics"),
    ("latents",),
    ("report", "evaluation", "analysis", "sampling"),
    ("training",),
    ("comparison",),
    ("studies",),
    ("cli",),
)
"""Each package imports only packages of earlier lines; those of one line do not know each other."""

LINE = {package: line for line, packages in enumerate(DIRECTION) for package in packages}
FRONT_DOOR = {"__init__", "__main__"}


def package_of(path):
    """The folder or the module right below the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parse(path):
    return ast.parse(path.read_text(), str(path))


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def imports_within(path, top_only=False):
    """Modules of the package that a file imports, absolutely or relatively; top_only: not within functions."""
    package = module_name(path).split(".")
    package = package if path.stem == "__init__" else package[:-1]
    found = set()
    for node in ast.iter_child_nodes(parse(path)) if top_only else ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            names = [(base, alias.name) for alias in node.names]
        else:
            continue
        for base, name in names:
            if base.partition(".")[0] == PACKAGE.name:
                found.add(f"{base}.{name}" if f"{base}.{name}" in MODULES else base)
    return found


def run_time_nodes(tree):
    """All nodes but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from run_time_nodes(node)


def foreign_imports(path):
    """Top-level names of other libraries that a file imports when it runs."""
    found = set()
    for node in run_time_nodes(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found - {PACKAGE.name}


def test_direction_names_every_package_and_no_other():
    packages = {package_of(path) for path in SOURCES} - FRONT_DOOR
    assert packages == set(LINE)


def test_package_root_has_at_most_23_entries():
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 23, sorted(path.name for path in entries)


@pytest.mark.parametrize("package", LINE)
def test_imports_follow_direction(package):
    against = []
    for path in SOURCES:
        if package_of(path) != package:
            continue
        for module in imports_within(path) - {PACKAGE.name}:
            other = module.split(".")[1]
            if other != package and LINE[other] >= LINE[package]:
                against.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert not against


def test_imports_have_no_circles():
    graph = {name: imports_within(path, top_only=True) - {name} for name, path in MODULES.items()}
    # A package's face hands on names of its modules, which do not import it.
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_spectrum_and_methods_need_torch_and_the_standard_library_alone():
    for path in SOURCES:
        if package_of(path) in ("spectrum", "methods"):
            assert foreign_imports(path) - {"torch"} <= sys.stdlib_module_names, path


@pytest.mark.slow
def test_only_cli_and_report_terminal_draw_on_the_terminal():
    for path in SOURCES:
        if package_of(path) != "cli" and path != PACKAGE / "report" / "terminal.py":
            assert "rich" not in foreign_imports(path), path
            calls = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
            assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls), path


def test_files_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.get)
    assert statistics.median(lengths.values()) < 200


def test_module_names_say_a_subject():
    assert not {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "misc"}


def unpickling_calls(text):
    """The calls that may run what a pickle says: of pickle itself, or of a loader that is not told to refuse."""
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        name, *rest = (ast.unparse(part) for part in (call.func, *call.args, *call.keywords))
        is_safe = "weights_only=True" in rest if name == "torch.load" else "allow_pickle=True" not in rest
        if (name in ("torch.load", "np.load") and not is_safe) or name in ("pickle.load", "pickle.loads"):
            yield ast.unparse(call)


def test_nothing_is_unpickled():
    for path in [*SOURCES, *(ROOT / "examples").glob("*.py")]:
        assert not list(unpickling_calls(path.read_text())), path
    refused = "torch.load(a); torch.load(a, weights_only=False); np.load(a, allow_pickle=True); pickle.loads(a)"
    assert len(list(unpickling_calls(refused))) == 4
    assert not list(unpickling_calls("torch.load(a, weights_only=True); np.load(a); np.save(a, b, allow_pickle=True)"))
