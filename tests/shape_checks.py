"""Checks every call into `spectrum`, `methods` and `diffusion` against the shapes that its annotations declare.

The library itself needs neither jaxtyping nor beartype: annotations are not evaluated when it runs. With
CHECK_SHAPES=1 in the environment, pytest imports these packages through a finder that executes what they import for
type checkers and wraps their functions. Tests marked `unchecked` are left out there: torch.compile cannot look through
the wrappers, and what is passed in the wrong shape on purpose is refused by them before the library can.
"""

import ast
import importlib.abc
import importlib.machinery
import inspect
import sys
import typing

import beartype
import jaxtyping

PACKAGES = tuple(f"spectrum_matching.{package}" for package in ("spectrum", "methods", "diffusion"))


def _module_of(value):
    return getattr(value, "__module__", None)


def _is_plain(value):
    """Whether a value is a function with a signature of its own, not that of another which it wraps."""
    return inspect.isfunction(value) and not hasattr(value, "__wrapped__")


class _CheckingLoader(importlib.machinery.SourceFileLoader):
    """Executes a module, then wraps the functions and methods that it defines."""

    def exec_module(self, module):
        super().exec_module(module)
        for node in ast.parse(inspect.getsource(module)).body:  # the names that annotations use
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                exec(compile(ast.Module(node.body, []), module.__file__, "exec"), vars(module))
        check = jaxtyping.jaxtyped(typechecker=beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True)))
        own = {name: value for name, value in vars(module).items() if _module_of(value) == module.__name__}
        protocols = [value for value in own.values() if getattr(value, "_is_protocol", False)]
        for protocol in protocols:
            typing.runtime_checkable(protocol)
        for name, value in own.items():
            if _is_plain(value):
                setattr(module, name, check(value))
            elif inspect.isclass(value) and value not in protocols:
                for key, method in list(vars(value).items()):
                    if _is_plain(method) and (not key.startswith("__") or key == "__call__"):
                        setattr(value, key, check(method))


class _CheckingFinder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if not name.startswith(PACKAGES):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _CheckingLoader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Check the shapes of all modules imported from now on."""
    early = [name for name in sys.modules if name.startswith(PACKAGES)]
    assert not early, "install before these packages are imported"
    sys.meta_path.insert(0, _CheckingFinder())
