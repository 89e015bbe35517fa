"""Generated images against a reference: everything that can be said of them, with the protocol it depends on."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from ..metrics.images.generated_spectrum import band_frequencies, spectrum_error
from ..metrics.images.kernel import kernel_distance
from ..metrics.images.precision_recall import NEIGHBOURS, precision_recall
from ..metrics.images.sliced_wasserstein import patch_distance
from ..nets.vision.extractors import Extractor
from ..records.provenance import provenance
from ..records.scores import BandPower, Evaluation, Protocol, Sampling, Score
from ..seeding import seeded
from .accumulate import ImageStatistics, accumulate
from .frechet import around, frechet_score
from .reduce import reduce_over
from .reference import ROUNDING, Reference
from .shares import Numbered

if TYPE_CHECKING:
    from accelerate import Accelerator

FEW, CUSTOMARY = 2_048, 10_000


def evaluate_generation(
    name: str,
    batches: Iterable[Tensor | Numbered],
    reference: Reference,
    extractor: Extractor | None = None,
    *,
    sampling: Sampling | None = None,
    accelerator: "Accelerator | None" = None,
    seed: int = 0,
    warnings: tuple[str, ...] = (),
) -> Evaluation:
    """Score batches of images (b, 3, size, size) in [-1, 1], in each process those of its share, numbered.

    Without an extractor only what needs no weights is scored. Every process reduces, then computes the same record:
    none waits for another. ValueError, before any image is drawn, for a reference of another extractor; for features of
    another size; for fewer than two images.
    """
    reference.check(extractor)
    own = accumulate(batches, extractor)
    statistics = reduce_over(own, accelerator)
    if statistics.n_images < 2:
        raise ValueError(f"{name}: at least 2 images are needed, got {statistics.n_images}")
    n_features = len(statistics.features.mean)
    if n_features and reference.n_features not in (0, n_features):
        raise ValueError(
            f"{extractor.name if extractor else name} gives {n_features} features, but reference {reference.source} "
            f"has {reference.n_features}: name the extractor that it was made by"
        )
    return Evaluation(
        name=name,
        kind="generation",
        scores=(*_of_features(statistics, reference), *weight_free(statistics, reference, seed)),
        spectrum=spectrum(statistics, reference),
        protocol=Protocol(
            n_images=statistics.n_images,
            n_reference=reference.n_images,
            size=statistics.size,
            reference=reference.source,
            reference_digest=reference.digest,
            extractor=extractor.name if extractor else "",
            extractor_digest=extractor.digest if extractor else "",
            resizer=extractor.resizer if extractor else "",
            rounding=ROUNDING,
            sampling=sampling,
        ),
        provenance=provenance(own.device, own.dtype, seed),
        warnings=(*warnings, *_warnings(statistics, reference, extractor)),
    )


def _of_features(statistics: ImageStatistics, reference: Reference) -> Iterator[Score]:
    own, others, n = statistics, reference.statistics, statistics.n_images
    if own.features.count and others.features.count:
        yield frechet_score("fid", own.features, others.features, reference.n_images, own.rows("features"))
    if own.spatial.count and others.spatial.count:
        yield frechet_score("sfid", own.spatial, others.spatial, reference.n_images)
    if own.classes.sums:
        found = own.classes.score()
        error = found.deviation / math.sqrt(found.n_splits)
        yield Score("inception_score", found.value, around(found.value, error) if found.n_splits >= 5 else None, n)
    rows, real = own.rows("features"), others.rows("features")
    if rows is None:
        return
    if real is None:
        why = f"reference {reference.source} holds moments alone, no features of single images"
        yield from (Score(key, None, None, n, why) for key in ("precision", "recall", "kid"))
        return
    if min(len(rows), len(real)) <= NEIGHBOURS:
        why = f"{len(rows)} images and {len(real)} of the reference have no third neighbour"
        yield from (Score(key, None, None, n, why) for key in ("precision", "recall"))
    else:
        precision, recall = precision_recall(rows, real)
        error = math.sqrt(precision * (1 - precision) / len(rows))
        yield Score("precision", precision, around(precision, error), len(rows))
        yield Score("recall", recall, None, len(rows))
    kernel = kernel_distance(rows, real)
    yield Score("kid", kernel.value, around(kernel.value, kernel.standard_error), len(rows))


def weight_free(
    statistics: ImageStatistics, reference: Reference, seed: int, is_paired: bool = False
) -> Iterator[Score]:
    """The error of the spectrum, and the distance of patches in all and by scale; refused for images of other sizes.

    is_paired: each image has its own in the reference, which for the interval is then not held fixed.
    """
    others, n = reference.statistics, statistics.n_images
    power, wanted = statistics.mean_power(), others.mean_power()
    if wanted is None or power is None or others.size != statistics.size:
        why = (
            f"reference {reference.source} holds no images"
            if wanted is None
            else f"the reference's images have {others.size} pixels a side, these {statistics.size}"
        )
        yield from (Score(key, None, None, n, why) for key in ("spectrum_error", "swd"))
        return
    error = spectrum_error(power, wanted, n, statistics.rows("power"), others.rows("power") if is_paired else None)
    interval = None if error.standard_error is None else around(error.mean, error.standard_error, 0.0)
    yield Score("spectrum_error", error.mean, interval, n)
    yield from _patches(statistics, others, seed)


def _patches(statistics: ImageStatistics, others: ImageStatistics, seed: int) -> Iterator[Score]:
    found: list[Score] = []
    for scale in range(len([name for name in statistics.row_names() if name.startswith("patches_")])):
        own, real = statistics.rows(f"patches_{scale}"), others.rows(f"patches_{scale}")
        assert own is not None
        assert real is not None
        distance = patch_distance(own.flatten(0, 1), real.flatten(0, 1), seeded("directions", seed, scale))
        found.append(Score(f"swd_scale_{2**scale}", distance, None, len(own)))
    if not found:
        yield Score("swd", None, None, statistics.n_images, f"images of {statistics.size} pixels hold no 7 × 7 patch")
        return
    values = [score.value for score in found if score.value is not None]
    yield Score("swd", sum(values) / len(values), None, found[0].n)
    yield from found


def spectrum(statistics: ImageStatistics, reference: Reference) -> tuple[BandPower, ...]:
    """Band by band; empty where the reference's images have another size."""
    power, wanted = statistics.mean_power(), reference.statistics.mean_power()
    if power is None or wanted is None or statistics.size != reference.statistics.size:
        return ()
    columns = band_frequencies(statistics.size), power, wanted, spectrum_error(power, wanted).decibels
    return tuple(BandPower(*row) for row in zip(*(column.tolist() for column in columns), strict=True))


def few_images(n: int) -> Iterator[str]:
    """What to say of Fréchet distances of so many images, if anything."""
    if n < FEW:
        yield f"{n} images are few: Fréchet distances are biased upward, and comparable at this number alone"
    elif n < CUSTOMARY:
        yield f"{n} images: Fréchet distances are comparable at this number alone (papers take 50,000, some 10,000)"


def unread(statistics: ImageStatistics) -> Iterator[str]:
    """What to say of files that could not be read, if there were any."""
    if bad := statistics.bad:
        yield f"{len(bad)} images could not be read, the first {bad[0].name}: {bad[0].reason}"


def _warnings(statistics: ImageStatistics, reference: Reference, extractor: Extractor | None) -> Iterator[str]:
    n_reference = reference.n_images
    yield from unread(statistics)
    if extractor is not None:
        yield from few_images(statistics.n_images)
        if 0 < n_reference < FEW:
            yield f"a reference of {n_reference} images is small: its own sampling error is in every distance"
        if not reference.n_features:
            yield f"reference {reference.source} has no features: nothing was scored by {extractor.name}"
        elif not reference.extractor_digest:
            yield f"reference {reference.source} does not say which extractor and resizer made it"
    size = reference.statistics.size
    if size not in (0, statistics.size):
        yield f"images of {statistics.size} pixels a side are compared with a reference of {size}"
