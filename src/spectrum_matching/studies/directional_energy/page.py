"""Directional spectra as sections of a page: by band and filter, the spatial metrics, and what these rest on."""

from collections.abc import Sequence

from ...records.measurement import Measurement
from ...report.canvas import DASHED, HEIGHT, INK, MUTED, Panel, colour, frequency_axis, line, panel
from ...report.digits import decimals, fixed, number, spread
from ...report.study_page import Block, StudyTable
from ...report.table import Cell, Column, Table
from .record import DirectionalEnergy, EncoderResult, FilterResult

TITLES = {"rmsc": "RMSC", "lds": "LDS", "cds": "CDS", "srss": "SRSS"}
UNITS = {"rmsc": "0 to 1", "lds": "cosine", "cds": "cosine / token", "srss": "cosine"}
# |r| with gFID over 27 encoders as alignment targets, arXiv 2512.10794.
CORRELATIONS = {"rmsc": "0.888", "srss": "0.885", "lds": "0.852", "cds": "0.847"}
SOURCE = "iREPA (arXiv 2512.10794)"
ROW = 17
UNDER_BANDS = (
    "Share of the directional spectrum in each band, mean over images and standard error; a column adds up to 1 where "
    "every token has a direction."
)


def directional_lead(study: DirectionalEnergy) -> tuple[str, ...]:
    """What was measured, whether the identity holds, and what taking the mean off does."""
    readings = [own for encoder in study.encoders for own in encoder.filters]
    n, sample = len(study.encoders), study.sample
    said = [
        f"{n} encoder{'s' * (n > 1)} on {sample.n_images:,} images of {sample.source}, {sample.size} × {sample.size} "
        f"pixels, before and after {len(study.encoders[0].filters) - 1} target filters.",
        "RMSC² is the directional spectral energy, and that is 1 − ‖mean unit token‖²: computed each on its own, for "
        f"every image, encoder and filter, they differ by {number(max(own.deviation for own in readings), 2)} at most.",
    ]
    plain = [float(own.measurements["rmsc"]) for own in readings if own.family == "none"]
    bare = [float(own.measurements["rmsc"]) for own in readings if own.family == "less the mean"]
    if bare:
        said.append(f"Taking the mean token off takes RMSC from {_range(plain)} to {_range(bare)}; 1 is the greatest.")
    return tuple(said)


def directional_blocks(study: DirectionalEnergy) -> tuple[Block, ...]:
    """The sections."""
    keys = [key for key in TITLES if key != "srss" or study.masks]
    return (
        Block(
            "Where directions vary",
            (
                "Mean power of the unit tokens by frequency, for each coefficient, over that of white noise (the line "
                "at 1). A token is brought to unit length after the filter, as a cosine does.",
            ),
            tuple(_spectrum(encoder, study.families) for encoder in study.encoders),
            tables=(StudyTable("Shares by band", _band_table(study), "encoder", UNDER_BANDS, folded=True, dense=True),),
            key=study.families,
            extra="dashed: each channel also divided by its std",
        ),
        Block(
            "How much of it, and how it lies",
            (
                "By filter, a mark an encoder; bars are one standard error over images. Hollow: each channel also "
                "divided by its std.",
            ),
            tuple(_by_filter(study, key) for key in keys),
        ),
        Block("In numbers", (), tables=(StudyTable("Every encoder and filter", number_table(study, keys), "encoder"),)),
        Block(
            "What the numbers rest on",
            (
                f"Over 27 encoders as alignment targets, each at its own best, {SOURCE} found these correlations with "
                f"the gFID of the generator, in size: "
                f"{', '.join(f'{TITLES[key]} {r}' for key, r in CORRELATIONS.items())}.",
                "They are of encoders, not of filters: nothing published says that a filter which raises a number "
                "helps. White noise has an RMSC of nearly 1, and a blurred field wins LDS, CDS and SRSS: each is "
                "one-sided, so that no filter can be chosen by one of them alone.",
                f"LDS: cosine of adjacent tokens less that of tokens {_far(study)} or more apart. CDS: minus the slope "
                "of the cosine over distances of 1 to 8 tokens. SRSS: within the foreground less from it to the "
                "background, over images whose masks fill between a quarter and three quarters. All of tokens as the "
                "filter leaves them, not standardised.",
            ),
        ),
    )


def number_table(study: DirectionalEnergy, keys: Sequence[str] | None = None) -> Table:
    """A row for each encoder and filter."""
    keys = keys or [key for key in TITLES if key != "srss" or study.masks]
    columns = (
        Column("filter", is_text=True),
        Column("DC", "share of energy"),
        Column("energy", "directional, outside DC"),
        *(Column(TITLES[key], UNITS[key]) for key in keys),
    )
    rows = []
    for place, encoder in enumerate(study.encoders):
        for own in encoder.filters:
            cells = [Cell(own.filter, own.settings)]
            cells += [_estimate(own.dc), _estimate(own.energy)]
            for key in keys:
                found = own.measurements[key]
                cells.append(Cell("refused") if found.value is None else _estimate(found))
            rows.append((place, tuple(cells)))
    return Table(columns, tuple(rows))


def _spectrum(encoder: EncoderResult, families: Sequence[str]) -> Panel:
    panels: list[Panel] = []
    h, w = encoder.grid
    title = f"{encoder.name}, {h} × {w} tokens of {encoder.width}"
    with panel(title, f"directional power by frequency, {encoder.name}", panels) as canvas:
        canvas.axes.set_yscale("log")
        canvas.axes.set_ylabel("power / white noise’s")
        frequency_axis(canvas.axes, "cycles per token")
        canvas.axes.axhline(1, color=MUTED, linewidth=0.9)
        for own in encoder.filters:
            place = families.index(own.family)
            said = own.filter + "\n{x} cycles per token: {y} times white noise’s"
            options = line(place) | {"markersize": 3.2} | ({"linestyle": DASHED, "marker": ""} if own.divided else {})
            canvas.line(encoder.frequencies, densities(encoder, own), said, **options)
    return panels[0]


def densities(encoder: EncoderResult, own: FilterResult) -> list[float]:
    """Power for each coefficient of a band over that of white noise, whose energy is even: (bands,)."""
    n_tokens = encoder.grid[0] * encoder.grid[1]
    return [float(share) / count * n_tokens for share, count in zip(own.shares, encoder.counts, strict=True)]


def _by_filter(study: DirectionalEnergy, key: str) -> Panel:
    panels: list[Panel] = []
    families, title = study.families, TITLES[key]
    label = f"{title} of every encoder by filter"
    height = max(HEIGHT, 60 + 2 * ROW * len(families))
    with panel(f"{title}, |r| with gFID {CORRELATIONS[key]}", label, panels, left=104, height=height) as canvas:
        axes, n = canvas.axes, len(study.encoders)
        for place, encoder in enumerate(study.encoders):
            for own in encoder.filters:
                found = own.measurements[key]
                if found.value is None:
                    continue
                y = families.index(own.family) + 0.66 * ((2 * place + own.divided + 0.5) / (2 * n) - 0.5)
                error = found.standard_error or 0.0
                axes.errorbar(found.value, y, xerr=error, color=colour(place), linewidth=1)
                options = line(place) | {"linestyle": "", "markersize": 6}
                if own.divided:
                    options |= {"markerfacecolor": "none", "markeredgecolor": colour(place), "markeredgewidth": 1.2}
                axes.plot(found.value, y, **options)
                canvas.tip(
                    found.value,
                    y,
                    f"{encoder.name}, {own.filter}\n{title} {number(found.value, 4)} ± {number(error, 2)}",
                )
        axes.set_yticks(range(len(families)), families, fontsize=9)
        axes.tick_params("y", length=0, labelcolor=INK)
        axes.set_ylim(len(families) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{title}, {UNITS[key]}")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params("x", nbins=5)
    return panels[0]


def _band_table(study: DirectionalEnergy) -> Table:
    """A row for each encoder and band, DC first."""
    columns = (
        Column("band", "cycles per token", is_text=True),
        *(Column(own.filter) for own in study.encoders[0].filters),
    )
    rows = []
    for place, encoder in enumerate(study.encoders):
        rows.append((place, (Cell("DC"), *(_estimate(own.dc) for own in encoder.filters))))
        for band, frequency in enumerate(encoder.frequencies):
            cells = [_estimate(own.shares[band]) for own in encoder.filters]
            rows.append((place, (Cell(fixed(frequency, 3)), *cells)))
    return Table(columns, tuple(rows))


def _estimate(estimate: Measurement) -> Cell:
    value = float(estimate)
    n_decimals = max(3, decimals(value, estimate.standard_error or None))
    return Cell(fixed(value, n_decimals), spread(estimate.standard_error or 0.0, n_decimals), value)


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return fixed(low, 3) if fixed(low, 3) == fixed(high, 3) else f"{fixed(low, 3)} … {fixed(high, 3)}"


def _far(study: DirectionalEnergy) -> str:
    return " or ".join(str(far) for far in sorted({encoder.far for encoder in study.encoders}))
