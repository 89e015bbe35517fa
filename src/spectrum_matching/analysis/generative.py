"""Generation without training: fit models to reference latents, decode what they draw, compare it with the images.

Every `GenerativeMetric` of the catalogue is measured in the same way: as many images as were measured are decoded from
what its model draws, and their features compared with those of the images and of the images' reconstructions. Memory
holds moments, the features of at most 10,000 images of a set, and what a model keeps of the reference; latents that are
encoded for it lie in a temporary file, those of a cache where they are.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..data.images import ImageSet
from ..files.digests import digest_weights
from ..latents.latent_set import LatentSet
from ..metrics.catalogue import GENERATIVE_METRICS
from ..metrics.generative.model import Fitting, GenerativeMetric, LatentModel, Progress
from ..metrics.images.fidelity import Fidelity
from ..metrics.images.frechet import FLOOR_METRIC, frechet_measurement, frechet_refusal
from ..metrics.images.statistics import ImageStatistics, RunningMoments
from ..nets.autoencoder import Autoencoder
from ..nets.vision.extractors import Extractor
from ..records.coverage import Coverage
from ..records.generative import Generative
from ..records.measurement import Measurement
from ..seeding import spread_keys
from .encodings import Encodings
from .options import AnalysisOptions, ReferenceData
from .reference_latents import open_reference_latents

log = logging.getLogger(__name__)


def check_reference(name: str, autoencoder: Autoencoder, size: int, options: AnalysisOptions) -> None:
    """Check that the reference, if there is one, fits the autoencoder at this size of images.

    Raises:
        ValueError: for cached latents of another shape, or of another autoencoder.
    """
    if options.reference is None or isinstance(options.reference.data, ImageSet):
        return
    latents = options.reference.data
    side = size // autoencoder.factor
    expected, found = (autoencoder.channels, side, side), (latents.info.channels, *latents.info.grid)
    if found != expected:
        shapes = [" x ".join(map(str, shape)) for shape in (found, expected)]
        raise ValueError(
            f"{latents.source} holds latents of {shapes[0]}, but {name} makes {shapes[1]} of images of {size} pixels: "
            "cache the reference images with this autoencoder at this size"
        )
    known, digest = latents.info.autoencoder_digest, digest_weights(autoencoder)
    if known not in ("", digest):
        raise ValueError(
            f"{latents.source} holds latents of another autoencoder ({latents.info.autoencoder} {known}) than {name} "
            f"({digest}): cache the reference images with this one, or name the images themselves"
        )


class Steps:
    """Progress over a sequence of parts whose sizes add up to `total`."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._end = progress, total, 0

    def part(self, size: int) -> Progress:
        """Begin the next part; its own progress may count in other units."""
        start, self._end = self._end, self._end + size
        return lambda done, total: self._progress(start + size * done // max(total, 1), self._total)


def generation_work(options: AnalysisOptions, n_images: int) -> int:
    """Return how many latents are encoded, fitted to and decoded beside those of the images: what progress counts."""
    if options.reference is None:
        return 0
    n = options.reference.n_chosen
    return isinstance(options.reference.data, ImageSet) * n + len(GENERATIVE_METRICS) * (n + n_images)


def measure_generation(
    autoencoder: Autoencoder,
    encodings: Encodings,
    fidelity: Fidelity,
    options: AnalysisOptions,
    *,
    device: torch.device,
    batch_size: int,
    seed: int,
    progress: Progress,
) -> Generative | None:
    """Measure every generative metric; None without a reference.

    autoencoder: in eval mode on the device. encodings, fidelity: of the images measured, in one order. progress: called
    with the work done and all of it, as `generation_work` counts it. Too few images for a Fréchet distance refuse all
    numbers before any work.

    Raises:
        ValueError: as `open_reference_latents` does.
    """
    reference, features = options.reference, options.features
    if reference is None or features is None:
        return None
    n, data = fidelity.images.n_images, reference.data
    numbers: dict[str, Measurement] = {}
    steps, digest = Steps(progress, generation_work(options, n)), ""
    coverage = Coverage(reference.n_chosen, len(data), 0, len(data.classes))
    if refusal := frechet_refusal(n, fidelity.images.n_features):
        keys = [metric.key for entry in GENERATIVE_METRICS for metric in entry.metrics]
        numbers = dict.fromkeys((*keys, FLOOR_METRIC.key), Measurement(None, refused=refusal))
        steps.part(generation_work(options, n))(1, 1)
    else:
        encoding = steps.part(isinstance(data, ImageSet) * reference.n_chosen)
        opened = open_reference_latents(
            reference, autoencoder, device=device, batch_size=batch_size, seed=seed, progress=encoding
        )
        with opened as (latents, digest):
            n_classes = len(latents.labels[latents.labels >= 0].unique())
            coverage = Coverage(latents.n, len(data), n_classes, len(data.classes))
            # Fits need float64, which not every accelerator has.
            fitting = Fitting(
                latents,
                encodings.stored(encodings.kinds[-1]),
                seed,
                device if device.type == "cuda" else torch.device("cpu"),
            )
            for metric in GENERATIVE_METRICS:
                log.info("%s", metric.metrics[0].title)
                fitted = fitting._replace(progress=steps.part(reference.n_chosen))
                drawn = _Images(autoencoder, features, device, batch_size, steps.part(n))
                numbers |= _measure(metric, fitted, drawn, fidelity)
        numbers[FLOOR_METRIC.key] = floor(fidelity.output)
    known = features if isinstance(features, Extractor) else None
    return Generative(
        measurements=numbers,
        reference=data.source,
        reference_digest=digest,
        holds=_held(reference, autoencoder),
        coverage=coverage,
        n_evaluated=n,
        n_generated=0 if refusal else n,
        extractor=known.name if known else "",
        extractor_digest=known.digest if known else "",
        resizer=known.resizer if known else "",
    )


@dataclass(frozen=True)
class _Images:
    """Statistics of the images that an autoencoder decodes latents to."""

    autoencoder: Autoencoder
    features: Callable[[Tensor], Tensor]
    device: torch.device
    batch_size: int
    progress: Progress

    def of(self, model: LatentModel, n: int) -> ImageStatistics:
        """Decode the first n samples of a model; ValueError where these are not finite."""
        statistics = ImageStatistics()
        for start in range(0, n, self.batch_size):
            latents = model.sample(range(start, min(start + self.batch_size, n)))
            statistics.add(self.autoencoder.decode(latents.to(self.device)).float(), self.features)
            self.progress(statistics.n_images, n)
        return statistics


def _measure(metric: GenerativeMetric, fitting: Fitting, drawn: _Images, fidelity: Fidelity) -> dict[str, Measurement]:
    """Return both distances of one metric; a model that cannot be fitted, or decodes to no image, is refused."""
    targets = fidelity.images, fidelity.output
    try:
        generated = drawn.of(metric.fit(fitting), fidelity.images.n_images)
    except ValueError as error:
        return {each.key: Measurement(None, refused=str(error)) for each in metric.metrics}
    return {
        each.key: frechet_measurement(
            generated.moments["features"],
            target.moments["features"],
            target.n_images,
            generated.rows("features"),
            **{"paired" if metric.is_paired else "independent": target.rows("features")},
        )
        for each, target in zip(metric.metrics, targets, strict=True)
    }


def floor(statistics: ImageStatistics) -> Measurement:
    """Return the Fréchet distance of one half to the other of those images whose features are kept."""
    rows, indices = statistics.rows("features"), statistics.rows("indices")
    assert rows is not None
    assert indices is not None
    is_second = spread_keys(indices) >= 0.5
    one, other = (RunningMoments().add(rows[chosen]) for chosen in (~is_second, is_second))
    return frechet_measurement(one, other, other.count)


def _held(reference: ReferenceData, autoencoder: Autoencoder) -> Literal["sample", "mean"]:
    """Return what the reference holds of each posterior; the mean of one without variance is its sample."""
    is_mean = isinstance(reference.data, LatentSet) and reference.data.info.holds == "mean"
    return "mean" if is_mean and autoencoder.is_stochastic else "sample"
