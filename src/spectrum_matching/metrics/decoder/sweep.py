"""One pass of tests of a decoder and its encoder: what each metric keeps of an image, and its numbers at the end."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...seeding import spread
from ..metric import Metric
from ..rows import claim

USUAL_TESTS = 50
"""Images that `analyze` tests a decoder on by default."""


@dataclass(frozen=True)
class DecoderTest:
    """Options of the tests of an autoencoder.

    decode: latents (b, c, h, w) → images (b, 3, H, W) in [−1, 1], float32. encode: images → posterior means.
    channel_stds (c,): of posterior means. size: (H, W). grid: (h, w). multiple: divisor of the image sides that the
    encoder takes. seed: of test noise. perceptual: distance of two batches of images (b,), or None.
    """

    decode: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    channel_stds: Tensor
    size: tuple[int, int]
    grid: tuple[int, int]
    multiple: int
    seed: int
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class DecoderBatch:
    """Images (b, 3, H, W), their posterior means and what these decode to; numbers (b,): of the images in the sweep.

    note: adds a sentence that a reader of the numbers must know.
    """

    test: DecoderTest
    images: Tensor
    latents: Tensor
    output: Tensor
    numbers: tuple[int, ...]
    note: Callable[[str], None]

    def of(self, numbers: Container[int]) -> "DecoderBatch":
        """Return the images of these numbers alone, which may be none."""
        kept = [k for k, number in enumerate(self.numbers) if number in numbers]
        tensors = {name: getattr(self, name)[kept] for name in ("images", "latents", "output")}
        return replace(self, numbers=tuple(self.numbers[k] for k in kept), **tensors)


@dataclass(frozen=True)
class DecoderMetric:
    """One metric of a decoder, or several that share what they keep of an image.

    metrics: what their numbers mean. numbers: from a finished sweep to a number for each of them, or fewer where one
    does not apply. collect: what to keep of a batch by name, one row an image. n_images: of how many of `USUAL_TESTS`
    images, in proportion of more, spread over those of the sweep; None for all. passes: how often each of these is
    encoded or decoded, which progress counts.
    """

    metrics: tuple[Metric, ...]
    numbers: Callable[["DecoderSweep"], Mapping[str, Measurement]]
    collect: Callable[[DecoderBatch], Mapping[str, Tensor]]
    n_images: int | None = None
    passes: Callable[[DecoderTest], int] = lambda test: 1

    def chosen(self, n_tests: int) -> Sequence[int]:
        """Return the positions of its images among those of a sweep."""
        return spread(n_tests, self.n_images and self.n_images * max(n_tests, USUAL_TESTS) // USUAL_TESTS)


def decoder_work(test: DecoderTest, metrics: Sequence[DecoderMetric], n_tests: int) -> int:
    """Return how often images are encoded or decoded in a sweep over `n_tests` of them."""
    return n_tests + sum(metric.passes(test) * len(metric.chosen(n_tests)) for metric in metrics)


class DecoderSweep:
    """Values that metrics kept of the tested images. n: their number. notes: caveats for the reader of the numbers.

    n_tests: number of images that will be added.
    """

    def __init__(self, test: DecoderTest, metrics: Sequence[DecoderMetric], n_tests: int) -> None:
        self.test, self.n = test, 0
        self.notes: list[str] = []
        self._metrics = metrics
        self._chosen = [frozenset(metric.chosen(n_tests)) for metric in metrics]
        self._rows: dict[str, list[Tensor]] = {}

    def add(self, images: Tensor, latents: Tensor, passed: Callable[[int], None] = lambda n: None) -> None:
        """Add a batch of images and their posterior means.

        passed: called after each metric with the number of passes that it took, which sum up to `decoder_work`.
        """
        numbers = tuple(range(self.n, self.n + len(images)))
        whole = DecoderBatch(self.test, images, latents, self.test.decode(latents), numbers, self._note)
        names = set[str]()
        for metric, chosen in zip(self._metrics, self._chosen, strict=True):
            batch = whole.of(chosen)
            collected = metric.collect(batch) if batch.numbers else {}
            claim(collected, names)
            for name, rows in collected.items():
                self._rows.setdefault(name, []).append(rows.cpu().double())
            passed(metric.passes(self.test) * len(batch.numbers))
        passed(len(images))
        self.n += len(images)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def rows(self, name: str) -> Tensor:
        """Return all rows of one name (n, …) in the order of the images; empty if there are none."""
        return torch.cat(self._rows[name]) if name in self._rows else torch.empty(0, dtype=torch.float64)

    def numbers(self) -> dict[str, Measurement]:
        """Return numbers by the keys of their metrics, refused with a reason where they are undefined."""
        numbers: dict[str, Measurement] = {}
        for metric in self._metrics:
            numbers |= metric.numbers(self)
        return numbers
