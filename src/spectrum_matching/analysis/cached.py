"""Everything that can be measured of cached latents, beside their images or alone: no autoencoder takes part."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.decode import BadImageError
from ..data.images import ImageChoice, ImageSet
from ..data.masks import open_masks
from ..data.selection import DEFAULT_SIZE
from ..data.sources import open_source
from ..latent_space import LatentSpace
from ..latents.alignment_targets import require_latents
from ..latents.dataset import CACHED, LatentSet, latent_batches, open_latents, spread_rows
from ..latents.foreign.pairing import pair
from ..records.analysis import Analysis, Sample, Subject
from ..records.provenance import provenance
from .album import Album
from .encodings import Encodings
from .latents import measure_latents
from .measure import foreground_of, mask_notes, said
from .options import NO_EXTRAS, Extras
from .verdict import with_findings


def analyze_latents(
    latents: LatentSet,
    images: ImageSet | None = None,
    *,
    name: str = "latents",
    n_images: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    extras: Extras = NO_EXTRAS,
    notes: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Analysis:
    """Measure `n_images` latents (None: all): those of the first images, or, without images, spread over the set.

    See `measure.analyze`. ValueError where latents and images do not pair, where
    fewer than two latents can be used, and for latents that do not vary.
    """
    pairs = pair(latents, images) if images else None
    masks = open_masks(extras.masks, images) if extras.masks and images else None
    bad = said(latents.bad) + (said(images.bad) if images else [])
    h, w = latents.grid
    # The first images, where they are known: those that an autoencoder is measured on.
    in_order = sorted(range(len(latents)), key=pairs.indices.__getitem__)[:n_images] if pairs else None
    rows = spread_rows(latents, n_images) if in_order is None else in_order
    done = 0
    with Encodings(seed) as encodings:
        for batch in latent_batches(latents, batch_size, rows):
            bad += said(batch.bad)
            done += len(batch.rows) + len(batch.bad)
            progress(done, len(rows))
            places = [pairs.indices[row] for row in batch.rows] if pairs else []
            kept, x = _read(images, places, bad) if images else (list(range(len(batch.rows))), None)
            if not kept:
                continue
            foreground = foreground_of(masks, [places[k] for k in kept], (h, w)) if masks else None
            logvar = None if batch.logvar is None else batch.logvar[kept]
            encodings.add(batch.mean[kept], logvar, x, batch.labels[kept], foreground)
        if (n_seen := encodings.n_images) < 2:
            raise ValueError(f"{latents.source}: fewer than two latents can be measured; uncertainties need them")
        size = images.size if images else 0
        space = latents.latent_space or LatentSpace()
        album = Album(size or max(h, w))
        measured = measure_latents(name, encodings, space, extras, album, seed)
        flat = encodings.notes()
    alone = () if images else ("Measured without images: there is no spectrum to match, and nothing is said of it.",)
    left_out = [what for what, asked in _asked(extras).items() if asked and (images is None or what != "SRSS")]
    unmet = (
        (f"{' and '.join(left_out)} cannot be had of cached latents{'' if images else ' alone'}.",) if left_out else ()
    )
    source = latents.source if images is None else images.source
    return with_findings(
        Analysis(
            subject=Subject(
                name=name,
                source=latents.source,
                kind=f"cached latents ({latents.layout})",
                factor=size // h if images else 0,
                channels=latents.channels,
                stochastic="sample" in encodings.kinds,
                parameters=0,
                digest=latents.digest,
            ),
            sample=Sample(
                source,
                latents.choice.split if latents.choice else "all",
                n_seen,
                size,
                images.digest if images else "",
                tuple(bad),
            ),
            provenance=provenance(torch.device("cpu"), torch.float32, seed),
            latent_shape=(latents.channels, h, w),
            **measured._asdict(),
            equivariance=(),
            decoding=None,
            pictures=(),
            latent_pictures=album.latent_pictures(),
            findings=(),
            notes=(
                *notes,
                *latents.notes,
                *((f"Latents and images are paired {pairs.note}.",) if pairs else alone),
                *unmet,
                *flat,
                *mask_notes(masks),
            ),
        )
    )


def _asked(extras: Extras) -> dict[str, bool]:
    """What needs more than latents, and whether it was asked for."""
    return {
        "LPIPS": extras.perceptual is not None,
        "rFID": extras.features is not None,
        "SRSS": extras.masks is not None,
    }


def _read(images: ImageSet, places: Sequence[int], bad: list[str]) -> tuple[list[int], Tensor]:
    """The images that can be read (b, 3, H, W), and which of `places` they are; others are added to `bad`."""
    samples = [images[place] for place in places]
    kept = [k for k, sample in enumerate(samples) if not sample.bad]
    bad += said([sample.bad[0] for sample in samples if sample.bad])
    stacked = torch.stack([samples[k].image for k in kept]) if kept else torch.empty(0)
    return kept, stacked


class CachedImages(NamedTuple):
    """Cached latents and, where they are known, the images that they are of."""

    latents: LatentSet
    images: ImageSet | None


def open_cached(source: str, data: str | None, size: int | None) -> CachedImages:
    """The latents of "latents:FOLDER" and the images of `data`, or else those that the cache says lie beside it.

    size: by default that of the cache where it tells, or the side of the first images where these are squares of one
    size, or 256. ValueError where it is no multiple of the latents' grid.
    """
    latents = open_latents(source.removeprefix(CACHED))
    require_latents(latents)
    where = data or latents.images
    if where is None:
        return CachedImages(latents, None)
    choice = latents.choice or ImageChoice(where)
    size = size or choice.size or _square_side(where) or DEFAULT_SIZE
    h, w = latents.grid
    if h != w or size % h:
        raise ValueError(
            f"{source}: {h} x {w} latents are not of images of {size} x {size} pixels; name the images' side by --size"
        )
    return CachedImages(latents, choice._replace(source=where).open(size))


def _square_side(where: str) -> int | None:
    """The side of the first images of a folder if they are squares of one size, as caches have them."""
    if where == "embedded":
        return None
    source = open_source(where)
    sides: set[int] = set()
    for item in range(min(8, len(source.names))):
        try:
            sides.update(source.size(item))
        except BadImageError:
            continue
    return sides.pop() if len(sides) == 1 else None
