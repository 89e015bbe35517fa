"""The frequency bias as sections of a page."""

from collections.abc import Callable, Sequence

from ...report.analysis.tables import MISSING
from ...report.digits import fixed, number
from ...report.study_page import Block, StudyTable
from ...report.table import Cell, Column, Table
from . import figures
from .record import Band, Case, FrequencyBias


def frequency_lead(study: FrequencyBias) -> tuple[str, ...]:
    """What was trained, on what."""
    first, n = study.cases[0], len(study.cases)
    return (
        f"{study.name}: {n} training{'s' * (n > 1)} of {len(study.names)} case{'s' * (len(study.names) > 1)}. Each "
        f"is a denoiser, of {first.n_parameters:,} parameters for {first.subject}, after {first.looks[-1].step:,} "
        f"updates on {first.n_train:,} fields; errors are of {first.n_test} that no denoiser was trained on, the same "
        "noise at every look.",
        "A band is a ring of the DCT. An error is that of x̂, the estimate of the clean field at noise level t (0 data, "
        "1 noise). Wiener is the best denoiser that is linear and treats each coefficient by itself, all channels of "
        "it together: for Gaussian fields the best of all.",
    )


def frequency_blocks(study: FrequencyBias) -> tuple[Block, ...]:
    """The sections."""
    dashes = "lines of 9 to 16 are dashed, later ones dotted" if len(study.names) > 8 else ""
    control = next((case for case in study.cases if case.name == "images"), study.cases[0])
    firsts = [study.of(name)[0] for name in study.names]
    blocks = [
        Block(
            "Side by side",
            (
                "ρ is Spearman’s rank correlation with frequency, over the bands of one training: 1 where every higher "
                "band has more of it, −1 where every higher band has less, – where bands differ by less than a tenth. "
                "Half: updates to half of the way from the first loss in a band to the last. Left: squared error of "
                "the prediction less Wiener’s, a coefficient; over Wiener: squared error of x̂ over Wiener’s. First "
                "seed; the others stand below it.",
            ),
            tables=(
                StudyTable("Every case", case_table(study), "case", dense=True),
                StudyTable("What each is", description_table(study), "case", folded=True),
            ),
        ),
        Block(
            "What was learned",
            (
                "Mean power of a coefficient in each band of the held-out data, all of unit variance: white noise lies "
                "at 1 (the line). Dotted, here and below: waves faster than that lie within one token of the network, "
                "slower ones across tokens. A sample is a pixel, of latents a cell, which is many pixels wide: latents "
                "and images share an axis, not a frequency.",
            ),
            tuple(figures.spectra(study)),
            extra=dashes,
            numbered=True,
        ),
        Block(
            "Error by update",
            (
                "First, a band at 1 would be estimated as well by its mean. Then the same error over Wiener’s (the "
                "line at 1): what is above it, the network has still to learn; below it, it knows more than the "
                "spectrum says. Last, the squared error of the velocity, a coefficient, mean over noise levels.",
            ),
            tuple(figures.band_curves(control)),
            key=figures.curve_key(control),
        ),
        Block(
            "Which bands are learned first",
            (
                "Updates until half of the way from the untrained network’s loss in a band to its last; below, of the "
                "way of its logarithm. A rising line: low bands first; a falling one: high bands first. A line a seed; "
                "in a band without a point nothing was learned.",
            ),
            tuple(figures.halves(study)),
            extra=dashes,
            numbered=True,
        ),
        Block(
            "Which bands are learned best",
            (
                "Final error over Wiener’s, geometric mean over noise levels. 1 (the line) is what the spectrum alone "
                "allows. Wiener’s error is small where the power is: what is left undone may be many times it and yet "
                "little; the first table has it in absolute terms.",
            ),
            tuple(
                figures.by_band(study, "final error / Wiener’s", lambda band: band.ratio.value, "{y} times", level=1)
            ),
            extra=dashes,
            numbered=True,
        ),
        Block(
            "How much of it is the data",
            (
                "Final error over the band’s own power, mean over noise levels: 0 is perfect, 1 as good as the mean. "
                "Wiener’s own share of it is in the table below and follows from the spectrum alone.",
            ),
            tuple(figures.by_band(study, "final error / power", lambda band: band.final_error, "{y} of its power")),
            tables=(StudyTable("Every band of every case", band_table(study), "case", folded=True, dense=True),),
            extra=dashes,
            numbered=True,
        ),
        Block(
            "By noise level",
            (
                f"{control.name}, seed {control.seed}, highest band on top. Over Wiener, 1 stands for twice its error "
                "and −1 for half of it.",
            ),
            tuple(figures.level_maps(control)),
            key=(),
        ),
        Block(
            "Every case by update",
            (
                "Error over Wiener’s in doublings: 0 is what the spectrum alone allows, 1 twice as much. Look along a "
                "row for when a band is learned, down a column for which band is ahead.",
            ),
            tuple(own for case in firsts for own in figures.update_map(case)),
            key=(),
        ),
        Block(
            "Every case by noise level",
            ("Final error over Wiener’s in doublings, as above.",),
            tuple(own for case in firsts for own in figures.ratio_map(case, case.name)),
            key=(),
        ),
        Block(
            "Sampled fields",
            (
                f"Power by band of {control.n_samples} generated fields ({study.sampling}) over that of fields "
                "generated alike by the best linear denoiser, whose power without the sampler’s error is the training "
                "data’s: 0 dB is right, above it too much, below it too little. The table has both over the data’s.",
            ),
            tuple(figures.by_band(study, "power / Wiener’s, dB", _sampled, "{y} dB", log=False, level=0)),
            extra=dashes,
            numbered=True,
        ),
    ]
    if pictures := tuple(figures.sample_pictures(study)):
        said = "Not chosen: the first of each case, from the same noise. The tilt of a spectrum is undone."
        blocks.append(Block("Generated images", (said,), pictures, key=()))
    if shares := tuple(figures.error_shares(study)):
        blocks.append(
            Block(
                "Where the error is",
                (
                    "Shares of the trained network’s error by band. As seen: the tilt of a spectrum undone, then "
                    "weighted by the squared contrast sensitivity of Mannos and Sakrison (1974), all colours alike, "
                    f"for images of {study.pixels_per_degree:g} pixels per degree.",
                ),
                shares,
                key=("as it is", "as seen"),
                extra="dashed: the data’s own power",
            )
        )
    if seen := tuple(figures.seen_figures(study)):
        blocks.append(
            Block(
                "As eyes see it",
                (
                    "First, how many times Wiener’s the error is, weighted by contrast sensitivity, over how many "
                    "times it is unweighted: below 1 (the line) eyes forgive more of what learning left undone than "
                    "of the rest. Then x̂ as an image, less Wiener’s on the same data: noise is added to the tilted "
                    "field, so that cases of another tilt meet other noise. The tilt of a spectrum is undone.",
                ),
                seen,
                tables=(StudyTable("At the middle noise level", sight_table(study), "case", folded=True),),
                extra=dashes,
                numbered=True,
            )
        )
    if study.injection:
        injection = study.injection
        blocks.append(
            Block(
                "Equal errors, band by band",
                (
                    f"Random errors of one band at a time in {injection.n_images} images, all of RMS "
                    f"{injection.rms:g} in a range of 2, images at {injection.contrast:g} of their "
                    "contrast so that nothing is clipped. ↑ higher is better, ↓ lower. ρ: rank correlation of the "
                    "damage with frequency; −1 where a metric forgives every higher band more.",
                ),
                tuple(figures.injections(injection)),
                key=(),
            )
        )
    return tuple(blocks)


def case_table(study: FrequencyBias) -> Table:
    """A row a case, of its first seed; the others' numbers stand small."""
    columns = (
        Column("exponent", "of 1 / f^α"),
        Column("loss", "final"),
        Column("loss", "Wiener’s"),
        Column("half", "lowest band"),
        Column("half", "highest"),
        Column("ρ", "of half"),
        Column("ρ", "of log half"),
        Column("left", "lowest band"),
        Column("left", "highest"),
        Column("over Wiener", "lowest band"),
        Column("over Wiener", "highest"),
        Column("ρ", "of that"),
    )
    numbers: tuple[tuple[Callable[[Case], float | None], int], ...] = (
        (lambda case: case.exponent.value, 2),
        (lambda case: _whole(case, "final_loss"), 3),
        (lambda case: _whole(case, "wiener_loss"), 3),
        (lambda case: case.bands[0].half.to_final, 0),
        (lambda case: case.bands[-1].half.to_final, 0),
        (lambda case: case.order.half, 2),
        (lambda case: case.order.half_log, 2),
        (lambda case: case.bands[0].final_loss - case.bands[0].wiener_loss, 3),
        (lambda case: case.bands[-1].final_loss - case.bands[-1].wiener_loss, 3),
        (lambda case: case.bands[0].ratio.value, 2),
        (lambda case: case.bands[-1].ratio.value, 2),
        (lambda case: case.order.ratio, 2),
    )
    rows = [
        (place, tuple(_over_seeds([of(case) for case in study.of(name)], digits) for of, digits in numbers))
        for place, name in enumerate(study.names)
    ]
    return Table(columns, tuple(rows))


def description_table(study: FrequencyBias) -> Table:
    """In words."""
    columns = tuple(Column(title, is_text=True) for title in ("data", "loss", "shape", "network", "seeds"))
    rows = []
    for place, name in enumerate(study.names):
        cases = study.of(name)
        first = cases[0]
        words = (first.data, first.objective, " × ".join(map(str, first.shape)), first.denoiser)
        seeds = ", ".join(str(case.seed) for case in cases)
        rows.append((place, tuple(Cell(word) for word in (*words, seeds))))
    return Table(columns, tuple(rows))


def band_table(study: FrequencyBias) -> Table:
    """A row for each case and band, of the first seed with the others' numbers small."""
    columns = (
        Column("band", "cycles per sample"),
        Column("power", "white: 1"),
        Column("loss", "untrained"),
        Column("loss", "final"),
        Column("loss", "Wiener’s"),
        Column("half", "updates"),
        Column("half of log", "updates"),
        Column("half to Wiener", "updates"),
        Column("error / power", "final"),
        Column("error / power", "Wiener’s"),
        Column("over Wiener", "ratio"),
        Column("± over fields", "first seed"),
        Column("sampled", "dB, the network"),
        Column("sampled", "dB, Wiener"),
    )
    rows = []
    for place, name in enumerate(study.names):
        cases = study.of(name)
        for k, band in enumerate(cases[0].bands):
            own = [case.bands[k] for case in cases]
            cells = [Cell(number(band.frequency), "", band.frequency), Cell(number(band.power), "", band.power)]
            for of in (
                [each.first_loss for each in own],
                [each.final_loss for each in own],
                [each.wiener_loss for each in own],
                [each.half.to_final for each in own],
                [each.half.to_final_log for each in own],
                [each.half.to_wiener for each in own],
                [each.final_error for each in own],
                [each.wiener_error for each in own],
                [each.ratio.value for each in own],
                [own[0].ratio.standard_error],
                [each.sampled_decibels for each in own],
                [each.wiener_sampled_decibels for each in own],
            ):
                cells.append(_over_seeds(of))
            rows.append((place, tuple(cells)))
    return Table(columns, tuple(rows))


def sight_table(study: FrequencyBias) -> Table:
    """Image metrics of x̂ at the middle noise level, of the network and of Wiener."""
    columns = [
        Column(f"{title}", of) for title in ("PSNR, dB", "CSF-weighted, dB", "SSIM") for of in ("network", "Wiener")
    ]
    has_lpips = any(level.network and level.network.lpips is not None for c in study.cases for level in c.levels)
    columns += [Column("LPIPS", of) for of in ("network", "Wiener") if has_lpips]
    rows = []
    for place, name in enumerate(study.names):
        case = study.of(name)[0]
        level = case.levels[len(case.levels) // 2]
        if level.network is None or level.wiener is None:
            continue
        pairs = [("psnr", 2), ("csf_psnr", 2), ("ssim", 3), *([("lpips", 3)] if has_lpips else [])]
        cells = [_cell(getattr(own, key), digits) for key, digits in pairs for own in (level.network, level.wiener)]
        rows.append((place, tuple(cells)))
    return Table(tuple(columns), tuple(rows))


def _sampled(band: Band) -> float | None:
    if band.sampled_decibels is None or band.wiener_sampled_decibels is None:
        return None
    return band.sampled_decibels - band.wiener_sampled_decibels


def _whole(case: Case, key: str) -> float:
    """Mean over all coefficients of a loss by band."""
    n = sum(band.coefficients for band in case.bands)
    total: float = sum(getattr(band, key) * band.coefficients for band in case.bands)
    return total / n


def _over_seeds(values: Sequence[float | None], decimals: int | None = None) -> Cell:
    """The first seed's, the others' small."""
    first, *others = values
    said = ", ".join(_written(value, decimals) for value in others)
    return Cell(_written(first, decimals), said, first)


def _cell(value: float | None, decimals: int) -> Cell:
    return MISSING if value is None else Cell(fixed(value, decimals), "", value)


def _written(value: float | None, decimals: int | None) -> str:
    if value is None:
        return "–"
    return number(value) if decimals is None else fixed(value, decimals)
