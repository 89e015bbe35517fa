"""Scores of generated images compared with a reference, with the protocol that they depend on."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from ..data.images import ImageBatch
from ..metrics.images.catalogue import SET_SCORES
from ..metrics.images.score import SetComparison
from ..metrics.images.spectrum_error import band_powers
from ..metrics.images.statistics import ImageStatistics
from ..nets.vision.extractors import Extractor
from ..records.provenance import provenance
from ..records.scores import Evaluation, Protocol, Sampling
from .accumulate import accumulate, reduce_over
from .reference import ROUNDING, Reference, extractor_names

FEW, CUSTOMARY = 2_048, 10_000
"""Numbers of images below which Fréchet distances come with a warning, and with a milder one."""

SCORES = tuple(score for score in SET_SCORES if "generation" in score.of)


def evaluate_generation(
    name: str,
    batches: Iterable[Tensor | ImageBatch],
    reference: Reference,
    extractor: Extractor | None = None,
    *,
    reconstructions: Reference | None = None,
    sampling: Sampling | None = None,
    accelerator: Accelerator | None = None,
    seed: int = 0,
    warnings: tuple[str, ...] = (),
) -> Evaluation:
    """Score batches of images (b, 3, size, size) in [-1, 1]; each process gives its share, numbered.

    Without an extractor only scores that need no weights are computed. reconstructions: a reference of what the
    generator's autoencoder decodes images to, of `compute_decoded_reference`. Every process returns the same record.

    Raises:
        ValueError: before any image is read, for references of another extractor, and for reconstructions that no
            autoencoder decoded; for features of another size, and for fewer than two images.
    """
    references = (reference, *((reconstructions,) if reconstructions else ()))
    for one in references:
        _require_same_extractor(one, extractor)
    if reconstructions and not reconstructions.autoencoder_digest:
        raise ValueError(
            f"{reconstructions.source} is a reference of images as they are: make one of reconstructions by `specmatch "
            "evaluate reference DATA --autoencoder AUTOENCODER`"
        )
    share = accumulate(batches, extractor, SCORES)
    statistics = reduce_over(share, accelerator)
    if statistics.n_images < 2:
        raise ValueError(f"{name}: at least 2 images are needed, got {statistics.n_images}")
    if statistics.n_features and reference.statistics.n_features not in (0, statistics.n_features):
        raise ValueError(
            f"{extractor.name if extractor else name} gives {statistics.n_features} features, but reference "
            f"{reference.source} has {reference.statistics.n_features}: name the extractor that it was made by"
        )
    comparison = SetComparison(statistics, reference.statistics, reference.source, reference.n_images, seed=seed)
    if reconstructions:
        decoded, floor = reconstructions.statistics, reconstructions.floor
        comparison = comparison._replace(
            reconstructions=decoded, n_reconstructions=reconstructions.n_images, floor=floor
        )
    return Evaluation(
        name=name,
        kind="generation",
        scores={key: number for score in SCORES for key, number in score.compare(comparison).items()},
        spectrum=band_powers(comparison),
        protocol=replace(protocol(statistics, reference, extractor, sampling), **_decoded_by(reconstructions)),
        provenance=provenance(share.device, share.dtype, seed),
        warnings=(
            *warnings,
            *unread(statistics),
            *(few_images(statistics.n_images) if extractor else ()),
            *(line for one in references for line in _warnings(one, statistics.size, extractor)),
            *(_confound(reconstructions, sampling) if reconstructions else ()),
        ),
    )


def protocol(
    statistics: ImageStatistics, reference: Reference, extractor: Extractor | None, sampling: Sampling | None = None
) -> Protocol:
    """Return what scores of these images depend on."""
    counts = statistics.n_images, reference.n_images, statistics.size
    names = reference.source, reference.digest, *extractor_names(extractor)
    coverage = statistics.images, statistics.kept_images, reference.images, reference.kept_images
    return Protocol(*counts, *names, ROUNDING, sampling, *coverage)


def _require_same_extractor(reference: Reference, extractor: Extractor | None) -> None:
    known = reference.statistics.n_features and reference.extractor_digest
    if extractor and known and extractor_names(extractor)[1:] != (reference.extractor_digest, reference.resizer):
        raise ValueError(
            f"reference {reference.source} was made by {reference.extractor} {reference.extractor_digest}, but the "
            f"images' features are of {extractor.name} {extractor.digest}: compute the reference again, or use that "
            "extractor"
        )


def _decoded_by(reconstructions: Reference | None) -> dict[str, Any]:
    """Return what the protocol says of the reconstructions."""
    if reconstructions is None:
        return {}
    return {
        "reconstructions": f"{reconstructions.source} by {reconstructions.autoencoder}",
        "reconstructions_digest": reconstructions.digest,
        "n_reconstructions": reconstructions.n_images,
        "reconstructions_size": reconstructions.statistics.size,
    }


def _confound(reconstructions: Reference, sampling: Sampling | None) -> Iterator[str]:
    yield (
        "the Fréchet distance to reconstructions has a confound: a decoder that blurs brings all that it decodes "
        "nearer together; read it beside its floor and the distance of reconstructions to their images"
    )
    if sampling and sampling.autoencoder_digest not in ("", reconstructions.autoencoder_digest):
        yield (
            f"the samples were decoded by {sampling.autoencoder} {sampling.autoencoder_digest}, the reconstructions by "
            f"{reconstructions.autoencoder} {reconstructions.autoencoder_digest}"
        )


def few_images(n: int) -> Iterator[str]:
    """Yield the warning that so many images call for, if any."""
    if n < FEW:
        yield f"{n:,} images are few: Fréchet distances are biased upward, and comparable at this number alone"
    elif n < CUSTOMARY:
        yield f"{n:,} images: Fréchet distances are comparable at this number alone (papers take 50,000, some 10,000)"


def unread(statistics: ImageStatistics) -> Iterator[str]:
    """Yield a warning of files that could not be used, if there are any."""
    if bad := statistics.bad:
        yield f"{len(bad)} of {statistics.n_images + len(bad)} files could not be used, the first {bad[0]}"


def _warnings(reference: Reference, size: int, extractor: Extractor | None) -> Iterator[str]:
    """Yield the warnings that a reference calls for, which images of this size are compared with."""
    name = f"{'reconstructions of' if reference.autoencoder_digest else 'reference'} {reference.source}"
    if reference.n_bad:
        n = reference.n_images + reference.n_bad
        yield f"{name}: {reference.n_bad} of {n} files could not be used"
    if extractor is not None:
        if 0 < reference.n_images < FEW:
            yield f"{name}: a set of {reference.n_images} images is small: its own sampling error is in every distance"
        if not reference.statistics.n_features:
            yield f"{name}: there are no features, so nothing was scored by {extractor.name}"
        elif not reference.extractor_digest:
            yield f"{name}: nothing says which extractor and resizer made it"
    if (theirs := reference.statistics.size) not in (0, size):
        yield f"{name}: images of {size} pixels a side are compared with images of {theirs}"
