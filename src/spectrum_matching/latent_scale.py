"""The scale of what a diffusion model learns: measured where no statistics lie with the latents, watched everywhere."""

import torch
from torch import Tensor

from .data.images import ImageSet
from .data.order import batches_at
from .latent_space import Convention, LatentSpace
from .nets.autoencoder import Autoencoder
from .seeding import seeded

N_MEASURED, N_AT_ONCE = 512, 16
UNIT = (0.8, 1.25)  # standard deviations that pass for 1
CENTRED = 0.5  # means that pass for 0
SMALLEST = 1e-6  # what has no deviation is written as one of e⁻¹⁵


@torch.no_grad()
def measured_space(
    images: ImageSet,
    autoencoder: Autoencoder,
    by_channel: bool,
    device: torch.device,
    *,
    seed: int = 0,
    n: int = N_MEASURED,
    workers: int = 0,
) -> LatentSpace:
    """What brings posterior samples of `n` images, drawn by the seed, to unit scale.

    The variance is that of the means plus the mean of the variances. ValueError for latents that do not vary.
    """
    # Of all images: they lie sorted by class, and the first ones would be of one.
    places = torch.randperm(len(images), generator=seeded("scale", seed))[:n].tolist()
    means, variances = [], []
    for at, batch in batches_at(images, N_AT_ONCE, places, workers=workers):
        if at:
            posterior = autoencoder.encode(batch.images.to(device))
            means.append(posterior.mean.double().cpu())
            variances.append(posterior.var.double().cpu())
    mean, variance = torch.cat(means), torch.cat(variances)
    axes = (0, 2, 3) if by_channel else (0, 1, 2, 3)
    std = (mean.var(axes, correction=0) + variance.mean(axes)).sqrt().reshape(-1)
    if not (std > SMALLEST).all() or not std.isfinite().all():
        raise ValueError("latents of these images do not vary, or are not finite: they cannot be brought to unit scale")
    convention: Convention = "per channel" if by_channel else "shift and scale"
    return LatentSpace(convention, tuple(mean.mean(axes).reshape(-1).tolist()), tuple(std.tolist()))


def off_scale(data: Tensor) -> str:
    """In words, how far data (b, c, h, w) are from mean 0 and standard deviation 1; "" where they are near enough."""
    std, mean = (float(number) for number in torch.std_mean(data.float(), correction=0))
    if UNIT[0] <= std <= UNIT[1] and abs(mean) <= CENTRED:
        return ""
    return f"mean {mean:.3g} and standard deviation {std:.3g}, expected about 0 and 1"
