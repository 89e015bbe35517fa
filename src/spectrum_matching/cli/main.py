"""The command `specmatch`: choose a command and run it.

What a command needs is imported when it runs, so that `specmatch --help` does not wait for torch.
"""

import ast
import os
import re
import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from ..files.names import printable
from ..files.os_errors import explain_read_error, is_out_of_memory
from ..files.signals import Stopped, raised
from ..processes import AgreedError, agreed, is_main_process, launch
from .typed import remember_typed

COMMANDS = {
    "demo": ("train three methods on embedded photographs, from autoencoder to samples; write one report", "demo"),
    "doctor": ("check how an autoencoder is loaded, wired and declared, with the fix of each finding", "doctor"),
    "analyze": ("measure how easy latent spaces are to diffuse; write a side-by-side report", "analyze-all"),
    "report": ("put saved analyses, or a saved comparison, on one page", "write-report"),
    "train-ae": ("train or fine-tune an autoencoder by any method of the unified view", "train-ae"),
    "cache": ("encode images once into cached latents; import or export those of other tools", "cache-latents"),
    "train-diffusion": (
        "train a diffusion model on cached latents, on images encoded on the fly, or on pixels",
        "train-diffusion",
    ),
    "sample": ("generate images with a trained diffusion model", "sample"),
    "evaluate": (
        "score generated images or reconstructions against a reference, and record the protocol",
        *("reference", "generation", "reconstruction"),
    ),
    "compare": ("compare methods from training to scores at equal updates, over several seeds", "compare"),
    "compare-latents": (
        "tell whether one latent space is a drop-in for another, after a linear map or not",
        "compare-all-latents",
    ),
    "study": (
        "run a study: directional-energy, unified-view or frequency-bias",
        *("directional-energy", "unified-view", "frequency-bias"),
    ),
    "presets": ("list presets of trainings, plans of comparisons and protocols of sampling", "presets"),
    "check": ("read everything below folders that specmatch wrote, and compare it with its checksums", "check"),
    "cite": ("print the papers that trainings used, as BibTeX", "cite"),
    "completion": ("print the script that completes commands and options in a shell", "completion"),
}
"""One line of help, then the functions in the file of the command; of several, the next argument names one."""


SHARING = ("train-ae", "cache", "train-diffusion", "sample", "evaluate", "compare")
"""Commands whose work several processes share."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command `specmatch`.

    Exits with status 2 after an error of the user's, which is reported in one line, and with 128 and the number of the
    signal that ended it; commands say what 1 means.
    """
    # Read when torch is imported: threads that spin while they wait slow every other process down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if name in ("-h", "--help"):
            lines = "\n".join(f"  {name:<16} {line}" for name, (line, *_) in COMMANDS.items())
            print(f"usage: specmatch COMMAND [options]\n\n{lines}\n\nspecmatch COMMAND --help lists its options.")
        elif name == "--version":
            from .. import __version__

            print(__version__)
        elif name in COMMANDS:
            with raised():
                _run(name, rest)
        else:
            close = get_close_matches(name, COMMANDS, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            print(f"specmatch: unknown command {name!r}{hint}; see `specmatch --help`", file=sys.stderr)
            sys.exit(2)
        sys.stdout.flush()
    except KeyboardInterrupt as stopped:
        if is_main_process():
            print(f"specmatch {name}: {stopped if isinstance(stopped, Stopped) else 'interrupted'}", file=sys.stderr)
        sys.exit(128 + (stopped.number if isinstance(stopped, Stopped) else signal.SIGINT))
    except BrokenPipeError:  # the reader closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if (line := _in_one_line(error)) is None:
            raise
        if is_main_process() or not isinstance(error, AgreedError):
            print(f"specmatch {name}: {printable(line)}", file=sys.stderr)
        sys.exit(2)
    finally:
        _destroy_process_group()


def _in_one_line(error: Exception) -> str | None:
    """Return what to tell the user of an error; None of one that is a fault of ours."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        why = explain_read_error(error)
        return f"{error.filename}: {why}" if error.filename else why
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != PACKAGE:
        return f"needs {error.name}, which is not installed: pip install 'spectrum-matching[{extra_of(error.name)}]'"
    if isinstance(error, RecursionError):
        return "a file or setting is nested too deeply; check what was given"
    if isinstance(error, OverflowError):
        return f"a number is too large ({text}); check what was given"
    if is_out_of_memory(error):
        return (
            f"not enough memory ({text[:120] or 'MemoryError'}); lower sizes, the batch size or the number of workers"
        )
    return None


def extra_of(module: str) -> str:
    """Return the extra of this package that installs a module; of several, and of a module of another name, "cli"."""
    try:
        lines = requires("spectrum-matching") or []
    except PackageNotFoundError:
        lines = []
    pattern = re.compile(rf"{re.escape(module)}\b.*extra == ['\"](\w+)['\"]")
    extras = [match[1] for match in map(pattern.match, lines) if match]
    return extras[0] if extras and "cli" not in extras else "cli"


PACKAGE = __name__.partition(".")[0]


def require_values(arguments: list[str]) -> None:
    """Refuse empty words: an unset variable of the shell is no choice of a default.

    Raises:
        ValueError: naming the option.
    """
    option = ""
    for word in arguments:
        option = word.partition("=")[0] if word.startswith("--") else option
        if not word.strip() or (word.startswith("--") and "=" in word and not word.partition("=")[2].strip()):
            raise ValueError(f"{option or 'an argument'} is empty: give it a value, or leave it out")


def _run(name: str, arguments: list[str]) -> None:
    require_values(arguments)
    remember_typed([name, *arguments])
    if launch().size > 1 and name not in SHARING:
        raise AgreedError(f"runs in one process; several share the work of {', '.join(SHARING)}")
    line, *functions = COMMANDS[name]
    prog, function = f"specmatch {name}", functions[0]
    if len(functions) > 1:
        function, *arguments = arguments or ["--help"]
        if function in ("-h", "--help"):
            lines = "\n".join(f"  {each:<20} {said}" for each, said in first_lines(name, functions).items())
            print(f"usage: {prog} {{{','.join(functions)}}} [options]\n\n{line}\n\n{lines}\n")
            print(f"{prog} {functions[0]} --help lists its options.")
            return
        if function not in functions:
            close = get_close_matches(function, functions, n=1) or functions
            raise ValueError(f"unknown word {function!r}; did you mean {' or '.join(close)}?")
        prog = f"{prog} {function}"
    from .options import described, parse, require_names
    from .output import print_written, show_messages

    show_messages()
    module = import_module(f".{name.replace('-', '_')}", __package__)
    with agreed():  # all processes read the same command line
        defaults = module.defaults(arguments) if hasattr(module, "defaults") else {}
    command = described(getattr(module, function.replace("-", "_")), defaults)
    with agreed():
        require_names(command, arguments, getattr(module, "OTHER_NAMES", ""))
    result = parse(command, prog, arguments)
    if isinstance(result, Path):
        print_written(result)


def first_lines(name: str, functions: list[str]) -> dict[str, str]:
    """Return the first line of the docstring of each function of a command, read without importing what it needs."""
    tree = ast.parse((Path(__file__).parent / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
    docstrings = {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {each: docstrings[each.replace("-", "_")].partition("\n")[0] for each in functions}


def _destroy_process_group() -> None:
    """Shut down torch.distributed where it was started; a process that exits without may be aborted at its very end."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
