"""Histograms of oriented gradients: a map of edge directions, without weights.

Source: Dalal and Triggs, Histograms of oriented gradients for human detection (CVPR 2005), with 2 x 2 cells in a block
and no smoothing across bins and cells.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ...spectrum.separable import in_working_precision

BINS = 9
WIDTH = 4 * BINS
VERSION = 1
"""Increased whenever the same images give other numbers than before."""

CELL = 8
EPSILON, CLIP = 1e-5, 0.2


def gradient_map(images: Tensor, cell: int = CELL) -> Tensor:
    """Return histograms (b, 36, H / cell, W / cell) in 0 … 1 of images (b, 3, H, W) in [-1, 1].

    Nine unsigned orientations of each cell, normalised within the blocks to its upper left, upper right, lower left and
    lower right; float32, or float64 for float64 images.

    Raises:
        ValueError: as `gradient_grid`.
    """
    return normalised_within_blocks(gradient_histograms(images, cell))


def gradient_grid(height: int, width: int, cell: int) -> tuple[int, int]:
    """Return the grid (h, w) of cells of images of height x width pixels.

    Raises:
        ValueError: unless both sides are multiples of the cell, and at least twice as long.
    """
    if cell < 1 or height % cell or width % cell or min(height, width) < 2 * cell:
        raise ValueError(
            f"images of {height} x {width} pixels have no grid of cells of {cell}: their sides must be multiples of "
            f"the cell, two cells at least"
        )
    return height // cell, width // cell


def gradient_histograms(images: Tensor, cell: int) -> Tensor:
    """Return the mean gradient magnitude of images (b, 3, H, W) by orientation, (b, 9, H / cell, W / cell).

    A bin covers 20 degrees. A pixel's gradient is that of the channel with the largest one, in units of black to white
    over two pixels; across the image's border it is 0.
    """
    field = in_working_precision(images, n_dims=4)
    height, width = field.shape[-2:]
    gradient_grid(height, width, cell)
    rows = pad((field[..., 2:, :] - field[..., :-2, :]) / 2, (0, 0, 1, 1))
    columns = pad((field[..., 2:] - field[..., :-2]) / 2, (1, 1))
    (row, *other_rows), (column, *other_columns) = rows.split(1, dim=1), columns.split(1, dim=1)
    for y, x in zip(other_rows, other_columns, strict=True):  # ten times as fast as argmax over such a short axis
        larger = y.square() + x.square() > row.square() + column.square()
        row, column = torch.where(larger, y, row), torch.where(larger, x, column)
    # angles of -180 up to 180 degrees: opposite directions, nine bins apart, are one orientation
    bins = (torch.atan2(row, column) * (BINS / math.pi)).floor().long() % BINS
    votes = field.new_zeros(len(field), BINS, height, width).scatter_(1, bins, torch.hypot(row, column))
    return avg_pool2d(votes, cell)


def normalised_within_blocks(histograms: Tensor) -> Tensor:
    """Normalise histograms (b, 9, h, w) within the four blocks of each cell, as (b, 36, h, w).

    The norm is L2-Hys: L2, clipped at 0.2, then L2 again. Cells beyond the border repeat those at it.
    """
    h, w = histograms.shape[-2:]
    padded = pad(histograms, (1, 1, 1, 1), mode="replicate")
    blocks = torch.stack([padded[..., y : y + h + 1, x : x + w + 1] for y in (0, 1) for x in (0, 1)])
    for limit in (CLIP, math.inf):
        energy = blocks.square().sum((0, 2), keepdim=True)
        blocks = (blocks / (energy + EPSILON**2).sqrt()).clamp_max(limit)
    # the cell is last in the block that starts before it, and first in the one that starts with it
    views = [blocks[2 * y + x, :, :, 1 - y :, 1 - x :][..., :h, :w] for y in (1, 0) for x in (1, 0)]
    return torch.cat(views, dim=1)
