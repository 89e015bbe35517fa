"""The scale of latents: from their moments, or measured over images with an autoencoder."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from ..data.images import ImageSet
from ..data.order import batches_at, spread_items
from ..latent_space import LatentSpace
from ..methods.method import Posterior
from ..metrics.latents.moments import ChannelMoments, joint_moments
from ..nets.autoencoder import Autoencoder, eval_mode
from ..seeding import seeded
from .latent_set import Statistics, sample_moments

N_IMAGES, BATCH_SIZE = 512, 16
SMALLEST = 1e-6  # posteriors without variance have a standard deviation of e⁻¹⁵


def latent_space(moments: ChannelMoments, by: Statistics = "channel") -> LatentSpace:
    """Return the normalisation to mean 0 and standard deviation 1, of each channel or of all together.

    "centred": the mean of each channel, one standard deviation for all. A channel that does not vary keeps its scale:
    std 1; that of all together is of the others, so that they have unit scale.
    """
    _, _, means, stds = moments.moments()
    live = stds > SMALLEST
    if by == "global":
        mean, std = joint_moments(means[live], stds[live]) if live.any() else (float(means.mean()), 1.0)
        return LatentSpace("shift and scale", (mean,), (std,))
    space = LatentSpace("per channel", tuple(means.tolist()), tuple(torch.where(live, stds, 1.0).tolist()))
    return space.with_one_std if by == "centred" else space


def joint_space(space: LatentSpace) -> LatentSpace:
    """Return the normalisation of all channels together, from that of each channel."""
    mean = math.fsum(space.mean) / len(space.mean)
    variances = (std**2 + (one - mean) ** 2 for one, std in zip(space.mean, space.std, strict=True))
    return LatentSpace("shift and scale", (mean,), (math.sqrt(math.fsum(variances) / len(space.mean)),))


def measure_latent_space(
    autoencoder: Autoencoder,
    images: ImageSet,
    device: torch.device,
    *,
    by: Statistics = "global",
    patch: int = 1,
    n: int = N_IMAGES,
    seed: int = 0,
    workers: int = 0,
    accelerator: Accelerator | None = None,
) -> LatentSpace:
    """Measure the normalisation that a cache of these images would declare, over `n` of them spread over the set.

    Images are cropped at the centre and not mirrored, whatever the set does for training. The variance is that of
    posterior samples. patch: by "channel", of channels in which so many × as many positions are packed. seed:
    chooses the images. accelerator: of processes that share the images; all must call it.

    Raises:
        ValueError: when no image can be read, or the latents do not vary or are not finite.
    """
    moments = ChannelMoments()
    ranks = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    for posterior in encode_spread(autoencoder, images, device, n=n, seed=seed, workers=workers, ranks=ranks):
        moments.add(pixel_unshuffle(posterior.mean, patch), pixel_unshuffle(posterior.logvar, patch))
    if accelerator:
        shares, moments = gather_object([moments]), ChannelMoments()
        for share in shares:
            moments.merge(share)
    if not moments.n:
        raise ValueError(f"{images.source}: none of {min(n, len(images))} images can be read")
    std = moments.moments().std
    if not SMALLEST < std < math.inf:
        raise ValueError(
            f"the latents of these images have standard deviation {std:.3g}: they do not vary, or are not finite, and "
            f"cannot be normalised"
        )
    space = latent_space(moments, by)
    return replace(space, convention="packed", patch=patch) if patch > 1 and by == "channel" else space


def measure_as_declared(
    autoencoder: Autoencoder,
    images: ImageSet,
    device: torch.device,
    *,
    seed: int = 0,
    workers: int = 0,
    accelerator: Accelerator | None = None,
) -> LatentSpace:
    """Measure the normalisation in the convention in which the autoencoder declares its own; a scale for none.

    Other arguments as in `measure_latent_space`.

    Raises:
        ValueError: as `measure_latent_space`.
    """
    declared = autoencoder.latent_space
    by_channel = declared.convention in ("per channel", "packed")
    patch = declared.patch if by_channel else 1
    options: dict[str, Any] = {"seed": seed, "workers": workers, "accelerator": accelerator}
    by: Statistics = "channel" if by_channel else "global"
    space = measure_latent_space(autoencoder, images, device, by=by, patch=patch, **options)
    return space if by_channel or declared.convention == "shift and scale" else LatentSpace("scale", (0.0,), space.std)


def encode_spread(
    autoencoder: Autoencoder,
    images: ImageSet,
    device: torch.device,
    *,
    n: int = N_IMAGES,
    seed: int = 0,
    workers: int = 0,
    ranks: tuple[int, int] = (0, 1),
) -> Iterator[Posterior]:
    """Yield the posteriors of batches of `n` images spread over a set, cropped at the centre and not mirrored.

    ranks: the number of this process and of all that share the images.
    """
    with eval_mode(autoencoder, device, seed=seed) as on:
        for batch in spread_images(images, n=n, seed=seed, workers=workers, ranks=ranks):
            yield autoencoder.encode(batch.to(on))


def spread_images(
    images: ImageSet, *, n: int = N_IMAGES, seed: int = 0, workers: int = 0, ranks: tuple[int, int] = (0, 1)
) -> Iterator[Tensor]:
    """Yield batches (b, 3, size, size) of `n` images spread over a set, cropped at the centre and not mirrored.

    ranks: as for `encode_spread`.
    """
    rank, world = ranks
    for batch in batches_at(images.centred(), BATCH_SIZE, spread_items(images, n, seed)[rank::world], workers=workers):
        if batch.indices:
            yield batch.images


def samples_of(posteriors: Iterable[Posterior]) -> Iterator[Tensor]:
    """Yield a sample of each batch of posteriors, raw latents (b, c, h, w); the same for the same batches."""
    for number, posterior in enumerate(posteriors):
        yield sample_moments(posterior.mean, posterior.logvar, seeded("encoded", number))
