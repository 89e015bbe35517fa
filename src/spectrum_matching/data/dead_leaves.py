"""Dead-leaves pictures: discs that occlude one another, with radii of density r⁻³, so that no scale stands out.

Their power falls near 1/f², as that of photographs does, with sharp edges and flat regions. Lee, Mumford & Huang,
"Occlusion Models for Natural Images" (2001).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

COVER = 5.0
GRAIN = 2


def dead_leaves(side: int, palette: Tensor, generator: torch.Generator) -> Tensor:
    """Return a picture (3, side, side), periodic in both directions, of discs coloured from `palette` (n, 3).

    Radii range from one pixel to a quarter of the side, which is at least 8. The discs have 5 times the area of the
    picture: e⁻⁵ of it stays bare and takes the colour of one more leaf. A pixel is the mean of 2 × 2 samples.
    """
    n = side * GRAIN
    low, high = float(GRAIN), n / 4
    mean_area = 2 * math.pi * math.log(high / low) / (low**-2 - high**-2)
    n_discs = math.ceil(COVER * n * n / mean_area)
    radii = torch.rand(n_discs, generator=generator).mul(high**-2 - low**-2).add(low**-2).rsqrt()
    centres = torch.rand(n_discs, 2, generator=generator) * n
    owner = torch.full((n * n,), n_discs)
    for octave in range(math.ceil(math.log2(high / low))):
        within = (radii >= low * 2**octave) & (radii < low * 2 ** (octave + 1))
        reach = math.ceil(low * 2 ** (octave + 1))
        for discs in within.nonzero()[:, 0].split(max(1, 2**21 // (2 * reach + 1) ** 2)):
            _drop(owner, n, discs, centres[discs], radii[discs], reach)
    colours = palette[torch.randint(len(palette), (n_discs + 1,), generator=generator)]
    return avg_pool2d(colours[owner].T.reshape(3, n, n), GRAIN)


def _drop(owner: Tensor, n: int, discs: Tensor, centres: Tensor, radii: Tensor, reach: int) -> None:
    """Write into `owner` (n × n, flat) the lowest-numbered disc over each sample: the leaf on top."""
    corner = centres.floor()
    steps = torch.arange(-reach, reach + 1)
    near = steps - (centres - corner)[..., None]
    inside = near[:, 0, :, None] ** 2 + near[:, 1, None, :] ** 2 <= radii[:, None, None] ** 2
    disc, row, column = inside.nonzero(as_tuple=True)
    rows, columns = ((corner.long()[..., None] + steps) % n).unbind(1)
    owner.scatter_reduce_(0, rows[disc, row] * n + columns[disc, column], discs[disc], "amin")
