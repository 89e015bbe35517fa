"""Figures and pictures of maps between latent spaces: of every route for two spaces, of more by the widest map."""

from collections.abc import Callable, Mapping
from typing import Any

from ...records.latent_maps import Bands, LatentComparison, Route
from ..canvas import Curve, Panel, curves, plotted
from ..marks import DASHED, MUTED, line
from ..table import Matrix, distinct
from .tables import KERNELS, is_pair, targets

FLOOR = -0.25
"""Lowest share that figures show: latents that have nothing to do with the target's may explain far less than none."""


def latent_panels(comparison: LatentComparison) -> tuple[Panel, ...]:
    """Draw the share of each target's latents that is explained, by frequency."""
    return tuple(
        _panel(comparison, target, "cycles per position", lambda route: route.bands, [])
        for target in targets(comparison)
    )


def image_panels(comparison: LatentComparison) -> tuple[Panel, ...]:
    """Draw the share of the images' power that each target's decoder has right, by frequency."""
    panels = []
    spaces = {space.subject.name: space for space in comparison.spaces}
    for target in targets(comparison):
        own = [_curve(f"{target}’s own latents", spaces[target].kept, {"color": MUTED, "marker": ""})]
        if is_pair(comparison):
            (source,) = (name for name in comparison.names if name != target)
            style = {"color": MUTED, "marker": "", "linestyle": DASHED}
            own.append(_curve(f"{source}’s own decoder", spaces[source].kept, style))
        panels.append(_panel(comparison, target, "cycles per pixel", lambda route: route.kept, own))
    return tuple(panels)


def _panel(
    comparison: LatentComparison, target: str, unit: str, of: Callable[[Route], Bands], series: list[Curve]
) -> Panel:
    names = comparison.names
    directions = [comparison.direction(source, target) for source in names if source != target]
    if is_pair(comparison):
        title = f"{directions[0].source} → {target}"
        routes = [(KERNELS[r.kernel], list(KERNELS).index(r.kernel), r) for r in directions[0].routes]
    else:
        title = f"to {target}"
        routes = [(each.source, names.index(each.source), each.widest) for each in directions]
    series = [*series, *(_curve(name, of(route), line(index)) for name, index, route in routes)]
    limits = FLOOR, 1.04
    return curves(title, unit, "share explained", series, x_scale="frequency", y_limits=limits, level=(0.0, MUTED))


def _curve(name: str, bands: Bands, style: Mapping[str, Any]) -> Curve:
    y, errors = [plotted(share) for share in bands.shares], [share.standard_error for share in bands.shares]
    return Curve(bands.frequencies, y, f"{name}\n{{x}}: {{y}}", style, errors=errors)


def picture_matrices(comparison: LatentComparison) -> tuple[Matrix, ...]:
    """Return pictures by image: a row for each decoder; columns are routes for two spaces, for more whose latents."""
    names, matrices = comparison.names, []
    for image in distinct(picture.image for picture in comparison.pictures):
        pngs = {(p.source, p.target, p.kernel): p.png for p in comparison.pictures if p.image == image}
        if is_pair(comparison):
            kernels = [kernel for kernel in KERNELS if (*names, kernel) in pngs or (*names[::-1], kernel) in pngs]
            columns = ("own latents", *(f"the other’s, {KERNELS[kernel]}" for kernel in kernels))
            pairs = zip(names, reversed(names), strict=True)
            rows = [[(target, target, 0), *((source, target, k) for k in kernels)] for target, source in pairs]
        else:
            columns = tuple(names)
            rows = [[(source, target, _widest(comparison, source, target)) for source in names] for target in names]
        original = (pngs["", "", 0], *[""] * (len(columns) - 1))
        shown = [tuple(pngs.get(key, "") for key in row) for row in rows]
        matrices.append(Matrix(image, columns, ((None, original), *enumerate(shown))))
    return tuple(matrices)


def _widest(comparison: LatentComparison, source: str, target: str) -> int:
    return 0 if source == target else comparison.direction(source, target).widest.kernel
