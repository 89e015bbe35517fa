"""Analysis of cached latents, with their images or alone; no autoencoder takes part."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..data.decode import BadImageError
from ..data.fingerprint import fingerprint
from ..data.images import ImageChoice, ImageSet
from ..data.masks import open_masks
from ..data.order import spread_in_groups
from ..data.selection import DEFAULT_SIZE
from ..data.sources import open_source
from ..latent_space import LatentSpace
from ..latents.alignment_targets import require_latents
from ..latents.foreign.pairing import pair
from ..latents.latent_set import LatentSet
from ..latents.open_latents import CACHED, latent_batches, open_latents
from ..metrics.decoder.sweep import DecoderMetric
from ..records.analysis import Analysis, Sample, Subject
from ..records.coverage import Coverage
from ..records.provenance import provenance
from ..seeding import spread
from .album import Album
from .encodings import Encodings
from .latents import finish_analysis
from .measure import encoder_notes, mask_notes, tile_notes, tokens_of
from .options import DEFAULTS, AnalysisOptions
from .own_metrics import OwnMetric, checked_metrics

ALONE = "Measured without images: there is no image spectrum to match."


def analyze_latents(
    latents: LatentSet,
    images: ImageSet | None = None,
    *,
    name: str = "latents",
    n_images: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    options: AnalysisOptions = DEFAULTS,
    metrics: Sequence[OwnMetric] = (),
    notes: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Analysis:
    """Measure `n_images` latents (None: all) spread over the set, in the order of the images where these are known.

    Other arguments as in `measure.analyze`.

    Raises:
        ValueError: when latents and images do not pair, fewer than two latents can be used, or latents do not vary.
    """
    own = checked_metrics(metrics)
    pairs = pair(latents, images) if images else None
    masks = open_masks(options.masks, images) if options.masks and images else None
    bad = list(map(str, (*latents.info.bad, *(images.bad if images else ()))))
    h, w = latents.info.grid
    # In the order of the images, so that they are those that an autoencoder is measured on.
    in_order = sorted(range(len(latents)), key=pairs.indices.__getitem__) if pairs else range(len(latents))
    groups = [images.groups[pairs.indices[row]] for row in in_order] if images and pairs and images.groups else None
    rows = [in_order[position] for position in spread_in_groups(groups, len(latents), n_images)]
    done, measured = 0, list[int]()
    with Encodings(seed) as encodings:
        for batch in latent_batches(latents, batch_size, rows):
            bad += map(str, batch.bad)
            done += len(batch.rows) + len(batch.bad)
            progress(done, len(rows))
            indices = [pairs.indices[row] for row in batch.rows] if pairs else []
            kept, x = _read(images, indices, bad) if images else (list(range(len(batch.rows))), None)
            if not kept:
                continue
            foreground = masks.read([indices[k] for k in kept], (h, w)) if masks else None
            logvar = None if batch.logvar is None else batch.logvar[kept]
            tokens = None if x is None else tokens_of(options.encoder, x)
            encodings.add(batch.mean[kept], logvar, x, batch.labels[kept], foreground, tokens)
            measured += [indices[k] if pairs else batch.rows[k] for k in kept]
        if (n_measured := encodings.n_images) < 2:
            raise ValueError(f"{latents.source}: fewer than two latents can be measured; standard errors need them")
        n_readable, size = len(latents) - (done - n_measured), images.size if images else 0
        requests: dict[str, object] = {
            "LPIPS": options.perceptual,
            "rFID": options.features,
            "generation without training": options.reference,
            "SRSS": None if images else options.masks,
            "the gap to a vision encoder": None if images else options.encoder,
        }
        unmet = [number for number, request in requests.items() if request is not None]
        unmet += [each.key for metric in own if isinstance(metric, DecoderMetric) for each in metric.metrics]
        return finish_analysis(
            encodings,
            latents.info.latent_space or LatentSpace(),
            options,
            Album(size or max(h, w), measured),
            subject=Subject(
                name=name,
                source=latents.source,
                kind=f"cached latents ({latents.layout})",
                factor=size // h if images else 0,
                channels=latents.info.channels,
                stochastic="sample" in encodings.kinds,
                parameters=0,
                digest=latents.digest,
            ),
            sample=Sample(
                latents.source if images is None else images.source,
                latents.info.images.split if latents.info.images else "all",
                Coverage(n_measured, n_readable, encodings.n_classes(), len(latents.info.classes)),
                size,
                fingerprint(images, measured).digest if images else "",
                tuple(bad),
            ),
            provenance=provenance(torch.device("cpu"), torch.float32, seed),
            metrics=own,
            notes=(
                *notes,
                *latents.notes,
                *tile_notes(latents.info.tile, latents.info.image_size or size),
                f"Latents and images are paired {pairs.note}." if pairs else ALONE,
                *((f"{' and '.join(unmet)} cannot be measured on cached latents.",) if unmet else ()),
                *mask_notes(masks),
                *(encoder_notes(options.encoder) if images else ()),
            ),
        )


def _read(images: ImageSet, indices: Sequence[int], bad: list[str]) -> tuple[list[int], Tensor]:
    """Return which of `indices` can be read, and these images (b, 3, H, W); add the others to `bad`."""
    samples = [images[index] for index in indices]
    kept = [k for k, sample in enumerate(samples) if not sample.bad]
    bad += [str(sample.bad[0]) for sample in samples if sample.bad]
    stacked = torch.stack([samples[k].image for k in kept]) if kept else torch.empty(0)
    return kept, stacked


def open_cached(source: str, data: str | None, size: int | None) -> tuple[LatentSet, ImageSet | None]:
    """Open the latents of "latents:FOLDER" and the images of `data`, or else those that the cache names.

    size: side of the images; by default that of the cache if it records one, or of a few images if these are squares of
    one size, or 256.

    Raises:
        ValueError: when `size` is no multiple of the latents' grid.
    """
    latents = open_latents(source.removeprefix(CACHED))
    require_latents(latents)
    choice = latents.info.images
    if data:
        choice = replace(choice, source=data) if choice else ImageChoice(data)
    elif choice is None or not choice.is_available():
        return latents, None
    if size is None:
        size = choice.size or _square_side(choice.source) or DEFAULT_SIZE
    h, w = latents.info.grid
    if h != w or size % h:
        raise ValueError(
            f"{source}: {h} x {w} latents do not fit images of {size} x {size} pixels; give the images' side by --size"
        )
    # Labels of our own caches lie beside the latents; those of other tools' are compared with the images'.
    return latents, choice.open(size, labels=latents.layout != "specmatch")


def _square_side(where: str) -> int | None:
    """Return the side of a few images of a folder if they are squares of one size, as caches have them."""
    if where == "embedded":
        return None
    source = open_source(where, labels=False)
    sides: set[int] = set()
    for item in spread(len(source.names), 8):
        try:
            sides.update(source.frame(item).shown)
        except BadImageError:
            continue
    return sides.pop() if len(sides) == 1 else None
