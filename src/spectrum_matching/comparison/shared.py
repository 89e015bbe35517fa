"""What the processes of a launch share: stages, images, and the statistics that samples are compared with."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .. import __version__
from ..data.images import ImageBatch
from ..data.order import Images, fixed_batches
from ..evaluation.reference import Reference, compute_reference, load_reference, save_reference
from ..files import stages
from ..files.digests import digest_json
from ..files.stages import FinishedStage, Work
from ..processes import in_main, open_accelerator, require_alike
from .checks import OpenedPlan

BATCH_SIZE = 64
REFERENCE = "reference.safetensors"


def run_stage(parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> FinishedStage:
    """Run a stage in all processes of this launch; see `files.stages.run_stage`."""
    accelerator = open_accelerator()
    require_alike(accelerator, {f"what the stage {name} is of": digest_json(inputs)})
    return stages.run_stage(parent, name, inputs, work, partial(in_main, accelerator), accelerator.num_processes)


def share_of(images: Images, n: int | None = None, workers: int = 0) -> Iterator[ImageBatch]:
    """Iterate over this process's share of `n` images (None: all) spread over a set."""
    accelerator = open_accelerator()
    ranks = {"rank": accelerator.process_index, "world": accelerator.num_processes}
    return fixed_batches(images, BATCH_SIZE, n, **ranks, workers=workers)


def open_reference(opened: OpenedPlan, seed: int) -> Reference:
    """Return statistics of the images that samples are compared with, computed once for all trials that share them.

    All processes must call it.
    """
    images, plan = opened.references[seed], opened.plan
    n = min(len(images), plan.measuring.reference)

    def compute(folder: Path) -> dict[str, Any]:
        accelerator = open_accelerator()
        batches = share_of(images, n, plan.autoencoder.data.workers)
        reference = compute_reference(images.source, batches, opened.extractor, accelerator=accelerator)
        in_main(accelerator, lambda: save_reference(reference, folder / REFERENCE))
        return {}

    inputs = {"images": images.digest, "size": images.size, "spread": n}
    inputs |= {"extractor": opened.extractor_digest, "version": __version__}
    return load_reference(run_stage(Path(plan.out), "reference", inputs, compute).folder / REFERENCE)
