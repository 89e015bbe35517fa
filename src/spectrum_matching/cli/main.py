"""The command `specmatch`: choose a command and run it.

What a command needs is imported when it runs, so that `specmatch --help` does not wait for torch.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, TypeVar

Run = TypeVar("Run")


def train_ae(arguments: list[str]) -> Path | None:
    """Train or fine-tune an autoencoder; return its export."""
    from ..training.autoencoder_config import FAMILIES, METHODS, PRESETS, AutoencoderRun

    def check(run: AutoencoderRun) -> None:
        from ..training.checks import check_autoencoder_run  # slow: it imports diffusers

        check_autoencoder_run(run)

    families, methods = (", ".join(names) for names in (FAMILIES, METHODS))
    description = (
        f"Train or fine-tune an autoencoder. PRESET is FAMILY_METHOD; families: {families}; methods: {methods}."
    )
    run = _resolved("train-ae", AutoencoderRun(), PRESETS, description, arguments, check)
    if run is None:
        return None
    from ..training.run_autoencoder import run_autoencoder  # slow: it imports diffusers
    from .progress import progress_bar

    with progress_bar(run.name) as progress:
        return run_autoencoder(run, progress)


def train_diffusion(arguments: list[str]) -> Path | None:
    """Train a diffusion model; return its export."""
    from ..training.diffusion_config import PRESETS, DiffusionRun

    def check(run: DiffusionRun) -> None:
        from ..training.checks import check_diffusion_run

        check_diffusion_run(run)

    description = f"Train a diffusion model. Presets: {', '.join(PRESETS)}."
    run = _resolved("train-diffusion", DiffusionRun(), PRESETS, description, arguments, check)
    if run is None:
        return None
    from ..training.run_diffusion import run_diffusion
    from .progress import progress_bar

    with progress_bar(run.name) as progress:
        return run_diffusion(run, progress)


def _resolved(
    verb: str,
    default: Run,
    presets: Mapping[str, Callable[[], Run]],
    description: str,
    arguments: list[str],
    check: Callable[[Run], None],
) -> Run | None:
    """The run that the command line names; None where it was only to be checked and printed, which is done then."""
    import tyro

    from ..files.yaml_files import nearest, override, read_mapping, to_yaml

    named = {word.split("=")[0] for word in arguments}
    if not (named & {"--config", "--help", "-h"} or (arguments and not arguments[0].startswith("-"))):
        raise ValueError(
            f"name a preset, such as {next(iter(presets))}, or give --config FILE; --help lists the presets"
        )
    run = default
    if not arguments[0].startswith("-"):
        preset, *arguments = arguments
        if preset not in presets:
            raise ValueError(f"no preset {preset!r}; {nearest(preset, list(presets))}")
        run = presets[preset]()
    before = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config", type=Path)
    before.add_argument("--dry-run", action="store_true")
    own, arguments = before.parse_known_args(arguments)
    if own.config is not None:
        run = override(run, read_mapping(own.config), str(own.config))
    description += " --config FILE starts from a run.yaml, or part of one; --dry-run prints the resolved run and stops."
    run = tyro.cli(type(default), default=run, prog=f"specmatch {verb} PRESET", args=arguments, description=description)
    if own.dry_run:
        check(run)
        print(to_yaml(run), end="")
        return None
    return run


class Command(NamedTuple):
    """A command: one line of help, and what runs it with the rest of the command line."""

    help: str
    run: Callable[[list[str]], object]


def _function(module: str, name: str) -> Callable[[list[str]], object]:
    """Return what runs a function of this package, whose parameters are the options."""

    def run(arguments: list[str]) -> object:
        import tyro

        function = getattr(import_module(f".{module}", __package__), name)
        return tyro.cli(function, prog=f"specmatch {module}", args=arguments)

    return run


def _functions(module: str, *names: str) -> Callable[[list[str]], object]:
    """Return what runs one of several functions of this package, named by the first argument."""

    def run(arguments: list[str]) -> object:
        import tyro

        file = import_module(f".{module}", __package__)
        functions = {name: getattr(file, name.replace("-", "_")) for name in names}
        return tyro.extras.subcommand_cli_from_dict(functions, prog=f"specmatch {module}", args=arguments)

    return run


COMMANDS = {
    "demo": Command(
        "train three methods on embedded photographs, from autoencoder to generated images; write one report",
        _function("demo", "demo"),
    ),
    "analyze": Command(
        "measure how easy latent spaces are to diffuse; write a side-by-side report",
        _function("analyze", "analyze_all"),
    ),
    "report": Command("put saved analyses on one page", _function("report", "write_report")),
    "train-ae": Command("train or fine-tune an autoencoder by any method of the unified view", train_ae),
    "cache": Command(
        "encode images once into cached latents; import or export those of other tools",
        _function("cache", "cache_latents"),
    ),
    "train-diffusion": Command(
        "train a diffusion model on cached latents, on images encoded on the fly, or on pixels", train_diffusion
    ),
    "sample": Command("generate images with a trained diffusion model", _function("sample", "sample")),
    "evaluate": Command(
        "score generated images or reconstructions against a reference, and record the protocol",
        _functions("evaluate", "reference", "generation", "reconstruction"),
    ),
    "compare": Command(
        "compare methods end to end (autoencoder → diffusion → scores) at equal training cost, over several seeds",
        _function("compare", "compare"),
    ),
    "study": Command(
        "run a study: directional-energy, unified-view or frequency-bias",
        _functions("study", "directional-energy", "unified-view", "frequency-bias"),
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command `specmatch`. Report user errors in one line and exit with status 2."""
    # Read when torch is imported: threads that spin while they wait slow every other process down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if name in ("-h", "--help"):
            lines = "\n".join(f"  {name:<16} {command.help}" for name, command in COMMANDS.items())
            print(f"usage: specmatch COMMAND [options]\n\n{lines}\n\nspecmatch COMMAND --help lists its options.")
        elif name == "--version":
            from .. import __version__

            print(__version__)
        elif name in COMMANDS:
            _run(COMMANDS[name], rest)
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
    except (ValueError, OSError) as error:
        print(f"specmatch {name}: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        _destroy_process_group()


def _run(command: Command, arguments: list[str]) -> None:
    from .progress import show_messages
    from .results import print_results

    show_messages()
    result = command.run(arguments)
    if isinstance(result, Path):
        print_results(str(result))


def _destroy_process_group() -> None:
    """Shut down torch.distributed where it was started; a process that exits without may be aborted at its very end."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
