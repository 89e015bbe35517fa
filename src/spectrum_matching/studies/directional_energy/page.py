"""Directional energy as sections of a page: spectra by filter, the spatial metrics, and their evidence."""

from collections.abc import Sequence

from ...records.measurement import Measurement
from ...report.canvas import Curve, Panel, by_row, curves, estimate
from ...report.digits import decimals, fixed, number, spread
from ...report.marks import DASHED, MUTED, hollow, line
from ...report.study_page import Block, StudyTable, render_study
from ...report.table import Cell, Column, Table
from .record import DirectionalEnergy, EncoderResult, FilterResult

TITLES = {"rmsc": "RMSC", "lds": "LDS", "cds": "CDS", "srss": "SRSS"}
UNITS = {"rmsc": "0 to 1", "lds": "cosine", "cds": "cosine / token", "srss": "cosine"}
# |r| with gFID over 27 encoders as alignment targets, arXiv 2512.10794.
CORRELATIONS = {"rmsc": "0.888", "srss": "0.885", "lds": "0.852", "cds": "0.847"}


def directional_page(study: DirectionalEnergy) -> str:
    """Return the page."""
    names = [encoder.name for encoder in study.encoders]
    settings = [(encoder.name, f"{encoder.source} {encoder.digest}; {encoder.resizer}") for encoder in study.encoders]
    return render_study(study, "Where an encoder’s directions vary", _lead(study), _blocks(study), names, settings)


def _lead(study: DirectionalEnergy) -> list[str]:
    """Return what was measured, whether the identity holds, and what subtracting the mean does."""
    results = [result for encoder in study.encoders for result in encoder.filters]
    n, sample = len(study.encoders), study.sample
    lead = [
        f"{n} encoder{'s' * (n > 1)} on {sample.coverage} ({sample.source}), {sample.size} × {sample.size} "
        f"pixels, before and after {len(study.encoders[0].filters) - 1} target filters.",
        "RMSC² is the directional spectral energy, and that is 1 − ‖mean unit token‖²: computed independently for "
        f"every image, encoder and filter, they differ by {number(max(r.deviation for r in results), 2)} at most.",
    ]
    plain, bare = (
        [float(result.measurements["rmsc"]) for result in results if result.family == family]
        for family in ("none", "less the mean")
    )
    if bare:
        lead.append(f"Subtracting the mean token takes RMSC from {_range(plain)} to {_range(bare)}; the maximum is 1.")
    return lead


def _blocks(study: DirectionalEnergy) -> tuple[Block, ...]:
    under = "Share of each band, mean and standard error over images; columns sum to 1 if all tokens have a direction."
    far = " or ".join(str(far) for far in sorted({encoder.far for encoder in study.encoders}))
    return (
        Block(
            "Where directions vary",
            (
                "Mean power of the unit tokens by frequency, per coefficient, over that of white noise (the line at "
                "1). Tokens are scaled to unit length after the filter, as a cosine does.",
            ),
            tuple(_spectrum(encoder, study.families) for encoder in study.encoders),
            tables=(StudyTable("Shares by band", _band_table(study), "encoder", under, folded=True, dense=True),),
            key=study.families,
            extra="dashed: each channel also divided by its std",
        ),
        Block(
            "Spatial metrics by filter",
            (
                "A row for each filter, a mark for each encoder; bars are one standard error over images. Hollow: each "
                "channel also divided by its std.",
            ),
            tuple(_by_filter(study, key) for key in _keys(study)),
        ),
        Block("In numbers", (), tables=(StudyTable("Every encoder and filter", number_table(study), "encoder"),)),
        Block(
            "Evidence and definitions",
            (
                "Over 27 encoders as alignment targets, each at its own best, iREPA (arXiv 2512.10794) found these "
                "absolute correlations with the gFID of the generator: "
                f"{', '.join(f'{TITLES[key]} {r}' for key, r in CORRELATIONS.items())}.",
                "They are of encoders, not of filters: nothing published says that a filter which raises a number "
                "helps. White noise has an RMSC of nearly 1, and a blurred field wins LDS, CDS and SRSS: each is "
                "one-sided, so that no filter can be chosen by one of them alone.",
                f"LDS: cosine of adjacent tokens minus that of tokens {far} or more apart. CDS: minus the slope of the "
                "cosine over distances of 1 to 8 tokens. SRSS: cosine within the foreground minus that to the "
                "background, over images whose masks fill between a quarter and three quarters. All of tokens as the "
                "filter leaves them, not standardised.",
            ),
        ),
    )


def number_table(study: DirectionalEnergy) -> Table:
    """Return a row for each encoder and filter."""
    columns = (
        Column("filter", is_text=True),
        Column("DC", "share of energy"),
        Column("energy", "directional, outside DC"),
        *(Column(TITLES[key], UNITS[key]) for key in _keys(study)),
    )
    rows = []
    for i, encoder in enumerate(study.encoders):
        for result in encoder.filters:
            numbers = (result.dc, result.energy, *(result.measurements[key] for key in _keys(study)))
            rows.append((i, (Cell(result.filter, result.settings), *map(_cell, numbers))))
    return Table(columns, tuple(rows))


def _band_table(study: DirectionalEnergy) -> Table:
    columns = [Column(result.filter) for result in study.encoders[0].filters]
    rows = []
    for i, encoder in enumerate(study.encoders):
        rows.append((i, (Cell("DC"), *(_cell(result.dc) for result in encoder.filters))))
        for band, frequency in enumerate(encoder.frequencies):
            shares = (_cell(result.shares[band]) for result in encoder.filters)
            rows.append((i, (Cell(fixed(frequency, 3)), *shares)))
    return Table((Column("band", "cycles per token", is_text=True), *columns), tuple(rows))


def densities(encoder: EncoderResult, result: FilterResult) -> list[float]:
    """Return the power per coefficient of each band over that of white noise, whose energy is even: (bands,)."""
    n_tokens = encoder.grid[0] * encoder.grid[1]
    return [float(share) / count * n_tokens for share, count in zip(result.shares, encoder.counts, strict=True)]


def _spectrum(encoder: EncoderResult, families: Sequence[str]) -> Panel:
    h, w = encoder.grid
    series = []
    for result in encoder.filters:
        style = {"linestyle": DASHED, "marker": ""} if result.divided else {"markersize": 3.2}
        tip = result.filter + "\n{x} cycles per token: {y} times white noise’s"
        style = line(families.index(result.family)) | style
        series.append(Curve(encoder.frequencies, densities(encoder, result), tip, style))
    words = (f"{encoder.name}, {h} × {w} tokens of {encoder.width}", "cycles per token", "power / white noise’s")
    return curves(*words, series, x_scale="frequency", y_scale="log", level=(1, MUTED))


def _by_filter(study: DirectionalEnergy, key: str) -> Panel:
    families, title, n, series = study.families, TITLES[key], len(study.encoders), list[Curve]()
    for i, encoder in enumerate(study.encoders):
        for result in encoder.filters:
            value, error = result.measurements[key].value, result.measurements[key].standard_error or 0.0
            if value is not None:
                y = families.index(result.family) + 0.66 * ((2 * i + result.divided + 0.5) / (2 * n) - 0.5)
                tip = f"{encoder.name}, {result.filter}\n{title} {number(value, 4)} ± {number(error, 2)}"
                series += estimate(value, error, y, tip, i, encoder.name, **(hollow(i) if result.divided else {}))
    label = f"{title} of every encoder by filter"
    heading = f"{title}, |r| with gFID {CORRELATIONS[key]}"
    return by_row(heading, f"{title}, {UNITS[key]}", families, series, label=label, left=104, row=34)


def _keys(study: DirectionalEnergy) -> list[str]:
    return [key for key in TITLES if key != "srss" or study.masks]


def _cell(measurement: Measurement) -> Cell:
    if measurement.value is None:
        return Cell("refused")
    value, n_decimals = measurement.value, max(3, decimals(measurement.value, measurement.standard_error or None))
    return Cell(fixed(value, n_decimals), spread(measurement.standard_error, n_decimals), value)


def _range(values: Sequence[float]) -> str:
    low, high = fixed(min(values), 3), fixed(max(values), 3)
    return low if low == high else f"{low} … {high}"
