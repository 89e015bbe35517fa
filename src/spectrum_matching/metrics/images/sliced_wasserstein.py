"""Sliced Wasserstein distance of Laplacian-pyramid patches: local structure scale by scale, without any weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ...records.measurement import Measurement
from ...seeding import seeded
from .score import BIAS, SetComparison, SetScore, score_metric
from .statistics import Collected, FeatureBatch

PATCH = 7
N_PATCHES = 8
"""Patches of each image whose rows are kept, at each scale."""

SMALLEST, MOST_SCALES = 16, 8
N_PROJECTIONS = 256
CHUNK = 32
TAPS = (1.0, 4.0, 6.0, 4.0, 1.0)

SWD_METRIC = score_metric(
    key="swd",
    title="sliced Wasserstein, patches",
    unit="deviations",
    source="Karras et al. (arXiv 1710.10196), section 5",
    conventions="mean over the levels of a Laplacian pyramid, 7 × 7 patches, 8 an image of at most 10,000, 256 "
    f"directions, in the reference's deviations by channel; needs no weights; {BIAS}",
)
SCALE_METRICS = tuple(
    replace(SWD_METRIC, key=f"swd_scale_{2**k}", title=f"patches at {f'1/{2**k}' if k else 'full'} size")
    for k in range(MOST_SCALES)
)


def n_scales(size: int) -> int:
    """Return the levels of the pyramid of images of `size` pixels a side: down to 16 pixels, at most 8; 0 below 7."""
    return 0 if size < PATCH else min(MOST_SCALES, max(1, (size // SMALLEST).bit_length()))


def laplacian_pyramid(images: Tensor, n: int) -> list[Tensor]:
    """Split images (b, c, H, W) into `n` levels, finest first: differences of Gaussian-filtered images, and the rest.

    Level k has sides of H / 2^k, rounded up. The upsampled levels sum to the images. Source: Burt and Adelson, 1983.
    """
    levels = []
    for _ in range(n - 1):
        smaller = _blur(images)[..., ::2, ::2]
        levels.append(images - _upsampled(smaller, images))
        images = smaller
    return [*levels, images]


def draw_patches(level: Tensor, n: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Sample `n` patches of 7 × 7 of each image by a generator an image: (b, c, h, w) → (b, n, c·49)."""
    b, c, h, w = level.shape
    draws = torch.stack([torch.rand(2, n, generator=generator) for generator in generators])
    spread = torch.tensor([h - PATCH + 1, w - PATCH + 1])[:, None]
    corners = (draws * spread).long().to(level.device)
    rows, columns = (corners[:, axis, :, None] + torch.arange(PATCH, device=level.device) for axis in (0, 1))
    image = torch.arange(b, device=level.device)[:, None, None, None]
    patches = level.permute(0, 2, 3, 1)[image, rows[..., None], columns[:, :, None]]
    return patches.permute(0, 1, 4, 2, 3).reshape(b, n, c * PATCH * PATCH)


def patch_distance(patches: Tensor, reference: Tensor, generator: torch.Generator) -> float:
    """Return `sliced_wasserstein` of patches (n, 147), (m, 147) in units of the reference's deviation in each channel.

    Source: Karras et al., Progressive Growing of GANs (arXiv 1710.10196), section 5. Both sets are standardised by the
    reference's mean and deviation; the paper's code standardises each by its own, which hides lost contrast.
    """
    channels = reference.double().unflatten(1, (-1, PATCH * PATCH))
    mean = channels.mean((0, 2))[:, None]
    deviation = channels.std((0, 2)).clamp_min(1e-8)[:, None]
    sides = [
        ((x.double().unflatten(1, (-1, PATCH * PATCH)) - mean) / deviation).flatten(1) for x in (patches, reference)
    ]
    return sliced_wasserstein(sides[0], sides[1], generator)


def sliced_wasserstein(a: Tensor, b: Tensor, generator: torch.Generator, n_projections: int = N_PROJECTIONS) -> float:
    """Return the mean over random directions of the 1-Wasserstein distance of projected sets (n, d), (m, d).

    0 for equal sets. As many quantiles are compared as the smaller set has members. Biased upward in finite samples:
    two sets of n from one distribution are about 1/√n apart.

    Raises:
        ValueError: for empty sets, and for vectors of different sizes.
    """
    if a.shape[1:] != b.shape[1:] or not len(a) or not len(b):
        raise ValueError(f"sets {tuple(a.shape)} and {tuple(b.shape)} cannot be compared, expected (n, d), (m, d)")
    directions = torch.randn(n_projections, a.shape[1], generator=generator, dtype=torch.float64)
    directions = functional.normalize(directions, dim=1).to(a)
    quantiles = min(len(a), len(b))
    distances = [
        (_quantiles(a @ some.mT, quantiles) - _quantiles(b @ some.mT, quantiles)).abs().mean(0)
        for some in directions.split(CHUNK)
    ]
    return float(torch.cat(distances).mean())


def _quantiles(projections: Tensor, n: int) -> Tensor:
    """Return n quantiles of each column, the sorted values at the middle of n equal shares: (m, k) → (n, k)."""
    ordered = projections.sort(dim=0).values
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n * len(ordered)
    return ordered[middles.long()]


def _blur(images: Tensor, gain: float = 1.0) -> Tensor:
    taps = torch.tensor(TAPS).to(images)
    kernel = torch.outer(taps, taps) * (gain / 256)
    padded = functional.pad(images, (2, 2, 2, 2), mode="reflect")
    return functional.conv2d(padded, kernel.expand(images.shape[1], 1, 5, 5), groups=images.shape[1])


def _upsampled(smaller: Tensor, like: Tensor) -> Tensor:
    sparse = torch.zeros_like(like)
    sparse[..., ::2, ::2] = smaller
    return _blur(sparse, gain=4.0)


def _collect(batch: FeatureBatch) -> Collected:
    generators = [seeded("patches", number) for number in batch.numbers[batch.is_kept].tolist()]
    n = n_scales(batch.images.shape[-1])
    if not generators or not n:
        return Collected()
    levels = enumerate(laplacian_pyramid(batch.kept(batch.images), n))
    return Collected(rows={f"patches_{k}": draw_patches(level, N_PATCHES, generators) for k, level in levels})


def _compare(comparison: SetComparison) -> Mapping[str, Measurement]:
    size, distances = comparison.images.size, {}
    refusal = comparison.size_refusal or ("" if n_scales(size) else f"images of {size} pixels hold no 7 × 7 patch")
    if refusal:
        return {"swd": Measurement(None, refused=refusal)}
    for k in range(n_scales(size)):
        images, reference = (side.rows(f"patches_{k}") for side in (comparison.images, comparison.reference))
        assert images is not None
        assert reference is not None
        directions = seeded("directions", comparison.seed, k)
        distances[f"swd_scale_{2**k}"] = patch_distance(images.flatten(0, 1), reference.flatten(0, 1), directions)
    mean = sum(distances.values()) / len(distances)
    return {key: Measurement(distance) for key, distance in {"swd": mean, **distances}.items()}


SLICED_WASSERSTEIN = SetScore((SWD_METRIC,), _compare, _collect, ("generation", "reconstruction"), SCALE_METRICS)
