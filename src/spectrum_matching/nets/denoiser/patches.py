"""Between a field and tokens: square patches, row by row, and where each of them lies."""

import torch
from torch import Tensor


def patchify(field: Tensor, patch: int) -> Tensor:
    """(b, c, h, w) → (b, n, patch² · c), n = h · w / patch², row by row; h and w are multiples of patch."""
    b, c, h, w = field.shape
    cells = field.view(b, c, h // patch, patch, w // patch, patch)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(b, h * w // patch**2, patch**2 * c)


def unpatchify(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of `patchify`: (b, n, patch² · c) → (b, c, h, w), grid = (h, w)."""
    h, w = grid
    cells = tokens.view(len(tokens), h // patch, w // patch, patch, patch, -1)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, h, w)


def fixed_positions(rows: int, columns: int, width: int) -> Tensor:
    """(rows · columns, width), float32: sines and cosines of the column, then of the row; width is a multiple of 4.

    At width / 4 frequencies from 1 down to nearly 1/10,000 radian a token (MAE, arXiv 2111.06377, as in DiT).
    """
    frequencies = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.reshape(-1, 1) * frequencies for place in (column, row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
