"""What the commands `train-ae` and `train-diffusion` share: the run that is trained, and its checks alone."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..files.yaml_files import nearest, override, read_mapping, to_yaml
from .output import Callback, print_checked, progress_bar

Run = TypeVar("Run")


def chosen_run(arguments: Sequence[str], presets: Mapping[str, Callable[[], Run]], default: Run) -> Run:
    """Return the run of the preset and of the file that a command line names, which its options change.

    Raises:
        ValueError: where it names none, or the preset or the file cannot be used.
    """
    named = {word.partition("=")[0] for word in arguments}
    first = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if first is None and not named & {"--config", "--help", "-h"}:
        example = next(iter(presets))
        raise ValueError(f"name a preset, such as {example}, or give --config FILE; `specmatch presets` lists presets")
    if first is not None and first not in presets:
        raise ValueError(f"no preset {first!r}; {nearest(first, list(presets))}")
    run = presets[first]() if first is not None else default
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    file = parser.parse_known_args(arguments)[0].config
    return run if file is None else override(run, read_mapping(file), str(file))


def train(
    run: Run, name: str, prepare: Callable[[Run], object], train: Callable[[Run, Callback], Path], dry_run: bool
) -> Path | None:
    """Train a run and return its export; dry_run: only check and print it."""
    if dry_run:
        prepare(run)
        print_checked(to_yaml(run, brief=True))
        return None
    with progress_bar(name) as progress:
        return train(run, progress)
