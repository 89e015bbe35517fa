"""specmatch: a verb and its options."""

import argparse
import os
import sys
from pathlib import Path

from . import __version__


def demo(arguments: list[str]) -> None:
    """train three tiny autoencoders on embedded photographs, measure them, write one report"""
    import tyro

    from .demo import demo

    tyro.cli(demo, prog="specmatch demo", args=arguments)


def analyze(arguments: list[str]) -> None:
    """say how diffusable autoencoders or cached latents are, side by side, in one report"""
    import tyro

    from .analyze import analyze_all

    tyro.cli(analyze_all, prog="specmatch analyze", args=arguments)


def report(arguments: list[str]) -> None:
    """make one page from saved analyses"""
    import tyro

    from .write_report import write_report

    print(tyro.cli(write_report, prog="specmatch report", args=arguments))


def train_ae(arguments: list[str]) -> None:
    """train or fine-tune an autoencoder by any method of the unified view"""
    import tyro

    from .run_files import nearest, override, read_mapping, to_yaml
    from .runs import FAMILIES, METHODS, PRESETS, AutoencoderRun

    named = {word.split("=")[0] for word in arguments}
    if not (named & {"--config", "--help", "-h"} or (arguments and not arguments[0].startswith("-"))):
        raise ValueError("name a preset, such as tiny_dsm, or give --config FILE; --help lists the presets")
    run = AutoencoderRun()
    if not arguments[0].startswith("-"):
        preset, *arguments = arguments
        if preset not in PRESETS:
            raise ValueError(f"no preset {preset!r}; {nearest(preset, list(PRESETS))}")
        run = PRESETS[preset]()
    before = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config", type=Path)
    before.add_argument("--dry-run", action="store_true")
    own, arguments = before.parse_known_args(arguments)
    if own.config is not None:
        run = override(run, read_mapping(own.config), str(own.config))
    families, methods = (", ".join(names) for names in (FAMILIES, METHODS))
    description = (
        f"Train or fine-tune an autoencoder. PRESET is FAMILY_METHOD; families: {families}; methods: {methods}. "
        f"--config FILE starts from a run.yaml, or part of one; --dry-run prints the resolved run and stops."
    )
    run = tyro.cli(
        AutoencoderRun, default=run, prog="specmatch train-ae PRESET", args=arguments, description=description
    )
    if own.dry_run:
        run.method.build()
        print(to_yaml(run), end="")
    else:
        from .run_autoencoder import run_autoencoder  # slow: it imports diffusers

        print(run_autoencoder(run))


VERBS = {"demo": demo, "analyze": analyze, "report": report, "train-ae": train_ae}


def main(arguments: list[str] | None = None) -> None:
    """The command `specmatch`. What its user can mend is said in one line, with exit status 2."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if name in ("-h", "--help"):
            verbs = "\n".join(f"  {name:<10} {verb.__doc__}" for name, verb in VERBS.items())
            print(f"usage: specmatch VERB [options]\n\n{verbs}\n\nspecmatch VERB --help says more.")
        elif name == "--version":
            print(__version__)
        elif name in VERBS:
            VERBS[name](rest)
        else:
            raise ValueError(f"no such verb; there are {', '.join(VERBS)}")
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"specmatch {name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        print(f"specmatch {name}: {error}", file=sys.stderr)
        sys.exit(2)
