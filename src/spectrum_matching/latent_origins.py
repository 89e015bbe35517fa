"""Where the latents of a cache come from: an autoencoder and images, or the cache of another tool."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import __version__
from .analysis.measure import check_size, evaluating
from .analysis.subjects import CACHED, ToCache
from .data.array_files import BadLatentError
from .data.images import BadFile
from .data.latent_cache import CacheIndex
from .data.latent_layouts import ImageChoice
from .data.latent_sources import LOGVAR_RANGE, LatentRow
from .data.latents import LatentSet
from .data.order import batches_at
from .nets.autoencoder import Autoencoder
from .provenance import commit, weights_digest


class Stored(NamedTuple):
    """How a cache is to hold its latents; see `cache_latents`."""

    dtype: str
    flips: bool
    shard_images: int


class LatentOrigin(NamedTuple):
    """What the cache will say of its latents, and what makes a shard: its tensors and the bad files among its images.

    `shard` takes the number of a shard, the places of its images, and what to tell how many more are done.
    """

    index: CacheIndex
    shard: Callable[[int, range, Callable[[int], None]], tuple[dict[str, Tensor], tuple[BadFile, ...]]]


def encoded(
    source: str, autoencoder: Autoencoder, to_cache: ToCache, stored: Stored, *, batch_size: int, workers: int,
    device: torch.device,
) -> LatentOrigin:  # fmt: skip
    """Posteriors of images. ValueError, when a shard is made, for latents that are not finite or do not fit the dtype."""
    images, choice = to_cache
    check_size(source, autoencoder, images.size)
    grid = images.size // autoencoder.factor
    index = CacheIndex(
        source=choice.source,
        source_digest=images.digest,
        n_source=len(images),
        split=choice.split,
        held_out=choice.held_out,
        seed=choice.seed,
        image_size=images.size,
        classes=images.classes,
        autoencoder=source,
        autoencoder_digest=weights_digest(autoencoder),
        holds="posterior" if autoencoder.is_stochastic else "mean",
        channels=autoencoder.channels,
        grid=(grid, grid),
        factor=autoencoder.factor,
        bad=images.bad,
        **_shared(stored),
    )

    def shard(
        number: int, places: range, advance: Callable[[int], None]
    ) -> tuple[dict[str, Tensor], tuple[BadFile, ...]]:
        rows = _Rows(index)
        bad: list[BadFile] = []
        # An encoder that draws at random then draws the same for a shard whichever process makes it.
        with evaluating(autoencoder, device, None, seed=number) as place:
            for batch_places, batch in batches_at(images, batch_size, places, workers=workers):
                bad += batch.bad
                if batch_places:
                    x = batch.images.to(place, non_blocking=True)
                    names = [images.names[at] for at in batch_places]
                    for suffix in ("", "_flip") if stored.flips else ("",):
                        posterior = autoencoder.encode(x.flip(-1) if suffix else x)
                        rows.add(f"mean{suffix}", posterior.mean, names)
                        if index.holds == "posterior":
                            rows.add(f"logvar{suffix}", posterior.logvar.clamp(*LOGVAR_RANGE), names)
                    rows.add_numbers(batch_places, batch.labels if images.classes else None)
                advance(len(batch_places) + len(batch.bad))
        return rows.joined(), tuple(bad)

    return LatentOrigin(index, shard)


def imported(latents: LatentSet, stored: Stored) -> LatentOrigin:
    """Moments and labels as they lie in another cache. ValueError for mirrored images that it does not hold."""
    if stored.flips and not latents.has_flips:
        raise ValueError(f"{latents.source} holds no latents of mirrored images: import it without --flips")
    choice = latents.choice if latents.layout == "specmatch" else None
    labels = latents.labels()
    is_labelled = any(label >= 0 for label in labels)
    size, (h, w) = choice.size if choice and choice.size else 0, latents.grid
    choice = choice or ImageChoice(f"{CACHED}{latents.source}")
    index = CacheIndex(
        source=choice.source,
        source_digest=latents.image_digest or latents.digest,
        n_source=max(latents.n_images[1], len(latents)),
        split=choice.split,
        held_out=choice.held_out,
        seed=choice.seed,
        image_size=size,
        classes=latents.classes,
        autoencoder=latents.autoencoder,
        autoencoder_digest=latents.digest,
        holds=latents.holds,
        channels=latents.channels,
        grid=(h, w),
        factor=size // h,
        bad=latents.bad,
        **_shared(stored),
    )

    def shard(
        number: int, places: range, advance: Callable[[int], None]
    ) -> tuple[dict[str, Tensor], tuple[BadFile, ...]]:
        rows = _Rows(index)
        bad: list[BadFile] = []
        for item in places:
            name = latents.name(item)
            try:
                both = [latents[item], *([latents.mirrored(item)] if stored.flips else [])]
            except BadLatentError as error:
                bad.append(BadFile(name, str(error)))
            else:
                for suffix, row in zip(("", "_flip"), both, strict=False):
                    rows.add(f"mean{suffix}", row.mean[None], [name])
                    if row.logvar is not None:
                        rows.add(f"logvar{suffix}", row.logvar[None], [name])
                key = both[0].image
                rows.add_numbers(
                    [key if isinstance(key, int) else item],
                    torch.tensor([labels[item]]) if is_labelled else None,
                )
            advance(1)
        return rows.joined(), tuple(bad)

    return LatentOrigin(index, shard)
