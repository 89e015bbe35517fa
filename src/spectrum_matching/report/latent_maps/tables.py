"""Tables of maps between latent spaces: every direction, all spaces in one matrix, bands, channels."""

from collections.abc import Callable, Sequence

from ...records.latent_maps import Direction, LatentComparison, Route
from ...records.measurement import Measurement
from ..digits import number
from ..table import MISSING, Cell, Column, Table, extremes, measured

KERNELS = {0: "no map", 1: "1 × 1", 3: "3 × 3"}
OWN = Cell("own")


def is_pair(comparison: LatentComparison) -> bool:
    """Return whether there are two spaces: of these every route is shown, of more that by the widest map."""
    return len(comparison.spaces) == 2


def targets(comparison: LatentComparison) -> list[str]:
    """Return the names of the spaces in the order in which they are shown as targets: of two, the question's first."""
    return comparison.names[::-1] if is_pair(comparison) else comparison.names


def direction_table(comparison: LatentComparison) -> Table:
    """Return a row for each direction: R² and PSNR by every route, and the answer with the loss that it quotes."""
    columns = (
        Column("decoder of", is_text=True),
        *(Column(f"R², {words}") for words in KERNELS.values()),
        *(Column(f"PSNR, {words}", "dB") for words in KERNELS.values()),
        Column("loss", "dB, by the answer’s route"),
        Column("answer", is_text=True),
    )
    rows = []
    for direction in comparison.directions:
        by_kernel = {route.kernel: route for route in direction.routes}
        routes = [by_kernel.get(kernel) for kernel in KERNELS]
        cells = (
            Cell(direction.target),
            *(measured(route.r2, 3) if route else MISSING for route in routes),
            *(measured(route.psnr, 2) if route else MISSING for route in routes),
            measured(direction.judged.loss, 2),
            Cell(answer(direction)),
        )
        rows.append((comparison.names.index(direction.source), cells))
    return Table(columns, tuple(rows))


def answer(direction: Direction) -> str:
    """Return the answer in a few words, with the map that it is about."""
    words = {"drop-in": "drop-in", "after a map": "drop-in", "no": "no drop-in", "undecided": "undecided"}
    kernel = direction.judged.kernel
    return f"{words[direction.answer]}{f' after {KERNELS[kernel]}' if kernel else ''}"


def matrix_table(comparison: LatentComparison, of: Callable[[Route], Measurement], n_decimals: int) -> Table:
    """Return a number of the widest map from each space (rows) to each other (columns)."""
    names = comparison.names
    rows = [
        tuple(OWN if a == b else measured(of(comparison.direction(a, b).widest), n_decimals) for b in names)
        for a in names
    ]
    return Table(tuple(Column(name) for name in names), tuple(enumerate(rows)))


def space_table(comparison: LatentComparison) -> Table:
    """Return each space by itself."""
    columns = (
        Column("latents", "channels, grid"),
        Column("factor"),
        Column("std", "raw"),
        Column("PSNR", "dB, own reconstructions"),
    )
    rows = [
        (
            Cell(" × ".join(map(str, space.shape))),
            Cell(str(space.subject.factor), key=float(space.subject.factor)),
            Cell(number(space.std), key=space.std),
            measured(space.psnr, 2),
        )
        for space in comparison.spaces
    ]
    return Table(columns, tuple(enumerate(rows)))


def band_table(comparison: LatentComparison, target: str) -> Table:
    """Return R² by band of one target's latents, by the widest map from each other space."""
    directions = [each for each in comparison.directions if each.target == target]
    bands = directions[0].widest.bands
    columns = (Column("DC"), *(Column(number(frequency, 2)) for frequency in bands.frequencies))
    rows = [
        (
            comparison.names.index(each.source),
            tuple(measured(share, 2) for share in (each.widest.bands.dc, *each.widest.bands.shares)),
        )
        for each in directions
    ]
    return Table(columns, tuple(rows))


def channel_table(comparison: LatentComparison) -> Table:
    """Return the range over the target's channels of cosines and of R² by the widest map, for each direction."""
    columns = (
        Column("to", is_text=True),
        Column("cosine", "channel i with channel i, least … most"),
        Column("R²", "of single channels, least … most"),
        Column("channels below 0.5", "R²"),
    )
    rows = []
    for each in comparison.directions:
        shares = [float(share) for share in each.widest.channels if share.value is not None]
        low = sum(share < 0.5 for share in shares)
        cells = (
            Cell(each.target),
            _extremes(each.cosines),
            _extremes(each.widest.channels),
            Cell(f"{low} of {len(shares)}", key=float(low)),
        )
        rows.append((comparison.names.index(each.source), cells))
    return Table(columns, tuple(rows))


def _extremes(measurements: Sequence[Measurement]) -> Cell:
    values = [float(each) for each in measurements if each.value is not None]
    return extremes(values) if values else MISSING


def nearest(comparison: LatentComparison) -> str:
    """Return a sentence on the two spaces of the highest R², the lower of both directions counting."""
    names = comparison.names
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def r2(pair: tuple[str, str]) -> tuple[float, float]:
        there, back = comparison.direction(*pair), comparison.direction(*pair[::-1])
        return float(there.widest.r2), float(back.widest.r2)

    best = max(pairs, key=lambda pair: min(r2(pair)))
    there, back = r2(best)
    return (
        f"Nearest are {best[0]} and {best[1]}: a linear map explains {there:.0%} of the variance of {best[1]}’s "
        f"latents, and {back:.0%} on the way back."
    )
