"""Generation without training: fit models to reference latents, decode what they draw, compare it with the images.

Every `GenerativeMetric` of the catalogue is measured in the same way: as many images as were measured are decoded from
what its model draws, and their features compared with those of the images and of the images' reconstructions. Memory
holds moments, the features of at most 10,000 images of a set, and what a model keeps of the reference; latents that are
encoded for it lie in a temporary file, those of a cache where they are.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..data.images import ImageBatch, ImageSet
from ..latents.encoded_by import require_encoded_by
from ..latents.latent_set import LatentSet
from ..metrics.catalogue import GENERATIVE_METRICS
from ..metrics.generative.model import Fitting, GenerativeMetric, LatentModel, Progress, ReferenceLatents
from ..metrics.images.frechet import FLOOR_METRIC, floor, frechet_measurement, frechet_refusal, in_halves
from ..metrics.images.statistics import Extract, ImageStatistics
from ..nets.autoencoder import Autoencoder, eval_mode
from ..nets.vision.extractors import Extractor
from ..records.coverage import Coverage
from ..records.generative import Generative
from ..records.measurement import Measurement
from .options import AnalysisOptions, ReferenceData
from .reference_latents import encode_samples, open_reference_latents
from .tensor_file import TensorFile

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
    require_encoded_by(
        f"{latents.source} holds latents",
        latents.info.autoencoder_digest,
        name,
        autoencoder.digest,
        "cache the reference images with this one, or name the images themselves",
        encoder=latents.info.autoencoder,
    )


class Steps:
    """Progress over a sequence of parts whose sizes add up to `total`."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._end = progress, total, 0

    def part(self, size: int) -> Progress:
        """Begin the next part; its own progress may count in other units."""
        start, self._end = self._end, self._end + size
        return lambda done, total: self._progress(start + size * done // max(total, 1), self._total)


def generation_work(reference: ReferenceData | None, n_images: int, n_drawn: int | None = None) -> int:
    """Return how many latents are encoded, fitted to and decoded beside those of the images: what progress counts."""
    if reference is None:
        return 0
    n, n_drawn = reference.n_chosen, n_images if n_drawn is None else n_drawn
    decoded = (n_images if metric.is_paired else n_drawn for metric in GENERATIVE_METRICS)
    return isinstance(reference.data, ImageSet) * n + len(GENERATIVE_METRICS) * n + sum(decoded)


def measure_generation(
    autoencoder: Autoencoder,
    evaluated: ReferenceLatents,
    images: ImageStatistics,
    output: ImageStatistics,
    reference: ReferenceData,
    extract: Extract,
    *,
    n_drawn: int | None = None,
    indices: Sequence[int] | None = None,
    device: torch.device,
    batch_size: int,
    seed: int,
    progress: Progress,
) -> Generative:
    """Measure every generative metric.

    autoencoder: in eval mode on the device. evaluated, images, output: latents, features and features of the
    reconstructions, collected by `in_halves`, of the images measured, in one order. n_drawn: images of each model that
    is not paired with these; by default as many. indices: of the images, by which the statistics know them; by default
    0, 1, …. progress: called with the work done and all of it, as `generation_work` counts it. Too few images for a
    Fréchet distance refuse all numbers before any work.

    Raises:
        ValueError: as `open_reference_latents` does.
    """
    n, data = images.n_images, reference.data
    n_drawn = n if n_drawn is None else n_drawn
    numbers: dict[str, Measurement] = {}
    work = generation_work(reference, n, n_drawn)
    steps, digest = Steps(progress, work), ""
    coverage = Coverage(reference.n_chosen, len(data), 0, len(data.classes))
    if refusal := frechet_refusal(min(n, n_drawn), images.n_features):
        keys = [metric.key for entry in GENERATIVE_METRICS for metric in entry.metrics]
        numbers = dict.fromkeys((*keys, FLOOR_METRIC.key), Measurement(None, refused=refusal))
        steps.part(work)(1, 1)
    else:
        encoding = steps.part(isinstance(data, ImageSet) * reference.n_chosen)
        opened = open_reference_latents(
            reference, autoencoder, device=device, batch_size=batch_size, seed=seed, progress=encoding
        )
        with opened as (latents, digest):
            n_classes = len(latents.labels[latents.labels >= 0].unique())
            coverage = Coverage(latents.n, len(data), n_classes, len(data.classes))
            # Fits need float64, which not every accelerator has.
            on_device = device if device.type == "cuda" else torch.device("cpu")
            fitting = Fitting(latents, evaluated, seed, on_device)
            for metric in GENERATIVE_METRICS:
                log.info("%s", metric.metrics[0].title)
                fitted, m = (
                    fitting._replace(progress=steps.part(reference.n_chosen)),
                    n if metric.is_paired else n_drawn,
                )
                known_as = indices if metric.is_paired else None
                drawn = _Images(autoencoder, extract, device, batch_size, m, steps.part(m), known_as)
                numbers |= _measure(metric, fitted, drawn, images, output)
        numbers[FLOOR_METRIC.key] = floor(output)
    known = extract if isinstance(extract, Extractor) else None
    return Generative(
        measurements=numbers,
        reference=data.source,
        reference_digest=digest,
        holds=_held(reference, autoencoder),
        coverage=coverage,
        n_evaluated=n,
        n_generated=0 if refusal else n_drawn,
        extractor=known.name if known else "",
        extractor_digest=known.digest if known else "",
        resizer=known.resizer if known else "",
    )


def generate_without_training(
    autoencoder: Autoencoder,
    images: ImageSet,
    reference: ReferenceData,
    extractor: Extractor,
    *,
    n_images: int,
    n_drawn: int,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> tuple[Generative, ImageStatistics]:
    """Measure every generative metric of an autoencoder by itself, on `n_images` spread over a set.

    Other arguments as in `measure_generation`. Return the record, and the statistics of the reconstructions, of which
    `decoded_reference_of` makes a reference.

    Raises:
        ValueError: as `open_reference_latents` does, and for images of which fewer than two can be read.
    """
    statistics, output = ImageStatistics(), ImageStatistics((in_halves,))
    n_chosen = min(n_images, len(images))
    steps = Steps(progress, n_chosen + (work := generation_work(reference, n_chosen, n_drawn)))
    with TensorFile() as file, eval_mode(autoencoder, None, seed=seed) as device:

        def add(batch: ImageBatch, mean: Tensor) -> None:
            statistics.add(batch.images, extractor.extract, batch.indices, batch.labels)
            output.add(autoencoder.decode(mean).float(), extractor.extract, batch.indices, batch.labels)

        evaluated, indices = encode_samples(
            file,
            autoencoder,
            images,
            n_chosen,
            "posterior",
            device=device,
            batch_size=batch_size,
            seed=seed,
            progress=steps.part(n_chosen),
            each=add,
        )
        generative = measure_generation(
            autoencoder,
            evaluated,
            statistics,
            output,
            reference,
            extractor,
            n_drawn=n_drawn,
            indices=indices,
            device=device,
            batch_size=batch_size,
            seed=seed,
            progress=steps.part(work),
        )
    return generative, output


@dataclass(frozen=True)
class _Images:
    """Statistics of n images that an autoencoder decodes latents to."""

    autoencoder: Autoencoder
    extract: Extract
    device: torch.device
    batch_size: int
    n: int
    progress: Progress
    indices: Sequence[int] | None = None

    def of(self, model: LatentModel) -> ImageStatistics:
        """Decode the first n samples of a model; ValueError where these are not finite."""
        statistics = ImageStatistics()
        for start in range(0, self.n, self.batch_size):
            batch = range(start, min(start + self.batch_size, self.n))
            decoded = self.autoencoder.decode(model.sample(batch).to(self.device)).float()
            statistics.add(decoded, self.extract, self.indices and [self.indices[i] for i in batch])
            self.progress(statistics.n_images, self.n)
        return statistics


def _measure(
    metric: GenerativeMetric, fitting: Fitting, drawn: _Images, images: ImageStatistics, output: ImageStatistics
) -> dict[str, Measurement]:
    """Return both distances of one metric; a model that cannot be fitted, or decodes to no image, is refused."""
    try:
        generated = drawn.of(metric.fit(fitting))
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
        for each, target in zip(metric.metrics, (images, output), strict=True)
    }


def _held(reference: ReferenceData, autoencoder: Autoencoder) -> Literal["sample", "mean"]:
    """Return what the reference holds of each posterior; the mean of one without variance is its sample."""
    is_mean = isinstance(reference.data, LatentSet) and reference.data.info.holds == "mean"
    return "mean" if is_mean and autoencoder.is_stochastic else "sample"
