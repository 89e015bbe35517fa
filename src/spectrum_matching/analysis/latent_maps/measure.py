"""Measurement of every pair of several latent spaces, in both directions, on one set of images."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...data.arrays import Images, as_image_set
from ...data.fingerprint import fingerprint
from ...data.order import fixed_batches
from ...metrics.estimates import estimate_mean
from ...nets.autoencoder import Autoencoder, eval_mode
from ...nets.autoencoder.mapped import LatentMap
from ...records.analysis import Sample, Subject
from ...records.coverage import Coverage
from ...records.latent_maps import LatentComparison, Space
from ...records.provenance import provenance
from ...seeding import spread
from ..measure import require_finite, tile_notes
from ..tensor_file import TensorFile
from .decoded import Reconstruction, TestedImages
from .direction import StoredLatents, measure_direction
from .layout import layouts

log = logging.getLogger(__name__)


class Compared(NamedTuple):
    """The record, and the maps fitted to all images: by source and target, then from the smallest to the widest."""

    record: LatentComparison
    maps: dict[tuple[str, str], list[LatentMap]]


def compare_latents(
    autoencoders: Mapping[str, Any],
    images: Images | Tensor,
    *,
    sources: Mapping[str, str] | None = None,
    split: str = "all",
    n_images: int | None = None,
    n_tests: int = 20,
    batch_size: int = 8,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    command: str = "",
    notes: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Compared:
    """Measure how the posterior means of each of several autoencoders, by name, map to those of every other.

    images: an image set, or a tensor (n, 3, size, size) in [-1, 1]; n_images of these (None: all), spread over the set,
    are encoded, and latents of n_tests of them decoded. device, dtype: where and how the networks run, and stay; None
    leaves them as they are. sources, split, command, notes: for the record. progress: called with the work done and
    the total.

    Each map is fitted to 19 of 20 groups of the images and tried on the other, every group in turn.

    Raises:
        ValueError: for fewer than two autoencoders, images of a size that one does not take, grids of which neither is
            a multiple of the other, too few images for any map, and latents or pictures that are not finite.
    """
    networks = {
        name: each if isinstance(each, Autoencoder) else Autoencoder(each) for name, each in autoencoders.items()
    }
    image_set = as_image_set(images)
    n_chosen = min(n_images or len(image_set), len(image_set))
    pairs = [*permutations(networks, 2)]
    by_pair = layouts(networks, image_set.size, n_chosen, n_tests)
    total = n_chosen + len(pairs)
    with ExitStack() as stack:
        devices = {name: stack.enter_context(eval_mode(each, device, dtype)) for name, each in networks.items()}
        stored = {name: StoredLatents(stack.enter_context(TensorFile())) for name in networks}
        chosen, tests, indices = set(spread(n_chosen, n_tests)), dict[int, Tensor](), list[int]()
        bad, labels = list(map(str, image_set.bad)), set[int]()
        for batch in fixed_batches(image_set, batch_size, n_chosen):
            for name, network in networks.items():
                x = batch.images.to(devices[name])
                stored[name].add(require_finite(name, "latents", network.encode(x).mean.float()))
            tests |= {row: image for row, image in enumerate(batch.images, len(indices)) if row in chosen}
            indices += batch.indices
            bad += map(str, batch.bad)
            labels |= {label for label in batch.labels.tolist() if label >= 0}
            progress(len(indices), total)
        if len(tests) < 2:
            raise ValueError(f"{image_set.source}: {len(indices)} images can be read; standard errors need two or more")
        for name, latents in stored.items():
            if latents.is_constant:
                raise ValueError(f"{name}: its latents are the same for all images; check its weights")
        tested = TestedImages(networks, tests, batch_size, devices)
        own = {name: tested.decode(name, name, 0, each.file.at(tested.rows)) for name, each in stored.items()}
        directions, maps = [], {}
        for done, (source, target) in enumerate(pairs, 1):
            log.info("from %s to %s", source, target)
            ends = (source, stored[source]), (target, stored[target])
            direction, maps[source, target] = measure_direction(*ends, by_pair[source, target], own, tested)
            directions.append(direction)
            progress(n_chosen + done, total)
    given = sources or {}
    tiled = [f"{name}: {note}" for name, each in networks.items() for note in tile_notes(each.tile, image_set.size)]
    record = LatentComparison(
        spaces=tuple(_space(name, networks[name], given.get(name, ""), stored[name], own[name]) for name in networks),
        directions=tuple(directions),
        sample=Sample(
            source=image_set.source,
            split=split,
            coverage=Coverage(len(indices), len(image_set), len(labels), len(image_set.classes)),
            size=image_set.size,
            digest=fingerprint(image_set, indices).digest,
            bad_files=tuple(bad),
        ),
        n_tests=len(tests),
        pictures=tuple(tested.pictures),
        command=command,
        provenance=provenance(devices[name], dtype or networks[name].dtype, 0),
        notes=(*notes, *tiled, *dict.fromkeys(layout.note for layout in by_pair.values() if layout.note)),
    )
    return Compared(record, maps)


def _space(name: str, network: Autoencoder, source: str, latents: StoredLatents, own: Reconstruction) -> Space:
    subject = Subject(
        name=name,
        source=source,
        kind=network.kind,
        factor=network.factor,
        channels=network.channels,
        stochastic=network.is_stochastic,
        parameters=sum(weight.numel() for weight in network.parameters()),
        digest=network.digest,
    )
    c, h, w = latents.file.shape
    return Space(subject, (c, h, w), latents.std, estimate_mean(own.psnr), own.kept)
