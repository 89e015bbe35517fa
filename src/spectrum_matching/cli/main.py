"""The command `specmatch`: choose a command and run it.

What a command needs is imported when it runs, so that `specmatch --help` does not wait for torch.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from pathlib import Path

from ..files.names import printable
from ..files.os_errors import explain_read_error, is_out_of_memory
from ..processes import AgreedError, is_main_process, launch


def _train(command: str, arguments: list[str]) -> Path | None:
    """Train the model that the command line describes and return its export; for --dry-run only check and print it."""
    import tyro

    from ..files.yaml_files import nearest, override, read_mapping, to_yaml
    from .output import print_checked, progress_bar

    kind, description = TRAININGS[command]
    config = import_module(f"..training.{kind}_config", __package__)
    presets, run = config.PRESETS, getattr(config, f"{kind.title()}Run")()
    named = {word.split("=")[0] for word in arguments}
    if not (named & {"--config", "--help", "-h"} or (arguments and not arguments[0].startswith("-"))):
        raise ValueError(f"name a preset, such as {next(iter(presets))}, or give --config FILE; --help lists presets")
    if not arguments[0].startswith("-"):
        preset, *arguments = arguments
        if preset not in presets:
            raise ValueError(f"no preset {preset!r}; {nearest(preset, list(presets))}")
        run = presets[preset]()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    options, arguments = parser.parse_known_args(arguments)
    if options.config is not None:
        run = override(run, read_mapping(options.config), str(options.config))
    lists = {name: ", ".join(getattr(config, name, ())) for name in ("FAMILIES", "METHODS", "PRESETS")}
    description = description.format(**lists) + DRY_RUN
    prog = f"specmatch {command} PRESET"
    run = tyro.cli(type(run), default=run, prog=prog, args=arguments, description=description)
    if kind == "autoencoder":
        run = replace(run, method=run.method.resolved())
    training = import_module(f"..training.run_{kind}", __package__)
    if options.dry_run:
        getattr(training, f"prepare_{kind}")(run)
        print_checked(to_yaml(run, brief=True))
        return None
    with progress_bar(run.name) as progress:
        export: Path = getattr(training, f"run_{kind}")(run, progress)
    return export


DRY_RUN = (
    " --config FILE starts from a run.yaml, or part of one; --dry-run checks everything up to the first step, data and "
    "networks too, prints the resolved run and stops."
)
TRAININGS = {
    "train-ae": (
        "autoencoder",
        "Train or fine-tune an autoencoder. PRESET is FAMILY_METHOD, or distill_tiny; families: {FAMILIES}; "
        "methods: {METHODS}.",
    ),
    "train-diffusion": ("diffusion", "Train a diffusion model. Presets: {PRESETS}."),
}
"""The kind of model that each command trains, and its help."""

COMMANDS = {
    "demo": ("train three methods on embedded photographs, from autoencoder to samples; write one report", "demo"),
    "analyze": ("measure how easy latent spaces are to diffuse; write a side-by-side report", "analyze-all"),
    "report": ("put saved analyses on one page", "write-report"),
    "train-ae": ("train or fine-tune an autoencoder by any method of the unified view",),
    "cache": ("encode images once into cached latents; import or export those of other tools", "cache-latents"),
    "train-diffusion": ("train a diffusion model on cached latents, on images encoded on the fly, or on pixels",),
    "sample": ("generate images with a trained diffusion model", "sample"),
    "evaluate": (
        "score generated images or reconstructions against a reference, and record the protocol",
        *("reference", "generation", "reconstruction"),
    ),
    "compare": ("compare methods from training to scores at equal cost, over several seeds", "compare"),
    "check": ("read everything below folders that specmatch wrote, and compare it with its checksums", "check"),
    "study": (
        "run a study: directional-energy, unified-view or frequency-bias",
        *("directional-energy", "unified-view", "frequency-bias"),
    ),
}
"""One line of help, then the functions in the file of the command; of several, the next argument names one."""


SHARING = ("train-ae", "cache", "train-diffusion", "sample", "evaluate")
"""Commands whose work several processes share."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command `specmatch`. Report user errors in one line and exit with status 2."""
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
            _run(name, rest)
        else:
            close = get_close_matches(name, COMMANDS, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            print(f"specmatch: unknown command {name!r}{hint}; see `specmatch --help`", file=sys.stderr)
            sys.exit(2)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"specmatch {name}: interrupted", file=sys.stderr)
        sys.exit(130)
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
    if isinstance(error, RecursionError):
        return "a file or setting is nested too deeply; check what was given"
    if isinstance(error, OverflowError):
        return f"a number is too large ({text}); check what was given"
    if is_out_of_memory(error):
        return (
            f"not enough memory ({text[:120] or 'MemoryError'}); lower sizes, the batch size or the number of workers"
        )
    return None


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
    import tyro

    from .output import print_results, show_messages

    if launch().size > 1 and name not in SHARING:
        raise AgreedError(f"runs in one process; several share the work of {', '.join(SHARING)}")
    show_messages()
    _, *functions = COMMANDS[name]
    if name in TRAININGS:
        result: object = _train(name, arguments)
    else:
        module, prog = import_module(f".{name}", __package__), f"specmatch {name}"
        options = {function: _of_finite_numbers(getattr(module, function.replace("-", "_"))) for function in functions}
        if len(options) > 1:
            result = tyro.extras.subcommand_cli_from_dict(options, prog=prog, args=arguments)
        else:
            result = tyro.cli(options[functions[0]], prog=prog, args=arguments)
    if isinstance(result, Path):
        print_results(str(result))


def _of_finite_numbers(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function of a command, which refuses options that are NaN or infinite."""
    from ..files.settings import infinite_numbers

    @wraps(function)
    def checked(*arguments: object, **options: object) -> object:
        for key, number in infinite_numbers(options):
            option = key.rpartition(".")[2].replace("_", "-")
            raise ValueError(f"--{option} is {number}: must be a finite number")
        return function(*arguments, **options)

    return checked


def _destroy_process_group() -> None:
    """Shut down torch.distributed where it was started; a process that exits without may be aborted at its very end."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
