"""specmatch: a verb and its options."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from .. import __version__

Run = TypeVar("Run")


def demo(arguments: list[str]) -> None:
    """go from embedded photographs to generated images by three methods, in one report"""
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

    from .report import write_report

    print(tyro.cli(write_report, prog="specmatch report", args=arguments))


def train_ae(arguments: list[str]) -> None:
    """train or fine-tune an autoencoder by any method of the unified view"""
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
        return
    from ..training.run_autoencoder import run_autoencoder  # slow: it imports diffusers

    print(run_autoencoder(run))


def cache(arguments: list[str]) -> None:
    """encode images once and for all: posterior moments in shards, or latents of other tools brought over"""
    import tyro

    from .cache import cache_latents

    print(tyro.cli(cache_latents, prog="specmatch cache", args=arguments))


def train_diffusion(arguments: list[str]) -> None:
    """train a diffusion model on cached latents, on images encoded on the fly, or on pixels"""
    from ..training.diffusion_config import PRESETS, DiffusionRun

    def check(run: DiffusionRun) -> None:
        from ..training.checks import check_diffusion_run

        check_diffusion_run(run)

    description = f"Train a diffusion model. Presets: {', '.join(PRESETS)}."
    run = _resolved("train-diffusion", DiffusionRun(), PRESETS, description, arguments, check)
    if run is None:
        return
    from ..training.run_diffusion import run_diffusion

    print(run_diffusion(run))


def sample(arguments: list[str]) -> None:
    """draw images from a trained diffusion model"""
    import tyro

    from .sample import sample

    print(tyro.cli(sample, prog="specmatch sample", args=arguments))


def evaluate(arguments: list[str]) -> None:
    """score generated images or reconstructions against a reference, with the protocol written down"""
    import tyro

    from .evaluate import generation, reconstruction, reference

    verbs: dict[str, Callable[..., object]] = {
        "reference": reference,
        "generation": generation,
        "reconstruction": reconstruction,
    }
    tyro.extras.subcommand_cli_from_dict(verbs, prog="specmatch evaluate", args=arguments)


def compare(arguments: list[str]) -> None:
    """hold methods against each other from autoencoder to scores, at equal cost, over several seeds"""
    import tyro

    from .compare import compare

    tyro.cli(compare, prog="specmatch compare", args=arguments)


def study(arguments: list[str]) -> None:
    """ask one question: directional energy, the unified view, the frequency bias of training"""
    import tyro

    from .study import directional_energy, frequency_bias, unified_view

    verbs: dict[str, Callable[..., object]] = {
        "directional-energy": directional_energy,
        "unified-view": unified_view,
        "frequency-bias": frequency_bias,
    }
    tyro.extras.subcommand_cli_from_dict(verbs, prog="specmatch study", args=arguments)


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


VERBS = {
    "demo": demo,
    "analyze": analyze,
    "report": report,
    "train-ae": train_ae,
    "cache": cache,
    "train-diffusion": train_diffusion,
    "sample": sample,
    "evaluate": evaluate,
    "compare": compare,
    "study": study,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command `specmatch`. Report user errors in one line and exit with status 2."""
    # Read when torch is imported: threads that spin while they wait slow every other process down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if name in ("-h", "--help"):
            verbs = "\n".join(f"  {name:<16} {verb.__doc__}" for name, verb in VERBS.items())
            print(f"usage: specmatch VERB [options]\n\n{verbs}\n\nspecmatch VERB --help says more.")
        elif name == "--version":
            print(__version__)
        elif name in VERBS:
            from .progress import show_messages

            show_messages()
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
    finally:
        _leave_other_processes()


def _leave_other_processes() -> None:
    """End what torchrun or accelerate began: a process that ends without it may be aborted at its very end."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
