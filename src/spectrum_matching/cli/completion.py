"""The command `completion`: what completes `specmatch COMMAND --option` in a shell."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from typing import Annotated, Any, Literal, Union

import tyro
from tyro.conf import OmitSubcommandPrefixes, arg, subcommand

from .main import COMMANDS
from .options import described

Shell = Literal["bash", "zsh", "fish", "tcsh"]
NO_VALUE = re.compile(r"'None', |, 'None'(?=\])")
"""A choice that an option has by being left out."""


def completion(shell: Annotated[Shell, arg(metavar="SHELL")], /) -> None:
    """Print the script that completes commands, options and their choices in a shell.

    It is as of the version that prints it: print it again after an update.

    For example:
        specmatch completion bash > ~/.local/share/bash-completion/completions/specmatch
        specmatch completion zsh > ~/.zfunc/_specmatch
        specmatch completion fish > ~/.config/fish/completions/specmatch.fish

    Args:
        shell: bash, zsh, fish or tcsh.
    """
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        tyro.cli(_all_commands(), prog="specmatch", args=["--tyro-print-completion", shell])
    script = NO_VALUE.sub("", printed.getvalue())
    print(with_paths(script) if shell == "bash" else script, end="")


def with_paths(script: str) -> str:
    """Return tyro's script for bash completing paths where it knows no word; it adds a blank to them otherwise."""
    answer, register = '  COMPREPLY=("${matches[@]}")\n', "complete -F "
    paths = 'COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))'
    filled = script.replace(answer, f"  [[ -n $completions ]] || {{ {paths}; return 0; }}\n{answer}")
    return filled.replace(register, "complete -o filenames -F ")


def _all_commands() -> Any:
    """Return what tyro parses as every command; those of several functions have commands of their own."""
    kinds = {}
    for name, (_, *functions) in COMMANDS.items():
        module = import_module(f".{name.replace('-', '_')}", __package__)
        commands = {each: described(getattr(module, each.replace("-", "_"))) for each in functions}
        kinds[name] = commands[functions[0]] if len(functions) == 1 else _group(commands)
    return _one_of(kinds)


def _group(commands: dict[str, Any]) -> Any:
    def group(command: Any) -> None: ...

    group.__annotations__["command"] = Annotated[_one_of(commands), OmitSubcommandPrefixes]
    return group


def _one_of(kinds: dict[str, Any]) -> Any:
    named: Sequence[Any] = [Annotated[Any, subcommand(name, constructor=each)] for name, each in kinds.items()]
    return Union[tuple(named)]  # noqa: UP007 - of types that are known only now
