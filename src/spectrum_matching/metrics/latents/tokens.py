"""How alike neighbouring cells are, each cell a token of c numbers: LDS, CDS, SRSS, and two local correlations."""

import torch
from torch import Tensor

from ...spectrum.blocks import split_blocks
from ...spectrum.contrast import unit_tokens


def _distances(h: int, w: int) -> Tensor:
    """Manhattan length of each lag of a (2h, 2w) circular correlation; lags h and w do not occur: (2h, 2w)."""
    rows, columns = torch.arange(2 * h), torch.arange(2 * w)
    return torch.minimum(rows, 2 * h - rows)[:, None] + torch.minimum(columns, 2 * w - columns)


def _sums_by_distance(field: Tensor) -> Tensor:
    """Inner products of all ordered pairs of cells, summed by Manhattan distance: (b, c, h, w) → (b, h + w − 1)."""
    h, w = field.shape[-2:]
    # Zero padding to twice the size makes the circular correlation the plain one, at T log T and not T² products.
    spectrum = torch.fft.rfft2(field, s=(2 * h, 2 * w))
    products = torch.fft.irfft2((spectrum.real.square() + spectrum.imag.square()).sum(1), s=(2 * h, 2 * w))
    sums = torch.zeros(len(field), h + w + 1, dtype=products.dtype, device=field.device)
    sums.index_add_(1, _distances(h, w).flatten().to(field.device), products.flatten(1))
    return sums[:, : h + w - 1]


def pair_counts(grid: tuple[int, int]) -> Tensor:
    """Ordered pairs of cells at each Manhattan distance 0 … h + w − 2: (h + w − 1,)."""
    return _sums_by_distance(torch.ones(1, 1, *grid, dtype=torch.float64))[0].round()


def distance_cosines(latents: Tensor) -> Tensor:
    """Mean cosine over pairs of cells at each Manhattan distance 0 … h + w − 2: (b, c, h, w) → (b, h + w − 1)."""
    sums = _sums_by_distance(unit_tokens(latents))
    h, w = latents.shape[-2:]
    return sums / pair_counts((h, w)).to(sums)


def lds(cosines: Tensor, grid: tuple[int, int], far: int = 6) -> Tensor:
    """Local against distant similarity: mean cosine of adjacent cells minus that of cells `far` or more apart.

    cosines (…, h + w − 1) of `distance_cosines` → (…), in −2 … 2; higher is better. Source: iREPA (arXiv 2512.10794),
    the reading of its code, `far` = 6 on 16 × 16; 3/8 of the height is the same share of other grids. It takes raw
    features, "Diffusing in the Right Space" standardised latents, which changes the number more than models do.
    Validated: |r| with gFID 0.85 over 27 encoders as alignment targets; for latents in one family. A blurred latent
    wins it. Tested against values of the authors' code. ValueError where no two cells are that far apart.
    """
    return cosines[..., 1] - _mean_cosine(cosines, grid, far, sum(grid) - 1)


def lds_paper(cosines: Tensor, grid: tuple[int, int], radius: int | None = None) -> Tensor:
    """Local against distant similarity as iREPA's text defines it: cells nearer than `radius` against all others.

    radius: half the shorter side unless given. A cell is not its own neighbour. Else as `lds`, for which it is no
    substitute: 0.47 there can be 0.11 here.
    """
    radius = min(grid) // 2 if radius is None else radius
    return _mean_cosine(cosines, grid, 1, radius) - _mean_cosine(cosines, grid, radius, sum(grid) - 1)


def _mean_cosine(cosines: Tensor, grid: tuple[int, int], start: int, stop: int) -> Tensor:
    """Over all pairs with start ≤ distance < stop."""
    if not start < stop <= cosines.shape[-1]:
        raise ValueError(f"a {grid[0]} x {grid[1]} grid has no two cells at a distance in {start} ... {stop - 1}")
    weights = pair_counts(grid).to(cosines)[start:stop]
    return cosines[..., start:stop] @ weights / weights.sum()


def cds(cosines: Tensor, max_distance: int = 8) -> Tensor:
    """Correlation decay slope: minus the slope of the least squares line through the cosines at distances 1 … max.

    cosines (…, h + w − 1) of `distance_cosines` → (…), per cell; higher is better. Distances that the grid lacks are
    left out. Source: iREPA (arXiv 2512.10794), its code; the text leaves the largest distance open. Validated: |r|
    with gFID 0.85 over 27 encoders as alignment targets; mostly repeats LDS. Tested against values of the authors'
    code.
    """
    y = cosines[..., 1 : max_distance + 1]
    if y.shape[-1] < 2:
        raise ValueError(f"a slope needs cosines at two distances or more, got {y.shape[-1]}")
    x = torch.arange(y.shape[-1]).to(cosines)
    x = x - x.mean()
    return -(y @ x) / x.square().sum()


def srss(latents: Tensor, masks: Tensor, near: int = 1, far: int = 6) -> Tensor:
    """Semantic-region self-similarity: (b, c, h, w), foreground (b, h, w) bool → (b,), in −2 … 2; higher is better.

    Over foreground cells: mean cosine to other foreground cells at distance ≤ near, minus that to background cells at
    distance ≥ far, averaged over the cells that have both; NaN where there are none. Source: iREPA (arXiv 2512.10794),
    its code. Validated on latents: |r| with gFID 0.71 to 0.90, the steadiest over backbones and guidance. Tested
    against values of the authors' code.
    """
    tokens = unit_tokens(latents)
    inside = masks[:, None].to(tokens)
    outside = 1 - inside
    similar = (tokens * _diamond_sums(tokens * inside, near)).sum(1, keepdim=True) - inside * tokens.square().sum(1)[
        :, None
    ]
    n_similar = _diamond_sums(inside, near) - inside
    elsewhere = tokens * outside
    remote = (tokens * (elsewhere.sum((-2, -1), keepdim=True) - _diamond_sums(elsewhere, far - 1))).sum(1, keepdim=True)
    n_remote = outside.sum((-2, -1), keepdim=True) - _diamond_sums(outside, far - 1)
    anchors = inside.bool() & (n_similar > 0.5) & (n_remote > 0.5)
    contrast = similar / n_similar.clamp_min(1) - remote / n_remote.clamp_min(1)
    return (contrast * anchors).sum((1, 2, 3)) / anchors.sum((1, 2, 3))


def _diamond_sums(x: Tensor, radius: int) -> Tensor:
    """Sum over all cells at Manhattan distance ≤ radius: (b, c, h, w) → (b, c, h, w)."""
    reach = torch.arange(-radius, radius + 1).abs()
    kernel = (reach[:, None] + reach <= radius).to(x)
    b, c = x.shape[:2]
    return torch.conv2d(x.flatten(0, 1)[:, None], kernel[None, None], padding=radius)[:, 0].unflatten(0, (b, c))


def local_correlation(latents: Tensor, window: int = 2) -> Tensor:
    """Mean correlation, across channels, of the cells of one window: (b, c, h, w) → (b,), in [−1, 1].

    Windows of window × window cells do not overlap. Each cell is centred across channels and brought to unit length;
    all pairs within a window count alike. Source: SSVAE (arXiv 2512.05394), where it is a training penalty up to 0.75
    on latents standardised channel by channel; as a metric not validated. Higher is held to be better up to there. One
    channel always gives 0, two give ±1 for each pair, and a component that all channels share does not count. A
    blurred latent wins it. Tested against values of the authors' code. ValueError unless windows fill the grid.
    """
    centred = latents - latents.mean(1, keepdim=True)
    tokens = centred / (centred.norm(dim=1, keepdim=True) + 1e-8)
    cells = split_blocks(tokens, window).flatten(-2)
    n = window**2
    pairs = (cells.sum(-1).square() - cells.square().sum(-1)) / (n * (n - 1))
    return pairs.sum(1).mean((-2, -1))


def neighbour_correlation(latents: Tensor) -> Tensor:
    """Mean product of horizontally and vertically adjacent cells: standardised (b, c, h, w) → (b, c).

    Averaged over images, the spatial correlation of each channel at a distance of one cell, in [−1, 1]. Not published;
    unlike `local_correlation` it means something for few channels. A blurred latent wins it. ValueError for one cell.
    """
    h, w = latents.shape[-2:]
    if h * w < 2:
        raise ValueError("a 1 x 1 grid has no neighbours")
    across = (latents[..., 1:] * latents[..., :-1]).sum((-2, -1))
    down = (latents[..., 1:, :] * latents[..., :-1, :]).sum((-2, -1))
    return (across + down) / (h * (w - 1) + w * (h - 1))
