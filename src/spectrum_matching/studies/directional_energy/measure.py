"""Directional spectra of encoders' tokens before and after each target filter, streamed over images."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...data.arrays import Images
from ...data.fingerprint import fingerprint
from ...data.images import Split
from ...data.masks import MaskSet, open_masks
from ...data.order import batches_at, spread_items
from ...data.summary import number
from ...data.walk import BadFile
from ...diffusion.alignment import DifferenceOfGaussians, SpatialNormalisation, Std, TargetFilter, Unfiltered
from ...metrics.estimates import estimate_mean
from ...metrics.latents.region_similarity import are_balanced, srss
from ...metrics.latents.similarity import cds, distance_cosines, lds
from ...nets.autoencoder import check_size, open_autoencoder
from ...nets.vision.encoders import VisionEncoder, open_vision
from ...records.analysis import Sample
from ...records.coverage import Coverage
from ...records.measurement import Measurement
from ...records.provenance import provenance
from ...spectrum.contrast import directional_energy, directional_spectrum, rmsc, unit_tokens
from ...spectrum.power import radial_bins, radial_profile
from .record import DirectionalEnergy, EncoderResult, FilterResult

logger = logging.getLogger(__name__)

LATENTS = "autoencoder:"
MOST_BANDS = 16
GAMMAS = (0.6, 1.0)
INNER, OUTER_SHARE = 0.5, 0.2


class NamedFilter(NamedTuple):
    """A target filter with the names that `FilterResult` has for it."""

    family: str
    settings: str
    divided: bool
    apply: TargetFilter

    @property
    def name(self) -> str:
        """The family, and whether each channel is divided by its std."""
        return f"{self.family}, by std" if self.divided else self.family


def open_encoder(source: str, device: torch.device) -> VisionEncoder:
    """Open a vision encoder by a name of `open_vision`, or the posterior means of "autoencoder:SOURCE" as tokens."""
    if not source.startswith(LATENTS):
        return open_vision(source, str(device))
    network = open_autoencoder(source.removeprefix(LATENTS), device)

    def grid(side: int) -> tuple[int, int]:
        check_size(source, network, side)
        return side // network.factor, side // network.factor

    def tokens(images: Tensor) -> Tensor:
        return network.encode(images).mean.flatten(2).mT

    resizer = "none: images as they are"
    return VisionEncoder(source, network.digest, network.channels, resizer, device, grid, tokens)


def target_filters(
    grid: tuple[int, int], gamma: Sequence[float] = GAMMAS, inner: float = INNER, outer: float | None = None
) -> list[NamedFilter]:
    """Return no filter, spatial normalisation by each gamma, and the difference of Gaussians as band- and high-pass.

    All but the first come with and without division by each channel's std. inner, outer: standard deviations in tokens;
    outer is a fifth of the shorter side by default.

    Raises:
        ValueError: for fewer than 4 × 4 tokens, or unless 0 < inner < outer.
    """
    h, w = grid
    if min(grid) < 4:
        raise ValueError(f"{h} x {w} tokens are too few for a spectrum and for distances; take a larger --size")
    outer = OUTER_SHARE * min(grid) if outer is None else outer
    if not 0 < inner < outer:
        got = f"inner {inner:g} and outer {outer:g} tokens on a grid of {h} x {w}"
        raise ValueError(f"expected 0 < inner < outer, got {got}; choose --inner and --outer")
    families: list[tuple[str, str, Callable[[Std], TargetFilter]]] = [
        *(
            ("less the mean" if g == 1 else f"less {g:g} mean", f"gamma {g:g}", partial(SpatialNormalisation, g))
            for g in gamma
        ),
        ("band-pass", f"sigma {inner:g} and {outer:g} tokens", partial(DifferenceOfGaussians, inner, outer)),
        ("high-pass", f"sigma {outer:g} tokens", partial(DifferenceOfGaussians, 0.0, outer)),
    ]
    stds: tuple[tuple[bool, Std], ...] = ((False, "none"), (True, "empirical"))
    filters = [NamedFilter(name, words, by, make(std)) for name, words, make in families for by, std in stds]
    return [NamedFilter("none", "", False, Unfiltered()), *filters]


def measure_directional_energy(
    encoders: Mapping[str, VisionEncoder],
    images: Images,
    *,
    gamma: Sequence[float] = GAMMAS,
    inner: float = INNER,
    outer: float | None = None,
    n_images: int | None = None,
    masks: Path | None = None,
    batch_size: int = 16,
    split: Split = "all",
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DirectionalEnergy:
    """Measure encoders, by name, on `n_images` (None: all) spread over the set, each read once.

    gamma, inner, outer: of `target_filters`. masks: a folder of foreground masks, for SRSS. split, command: for the
    record. progress: called with the number of images done and their total.

    Raises:
        ValueError: naming the encoder, if images or filters do not fit it or its tokens are not finite; for fewer than
            two readable images.
    """
    filters = {}
    for name, encoder in encoders.items():
        try:
            filters[name] = target_filters(encoder.grid(images.size), gamma, inner, outer)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    foreground = open_masks(masks, images) if masks else None
    rows: dict[str, list[list[dict[str, Tensor]]]] = {name: [[] for _ in filters[name]] for name in encoders}
    indices, bad, chosen, labels = list[int](), list[BadFile](images.bad), spread_items(images, n_images), set[int]()
    for batch in batches_at(images, batch_size, chosen):
        bad += batch.bad
        indices += batch.indices
        labels |= {label for label in batch.labels.tolist() if label >= 0}
        for name, encoder in encoders.items() if batch.indices else ():
            field = encoder(batch.images).field.double()
            if not field.isfinite().all():
                raise ValueError(f"{name}: its tokens are not finite")
            mask = foreground.read(batch.indices, encoder.grid(images.size)) if foreground else None
            for one, batches in zip(filters[name], rows[name], strict=True):
                batches.append(_image_rows(one.apply(field), mask))
        progress(len(indices) + len(bad) - len(images.bad), len(chosen))
    if (n := len(indices)) < 2:
        raise ValueError(f"{images.source}: {n} images can be read; standard errors need two or more")
    for file in bad:
        logger.warning("skipped %s", file)
    results = []
    for name, encoder in encoders.items():
        grid = encoder.grid(images.size)
        bins, counts = _bands(grid)
        results.append(
            EncoderResult(
                name=name,
                source=encoder.name,
                digest=encoder.digest,
                width=encoder.width,
                resizer=encoder.resizer,
                grid=grid,
                frequencies=tuple(radial_bins(*grid, bins, "frequency").frequencies[counts > 0].tolist()),
                counts=tuple(counts[counts > 0].tolist()),
                far=far_of(grid),
                filters=tuple(_summary(*pair, grid) for pair in zip(filters[name], rows[name], strict=True)),
            )
        )
    coverage = Coverage(n, len(images), len(labels), len(images.classes))
    return DirectionalEnergy(
        encoders=tuple(results),
        sample=Sample(
            images.source, split, coverage, images.size, fingerprint(images, indices).digest, tuple(map(str, bad))
        ),
        masks=str(masks or ""),
        command=command,
        provenance=provenance(next(iter(encoders.values())).device, torch.float32, 0),
        notes=tuple(_notes(results, foreground, n, bad)),
    )


def far_of(grid: tuple[int, int]) -> int:
    """Return the distance from which LDS and SRSS call tokens distant: 6 on 16 × 16, and that share of other grids."""
    return round(3 / 8 * min(grid))


def _image_rows(field: Tensor, foreground: Tensor | None) -> dict[str, Tensor]:
    """Return what is kept of each image (b, …) of a filtered field (b, d, h, w), on the CPU."""
    grid = (field.shape[-2], field.shape[-1])
    bins, counts = _bands(grid)
    units, spectrum, cosines = unit_tokens(field), directional_spectrum(field), distance_cosines(field)
    contrast, energy = rmsc(field), directional_energy(field)
    whole = ((units.norm(dim=1) - 1).abs() < 1e-6).all((-2, -1))
    mean_token = torch.where(whole, 1 - units.mean((-2, -1)).square().sum(1), energy)
    three = torch.stack([contrast.square(), energy, mean_token])
    rows = {
        "dc": spectrum[..., 0, 0],
        "bands": (radial_profile(spectrum, bins, "frequency", drop_dc=True) * counts.to(spectrum))[:, counts > 0],
        "energy": energy,
        "whole": whole,
        "deviation": three.amax(0) - three.amin(0),
        "rmsc": contrast,
        "lds": lds(cosines, grid, far_of(grid)),
        "cds": cds(cosines),
    }
    if foreground is not None:
        balanced = are_balanced(foreground)
        rows["srss"] = torch.empty(
            0, dtype=torch.float64
        )  # present even if no mask of the batch is balanced: masks were given
        if balanced.any():
            rows["srss"] = srss(field[balanced], foreground[balanced].to(field.device), far=far_of(grid))
    return {key: values.cpu() for key, values in rows.items()}


def _summary(one: NamedFilter, batches: Sequence[Mapping[str, Tensor]], grid: tuple[int, int]) -> FilterResult:
    rows = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    regions = rows["srss"][rows["srss"].isfinite()] if "srss" in rows else torch.empty(0)
    unbalanced = "no mask has a quarter of the tokens inside and a quarter outside"
    reason = unbalanced if "srss" in rows else "no masks were given"
    return FilterResult(
        filter=one.name,
        family=one.family,
        settings=one.settings,
        divided=one.divided,
        dc=estimate_mean(rows["dc"]),
        shares=tuple(map(estimate_mean, rows["bands"].unbind(1))),
        energy=estimate_mean(rows["energy"]),
        measurements={
            "rmsc": estimate_mean(rows["rmsc"], (1 - 1 / (grid[0] * grid[1])) ** 0.5),
            "lds": estimate_mean(rows["lds"], 0.0),
            "cds": estimate_mean(rows["cds"], 0.0),
            "srss": estimate_mean(regions, 0.0) if len(regions) else Measurement(None, white=0.0, refused=reason),
        },
        deviation=float(rows["deviation"].max()),
        n_without=int((~rows["whole"]).sum()),
    )


def _notes(encoders: Sequence[EncoderResult], masks: MaskSet | None, n: int, bad: Sequence[BadFile]) -> Iterator[str]:
    if bad:
        yield f"{len(bad)} of {n + len(bad)} files could not be used, the first {bad[0]}."
    for encoder in encoders:
        if n := encoder.filters[0].n_without:
            zero = "images with tokens that are zero before any filter, as gradients of a flat region are"
            rest = "Such tokens have no direction, and the shares of such an image sum to less than 1."
            yield f"{encoder.name}: {zero}: {n}. {rest}"
    if masks and masks.missing:
        without = number(len(masks.missing), "image has no mask", "images have no mask")
        yield f"{without}, such as {masks.missing[0]}; SRSS is of the others."


def _bands(grid: tuple[int, int]) -> tuple[int, Tensor]:
    """Return the number of bands, and the number of coefficients in each without DC."""
    bins = min(MOST_BANDS, *grid)
    counts = radial_bins(*grid, bins, "frequency").counts.clone()
    counts[0] -= 1
    return bins, counts
