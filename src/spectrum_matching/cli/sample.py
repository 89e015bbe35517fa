"""The command `sample`: images from a trained diffusion model, as a grid, a folder of PNG files, or one .npz."""

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

from ..processes import open_accelerator
from ..sampling.generate import PROTOCOLS, SamplingChoice, check_sampling
from ..sampling.model import open_model
from ..sampling.samples import check_out, write_samples
from .output import progress_bar

log = logging.getLogger(__name__)

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
        autoencoder: What decodes the samples; by default the autoencoder that the model was trained with.
        tiling: Decode in the tiles of the autoencoder's class, one image at a time, so that large images fit.
        protocol: Sample as published numbers were; settings that are given as well are changed. `specmatch presets
            sample` lists protocols.
        overwrite: Replace a file X.npz or X.png, or its record, that is not samples.
        sampling: How images are sampled.
    """
    accelerator = open_accelerator()
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected at least 1")
    if protocol is not None:
        changes = {
            f.name: getattr(sampling, f.name) for f in fields(sampling) if getattr(sampling, f.name) != f.default
        }
        sampling = replace(PROTOCOLS[protocol], **changes)
    check_out(out, overwrite)
    opened = open_model(model, accelerator.device, autoencoder, tiling=tiling)
    check_sampling(opened, sampling)
    digest = opened.card.autoencoder_digest
    if opened.decoder and digest and digest != opened.decoder.digest and not autoencoder:
        name = opened.decoder.name
        log.warning("the weights of %s have changed since %s was trained on its latents", name, model)
    with progress_bar("sampling") as progress:
        write_samples(opened, sampling, num_images, out, accelerator, progress, overwrite)
    return out
