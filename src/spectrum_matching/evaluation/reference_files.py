"""A reference from whatever file holds one: our own, ADM's reference batches, pytorch-fid's statistics."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..data.archives import IMAGES, ArchivedImages
from ..data.order import fixed_batches
from ..files.digests import digest_files
from ..files.npy import explain_npz_errors, read_npz_headers
from ..metrics.images.moments import RunningMoments
from ..metrics.images.statistics import ImageStatistics
from ..nets.vision.extractors import Extractor
from .accumulate import accumulate, reduce_over
from .reference import SCORES, Reference, load_reference, reference_of

if TYPE_CHECKING:
    from accelerate import Accelerator

UNKNOWN_COUNT = 2  # moments alone do not say of how many images they are, and no distance needs to know


def open_reference(
    path: Path, extractor: Extractor | None, *, batch_size: int = 64, accelerator: "Accelerator | None" = None
) -> Reference:
    """Of a file of `save_reference`, or an .npz with `mu` and `sigma` (`mu_s`, `sigma_s` for sFID), `arr_0`, or both.

    The moments stand for the Fréchet distances; the images of `arr_0` are put through `extractor` for everything else.
    ValueError in one line for any other file, and where nothing in it can be compared.
    """
    if not path.is_file():
        raise ValueError(f"no reference {path}: make one by `specmatch evaluate reference DATA --out {path}`")
    if path.suffix != ".npz":
        reference = load_reference(path)
        reference.check(extractor)
        return reference
    names = read_npz_headers(path)
    moments = {
        field: RunningMoments.from_moments(UNKNOWN_COUNT, *_read_moments(path, mean, covariance))
        for field, mean, covariance in (("features", "mu", "sigma"), ("spatial", "mu_s", "sigma_s"))
        if mean in names and covariance in names
    }
    has_moments = "features" in moments
    if IMAGES not in names and not has_moments:
        raise ValueError(f"{path} holds {', '.join(names) or 'nothing'}: expected mu and sigma, or images as {IMAGES}")
    if IMAGES not in names and extractor is None:
        raise ValueError(f"{path} holds moments of features alone: name the extractor that made them")
    statistics = ImageStatistics(moments=moments)
    if IMAGES in names:
        rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
        batches = fixed_batches(ArchivedImages(path), batch_size, rank=rank, world=world)
        statistics = reduce_over(accumulate(batches, extractor, SCORES), accelerator)
    reference = reference_of(str(path), statistics, extractor)
    if has_moments:
        statistics.moments = moments
        reference = replace(reference, n_images=0, extractor="", extractor_digest="", resizer="")
    return replace(reference, digest=digest_files([path]))


def _read_moments(path: Path, mean: str, covariance: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a mean (d,) and a covariance (d, d) in float64; ValueError for other arrays."""
    with explain_npz_errors(path), np.load(path, allow_pickle=False) as archive:
        arrays = [torch.from_numpy(np.asarray(archive[name], dtype=np.float64)) for name in (mean, covariance)]
    if arrays[0].ndim != 1 or arrays[1].shape != (len(arrays[0]),) * 2 or not all(a.isfinite().all() for a in arrays):
        shapes = " and ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(f"{path}: {mean} and {covariance} are {shapes}, expected finite moments (d,) and (d, d)")
    return arrays[0], arrays[1]
