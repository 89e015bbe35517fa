"""How long does interpolation take, and what would 50,000 images against 1.28 million cost?

Random latents, so that no neighbour is found early. `whole`: all that a generative metric adds to an analysis, of 5,000
images against 5,000 reference latents of 8 × 8 × 8: search and draw in raw and in unit scale, sampling, decoding by the
preset `tiny` at 32 pixels, 256 features by a random projection, Fréchet distances to two sets with their standard
errors. `search`: of latents of 4 × 32 × 32, whose operations a second, times those of 50,000 against 1.28 million, are
the plan in docs/forecast.md. Seconds are of processors at work, which other programs beside this one do not change.

    python bench/how_fast_is_the_forecast.py [--json PATH] [--threads N] [--images N]
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from machine import describe as describe_machine
from spectrum_matching.latents.statistics import latent_space
from spectrum_matching.metrics.generative.interpolation import INTERPOLATION, UNIT_INTERPOLATION, find_neighbours
from spectrum_matching.metrics.generative.model import Fitting
from spectrum_matching.metrics.images.frechet import frechet_measurement
from spectrum_matching.metrics.images.statistics import ImageStatistics
from spectrum_matching.metrics.latents.moments import ChannelMoments
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.seeding import indexed_noise

PLANNED = {"images": 50_000, "reference": 1_281_167}
LARGE = (4, 32, 32)
BATCH = 64


class MemoryLatents:
    """`ReferenceLatents` of a tensor."""

    def __init__(self, latents: Tensor) -> None:
        self.latents, self.n, self.shape = latents, len(latents), tuple(latents.shape[1:])
        self.labels = torch.full((self.n,), -1)
        moments = ChannelMoments()
        moments.add(latents)
        self.space = latent_space(moments)

    def blocks(self, size: int):
        return zip(self.latents.split(size), self.labels.split(size), strict=True)

    def read(self, indices) -> Tensor:
        return self.latents[list(indices)]


def fitting(n_images: int, n_reference: int, shape: tuple[int, int, int]) -> Fitting:
    generator = torch.Generator().manual_seed(0)
    sets = (MemoryLatents(torch.randn(n, *shape, generator=generator)) for n in (n_reference, n_images))
    return Fitting(*sets)


class Clock:
    """Processor seconds by part, of what happens between two calls of `lap`."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, part: str) -> None:
        now = time.process_time()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now


def whole(n: int) -> dict[str, float]:
    """Processor seconds of each part, of both readings together."""
    given, decoder = fitting(n, n, (8, 8, 8)), Autoencoder.from_preset("tiny").eval()
    projection = torch.randn(3 * 32 * 32, 256, generator=torch.Generator().manual_seed(1)) / 55

    def statistics(images: Tensor) -> ImageStatistics:
        kept = ImageStatistics()
        for batch in images.split(BATCH):
            kept.add(batch, lambda x: x.flatten(1) @ projection)
        return kept

    targets = [statistics(torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(k)) * 2 - 1) for k in (2, 3)]
    clock = Clock()
    for metric in (INTERPOLATION, UNIT_INTERPOLATION):
        model = metric.fit(given)
        clock.lap("search and draw")
        latents = [model.sample(range(k, min(k + BATCH, n))) for k in range(0, n, BATCH)]
        clock.lap("sampling")
        with torch.inference_mode():
            images = torch.cat([decoder.decode(batch) for batch in latents])
        clock.lap("decoding")
        generated = statistics(images)
        clock.lap("features")
        for target in targets:
            rows = generated.rows("features"), target.rows("features")
            frechet_measurement(generated.moments["features"], target.moments["features"], n, *rows)
        clock.lap("distances")
    return clock.parts | {"total": sum(clock.parts.values())}


def search(n_images: int, n_reference: int) -> dict[str, float]:
    """Processor seconds of the search, and its multiplications and additions a second."""
    given = fitting(n_images, n_reference, LARGE)
    start = time.process_time()
    find_neighbours(given)
    spent = time.process_time() - start
    operations = 2 * n_images * n_reference * given.evaluated.latents[0].numel()
    return {"images": n_images, "reference": n_reference, "seconds": spent, "operations_a_second": operations / spent}


def posterior_seconds(n: int = 1000) -> float:
    """Processor seconds of the noise of one posterior sample in the large shape, as every reading of a cache takes."""
    clock = Clock()
    indexed_noise((n, *LARGE), range(n), "reference", 0)
    clock.lap("noise")
    return clock.parts["noise"] / n


def plan(operations_a_second: float, noise: float) -> dict[str, float]:
    """Hours of one processor for one reading of `PLANNED` in the large shape, and what lies in memory and on disk.

    Held: evaluated latents in float32. Cached: mean and log-variance of the reference in float16.
    """
    numbers = LARGE[0] * LARGE[1] * LARGE[2]
    operations = 2 * PLANNED["images"] * PLANNED["reference"] * numbers
    return PLANNED | {
        "operations": operations,
        "search_hours": operations / operations_a_second / 3600,
        "noise_hours": PLANNED["reference"] * noise / 3600,
        "gigabytes_held": PLANNED["images"] * numbers * 4 / 1e9,
        "gigabytes_cached_float16": PLANNED["reference"] * numbers * 2 * 2 / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=5000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found, noise = search(arguments.images, 2 * arguments.images), posterior_seconds()
    results = {
        "machine": describe_machine(),
        "images": arguments.images,
        "whole": whole(arguments.images),
        "search": found,
        "plan": plan(found["operations_a_second"], noise),
    }
    print(json.dumps(results, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
