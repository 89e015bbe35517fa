"""Square patches of a field as tokens, row by row, and their position embeddings."""

import torch
from torch import Tensor


def patchify(field: Tensor, patch: int) -> Tensor:
    """Cut a field (b, c, h, w) into tokens (b, n, patch² · c), n = h · w / patch²; h and w are multiples of patch."""
    b, c, h, w = field.shape
    patches = field.view(b, c, h // patch, patch, w // patch, patch)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(b, h * w // patch**2, patch**2 * c)


def unpatchify(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """Invert `patchify`: join tokens (b, n, patch² · c) into a field (b, c, h, w), grid = (h, w)."""
    h, w = grid
    patches = tokens.view(len(tokens), h // patch, w // patch, patch, patch, -1)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, h, w)


def fixed_positions(rows: int, columns: int, width: int) -> Tensor:
    """Return sines and cosines of the column, then of the row, as (rows · columns, width) in float32.

    Source: MAE (arXiv 2111.06377), as in DiT. width is a multiple of 4; there are width / 4 frequencies, from 1 down to
    nearly 1/10,000 radian a token.
    """
    frequencies = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [index.reshape(-1, 1) * frequencies for index in (column, row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
