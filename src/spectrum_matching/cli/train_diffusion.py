"""The command `train-diffusion`: train a diffusion model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from ..training.diffusion_config import PRESETS, DiffusionRun
from .training import chosen_run, train

OTHER_NAMES = "latents are named by --source.latents, images by --source.images"
"""What to say of a name beyond those that the command takes."""


def train_diffusion(
    preset: Annotated[str | None, arg(metavar="PRESET")] = None,
    /,
    *,
    config: Path | None = None,
    dry_run: bool = False,
    run: Annotated[DiffusionRun, arg(name="")] = DiffusionRun(),  # noqa: B008
) -> Path | None:
    """Train a diffusion model on cached latents, on images encoded on the fly, or on pixels.

    Rerun the same command to resume. `specmatch presets train-diffusion` lists presets. With a preset, --help shows
    its values. Launched by torchrun or `accelerate launch`, several processes share each batch.
    It runs where Accelerate says: on a GPU if there is one, or where ACCELERATE_TORCH_DEVICE=cpu or cuda:1 says.

    For example:
        specmatch train-diffusion tiny_sit --source.latents latents --out runs/sit
        specmatch train-diffusion tiny_sit --source.images embedded --source.autoencoder runs/tiny --source.size 64
        specmatch train-diffusion --config runs/sit/run.yaml --steps 4000

    Args:
        preset: The run to start from.
        config: Instead, or over it: a run.yaml, or part of one.
        dry_run: Check everything up to the first step, data and networks too, print the run, and stop.
        run: The run itself.
    """
    from ..training.run_diffusion import prepare_diffusion, run_diffusion

    return train(run, run.name, prepare_diffusion, run_diffusion, dry_run)


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values that options have where the command line does not set them."""
    return {"run": chosen_run(arguments, PRESETS, DiffusionRun())}
