"""The command `sample`: images from a trained diffusion model, as a grid, a folder of PNG files, or one .npz."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, arg

from ..processes import open_accelerator
from ..sampling.generate import PROTOCOLS, SamplingChoice
from ..sampling.model import open_model
from ..sampling.samples import check_out, write_samples
from .output import progress_bar

if TYPE_CHECKING:
    ProtocolName = str
else:
    ProtocolName = Literal[tuple(PROTOCOLS)]


def sample(
    model: Annotated[str, arg(metavar="MODEL")],
    /,
    *,
    out: Path,
    num_images: int = 16,
    autoencoder: str | None = None,
    tiling: bool = False,
    protocol: ProtocolName | None = None,
    overwrite: bool = False,
    sampling: Annotated[SamplingChoice, OmitArgPrefixes] = SamplingChoice(),  # noqa: B008
) -> Path:
    """Sample images; image i does not depend on batch size or number of processes. Rerun the same command to resume.

    It runs where Accelerate says: on a GPU if there is one, or where ACCELERATE_TORCH_DEVICE=cpu or cuda:1 says.

    For example:
        specmatch sample runs/sit --out grid.png
        specmatch sample runs/sit --num-images 50000 --protocol sit_guided --out samples.npz

    Args:
        model: Run directory of train-diffusion, or the export in it.
        out: X.png for a grid, X.npz for uint8 arr_0 (ADM's format), else a folder of PNG files.
        num_images: Number of images.
        autoencoder: What decodes the samples; by default the autoencoder that the model was trained with, which must be
            unchanged.
        tiling: Decode in the tiles of the autoencoder's class, one image at a time, so that large images fit.
        protocol: Sample as published numbers were; with it, --help shows its values, which options change. `specmatch
            presets sample` lists protocols.
        overwrite: Replace other samples, finished or not, or a file X.npz or X.png, or its record, that is not
            samples.
        sampling: How images are sampled.
    """
    accelerator = open_accelerator()
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected at least 1")
    check_out(out, overwrite)
    opened = open_model(model, accelerator.device, autoencoder, tiling=tiling)
    with progress_bar("sampling") as progress:
        write_samples(opened, sampling, num_images, out, accelerator, progress, overwrite)
    return out


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values that options have where the command line does not set them: those of its protocol."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--protocol", nargs="?")
    name = parser.parse_known_args(arguments)[0].protocol
    return {"sampling": PROTOCOLS[name]} if name in PROTOCOLS else {}
