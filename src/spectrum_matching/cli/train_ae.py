"""The command `train-ae`: train or fine-tune an autoencoder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from ..training.autoencoder_config import PRESETS, AutoencoderRun
from .training import chosen_run, train

OTHER_NAMES = "images are named by --data.path"
"""What to say of a name beyond those that the command takes."""


def train_ae(
    preset: Annotated[str | None, arg(metavar="PRESET")] = None,
    /,
    *,
    config: Path | None = None,
    dry_run: bool = False,
    run: Annotated[AutoencoderRun, arg(name="")] = AutoencoderRun(),  # noqa: B008
) -> Path | None:
    """Train or fine-tune an autoencoder by any method. Rerun the same command to resume.

    Presets are FAMILY_METHOD, such as tiny_dsm; `specmatch presets train-ae` lists them. With a preset, --help shows
    its values. Launched by torchrun or `accelerate launch`, several processes share each batch.
    It runs where Accelerate says: on a GPU if there is one, or where ACCELERATE_TORCH_DEVICE=cpu or cuda:1 says.

    For example:
        specmatch train-ae tiny_dsm --steps 200 --out runs/tiny
        specmatch train-ae finetune256_dsm --network.pretrained stabilityai/sd-vae-ft-mse --data.path photos
        specmatch train-ae --config runs/tiny/run.yaml --steps 2000

    Args:
        preset: The run to start from.
        config: Instead, or over it: a run.yaml, or part of one.
        dry_run: Check everything up to the first step, data and networks too, print the run, and stop.
        run: The run itself.
    """
    from ..training.run_autoencoder import prepare_autoencoder, run_autoencoder

    run = replace(run, method=run.method.resolved())
    return train(run, run.name, prepare_autoencoder, run_autoencoder, dry_run)


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values that options have where the command line does not set them."""
    return {"run": chosen_run(arguments, PRESETS, AutoencoderRun())}
