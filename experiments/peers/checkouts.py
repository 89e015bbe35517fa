"""Checkouts of other people's code: import from one at a time, although they share the names of their modules."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import accelerate  # noqa: F401
import diffusers  # noqa: F401  both look for packages when they are first imported, and must not find stand-ins

PEERS = {
    "SpectrumMatching": "forever208/SpectrumMatching, branch DSM",
    "SpectrumMatching-ESM": "forever208/SpectrumMatching, branch SDVAE_and_ESM",
    "eqvae": "zelaki/eqvae",
    "LightningDiT": "hustvl/LightningDiT",
    "taming-transformers": "CompVis/taming-transformers",
    "SiT": "willisma/SiT",
    "REPA": "sihyun-yu/REPA",
    "iREPA": "End2End-Diffusion/iREPA",
    "U-ViT": "baofff/U-ViT",
    "mar": "LTH14/mar",
    "guided-diffusion": "openai/guided-diffusion",
}
"""The folders that are expected, and what they hold."""

Load = Callable[[str], Any]


class _Name(type):
    """A class whose attributes, whatever their names, are functions that do nothing: for what runs while importing."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class _Absent(ModuleType):
    """Stands for a package that is imported and that nothing compared depends on."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or _Name(name, (), {})


class Checkouts:
    """Folders of `PEERS` below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def missing(self) -> list[str]:
        """Return the names of the folders that are not there."""
        return [name for name in PEERS if not (self.root / name).is_dir()]

    def commit(self, peer: str) -> str:
        """Return the commit that is checked out."""
        command = ["git", "-C", str(self.root / peer), "rev-parse", "HEAD"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @contextmanager
    def at(self, *folders: str, absent: Sequence[str] = ()) -> Iterator[Load]:
        """Put folders of the checkouts first on the path, and give a function that imports from there by name.

        absent: packages whose import is satisfied without them. Afterwards everything that was imported from there is
        forgotten, so that the next checkout's modules of the same names are its own.
        """
        paths = [self.root / folder for folder in folders]
        own = {entry.stem for path in paths for entry in path.iterdir()}
        names = own | {name.split(".")[0] for name in absent}
        hidden = {name: module for name, module in sys.modules.items() if name.split(".")[0] in names}
        for name in hidden:
            del sys.modules[name]
        for name in absent:
            parents = name.split(".") if name.split(".")[0] not in own else [name]
            for end in range(1, len(parents) + 1):
                whole = ".".join(parents[:end])
                sys.modules[whole] = _Absent(whole)
        try:
            with patch.object(sys, "path", [*map(str, paths), *sys.path]):
                yield import_module
        finally:
            for name in [name for name in sys.modules if name.split(".")[0] in names]:
                del sys.modules[name]
            sys.modules.update(hidden)

    def expression(self, file: str, target: str, within: str) -> Callable[..., Any]:
        """Return the one assignment to `target` whose code holds `within`, in a file whose functions cannot be called.

        The function that is returned evaluates that expression with the names that it is given.
        """
        import ast

        tree = ast.parse((self.root / file).read_text())
        (value,) = (
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == target
            and within in ast.unparse(node.value)
        )
        code = compile(ast.Expression(value), file, "eval")
        return lambda **names: eval(code, names)
