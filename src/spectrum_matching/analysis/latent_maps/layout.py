"""How two latent spaces are brought to one grid, and which maps a set of images suffices for."""

from collections.abc import Mapping
from itertools import count, permutations
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from ...metrics.estimates import N_GROUPS
from ...nets.autoencoder import Autoencoder, check_size

KERNELS = (1, 3)
MOST_INPUTS = 2400
"""Inputs of a map above which its normal equations take too much memory."""

LEAST_POSITIONS = 10
"""Latent positions of the fit for each input of a map, below which nothing is learned of a wider one."""


class Layout(NamedTuple):
    """How a pair is brought to one grid: positions a side that are stacked, of source and target; and which maps fit.

    note: on maps that are left out.
    """

    patches: tuple[int, int]
    kernels: tuple[int, ...]
    note: str = ""

    def packed(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Bring latents (b, c, h, w) of both to the common grid."""
        return pixel_unshuffle(source, self.patches[0]), pixel_unshuffle(target, self.patches[1])


def layouts(
    networks: Mapping[str, Autoencoder], size: int, n_images: int, n_tests: int = 2
) -> dict[tuple[str, str], Layout]:
    """Return how each ordered pair is compared on `n_images` images of this size.

    Raises:
        ValueError: as `compare_latents` does, of what is known before any work.
    """
    if len(networks) < 2:
        raise ValueError("one latent space has no other to be compared with: name two autoencoders or more")
    if n_images < 2 or n_tests < 2:
        raise ValueError(f"standard errors need two images and two tests or more; got {n_images} and {n_tests}")
    for name, network in networks.items():
        check_size(name, network, size)
    return {
        (one, other): _layout(one, networks[one], other, networks[other], size, n_images)
        for one, other in permutations(networks, 2)
    }


def _layout(name: str, source: Autoencoder, other: str, target: Autoencoder, size: int, n_images: int) -> Layout:
    coarse = max(source.factor, target.factor)
    patches = coarse // source.factor, coarse // target.factor
    if coarse % source.factor or coarse % target.factor:
        raise ValueError(
            f"the factors {source.factor} of {name} and {target.factor} of {other} do not divide one another: "
            f"no grid holds the positions of both"
        )

    def positions_of(n: int) -> int:
        """Return how many positions of n images a fit sees that leaves one group out."""
        n_groups = min(N_GROUPS, n)
        return n * (n_groups - 1) // n_groups * (size // coarse) ** 2

    positions = positions_of(n_images)
    inputs = {kernel: source.channels * patches[0] ** 2 * kernel**2 for kernel in KERNELS}
    least = {kernel: LEAST_POSITIONS * n for kernel, n in inputs.items()}
    if inputs[1] > MOST_INPUTS:
        raise ValueError(
            f"a map from {name} to {other} would have {inputs[1]:,} inputs at each position of the coarser grid; at "
            f"most {MOST_INPUTS:,} are fitted: compare autoencoders of fewer channels, or of closer factors"
        )
    if positions < least[1]:
        need = next(n for n in count(n_images) if positions_of(n) >= least[1])
        raise ValueError(
            f"{n_images} images are too few to fit a map from {name}’s {inputs[1]} channels: take {need} or more, or a "
            f"larger size"
        )
    kernels = tuple(k for k in KERNELS if inputs[k] <= MOST_INPUTS and positions >= least[k])
    if kernels == KERNELS:
        return Layout(patches, kernels)
    why = f"they are more than {MOST_INPUTS:,}"
    if positions < least[3]:
        why = f"{positions:,} latent positions are too few: take more images, or larger ones"
    return Layout(patches, kernels[:1], f"{name}: no 3 × 3 map was fitted from its {inputs[3]:,} inputs, as {why}.")
