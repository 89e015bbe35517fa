"""Examine one autoencoder: run every check on a few images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...data.arrays import Images, as_image_set
from ...data.fingerprint import fingerprint
from ...data.order import fixed_batches
from ...nets.autoencoder import check_size, eval_mode
from ...records.analysis import Sample
from ...records.coverage import Coverage
from ...records.diagnosis import Diagnosis, Outcome
from ...records.provenance import provenance
from ..measure import model_for, subject_of
from .catalogue import CHECKS, Check
from .examination import Examination, skipped

N_IMAGES = 6


def examine(
    autoencoder: Any,
    images: Images | Tensor,
    *,
    name: str = "autoencoder",
    source: str = "",
    split: str = "all",
    n_images: int = N_IMAGES,
    missing: tuple[str, ...] = (),
    unexpected: tuple[str, ...] = (),
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Run all checks on an autoencoder and `n_images` spread over a set.

    autoencoder, images, device, name, source, split: as for `analyze`; the images are of the side that `side_of`
    names, or a multiple of the autoencoder's. missing, unexpected: names of tensors that did not load. Weights,
    training mode and the global random state are as before at the end.

    Raises:
        ValueError: for fewer than three images, or of a size or number of channels that the autoencoder does not take.
    """
    image_set = as_image_set(images)
    model, _ = model_for(autoencoder, image_set, name)
    check_size(name, model, image_set.size)
    subject = subject_of(model, name, source)
    with eval_mode(model, device) as on_device:
        batches = list(fixed_batches(image_set, n_images, n_images))
        indices = [index for batch in batches for index in batch.indices]
        if len(indices) < 3:
            raise ValueError(f"{image_set.source}: {len(indices)} images can be read, expected at least 3: add images")
        x = torch.cat([batch.images for batch in batches]).to(on_device)
        case = Examination(model, x, missing, unexpected)
        outcomes: dict[str, Outcome] = {}
        for done, check in enumerate(CHECKS):
            progress(done, len(CHECKS))
            outcomes[check.name] = _outcome(check, case, outcomes)
        progress(len(CHECKS), len(CHECKS))
        where = provenance(on_device, model.dtype, 0)
    bad = tuple(str(file) for file in (*image_set.bad, *(file for batch in batches for file in batch.bad)))
    digest = fingerprint(image_set, indices).digest
    coverage = Coverage(len(indices), len(image_set))
    sample = Sample(image_set.source, split, coverage, image_set.size, digest, bad)
    return Diagnosis(subject, sample, where, tuple(outcomes.values()))


def _outcome(check: Check, case: Examination, before: dict[str, Outcome]) -> Outcome:
    blocking = [name for name in check.needs if before[name].level == "wrong"]
    explaining = [name for name in check.explained_by if before[name].level in ("look", "wrong")]
    if blocking or explaining:
        result = skipped(f"says nothing before {(blocking + explaining)[0]} is right")
    else:
        try:
            result = check.function(case)
        except ValueError as error:
            result = skipped(f"it could not run: {error}")
    return Outcome(check.name, result.level, result.verdict, result.evidence, result.fix)
