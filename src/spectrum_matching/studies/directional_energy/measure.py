"""Directional spectra of an encoder's tokens before and after each target filter, streamed over images."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...data.masks import MaskSet
from ...data.order import batches_at
from ...data.tensors import Images
from ...diffusion.alignment import DifferenceOfGaussians, SpatialNormalisation, Std, TargetFilter, Unfiltered
from ...files.digests import digest_weights
from ...metrics import cds, distance_cosines, lds, srss
from ...metrics.estimates import mean_number
from ...nets.autoencoder import Autoencoder
from ...nets.vision.encoders import open_vision
from ...records.measurement import Measurement
from ...spectrum.contrast import directional_energy, directional_spectrum, rmsc, unit_tokens
from ...spectrum.power import radial_bins, radial_profile
from .record import EncoderReading, FilterReading

LATENTS = "autoencoder:"
MOST_BANDS = 16
MASK_SHARE = 0.25
GAMMAS = (0.6, 1.0)
INNER, OUTER_SHARE = 0.5, 0.2


class Encoder(NamedTuple):
    """Images (b, 3, H, W) in [−1, 1] → fields (b, d, h, w), whose they are, and how it resizes images.

    grid: pixels on a side of square images → (h, w); ValueError where they do not fit.
    """

    source: str
    digest: str
    width: int
    resizer: str
    grid: Callable[[int], tuple[int, int]]
    fields: Callable[[Tensor], Tensor]


class Reading(NamedTuple):
    """Of one encoder, over how many images, and the files that could not be read."""

    encoder: EncoderReading
    n_images: int
    bad: tuple[str, ...]


class NamedFilter(NamedTuple):
    """A target filter, by the names that `FilterReading` has for it."""

    family: str
    settings: str
    divided: bool
    apply: TargetFilter

    @property
    def name(self) -> str:
        """The family and, where each channel is divided by its std, that."""
        return f"{self.family}, by std" if self.divided else self.family


def open_encoder(source: str, device: torch.device) -> Encoder:
    """A vision encoder as `open_vision` names them, or the posterior means of "autoencoder:SOURCE".

    ValueError in one line for what does not open.
    """
    if source.startswith(LATENTS):
        network = Autoencoder.from_pretrained(source.removeprefix(LATENTS)).to(device).eval()

        def means(images: Tensor) -> Tensor:
            return network.encode(images).mean

        def cells(side: int) -> tuple[int, int]:
            if side % network.multiple or network.size not in (None, side):
                expected = network.size or f"a multiple of {network.multiple}"
                raise ValueError(f"{source} takes images of {expected} pixels, not of {side}: choose --size")
            return side // network.factor, side // network.factor

        return Encoder(source, digest_weights(network), network.channels, "none: images as they are", cells, means)
    vision = open_vision(source, str(device))

    def tokens(images: Tensor) -> Tensor:
        return vision(images).field

    return Encoder(source, vision.digest, vision.width, vision.resizer, vision.grid, tokens)


def filters_of(
    name: str,
    encoder: Encoder,
    side: int,
    gammas: Sequence[float] = GAMMAS,
    inner: float = INNER,
    outer: float | None = None,
) -> tuple[NamedFilter, ...]:
    """`target_filters` of the tokens of images of `side` pixels.

    ValueError, naming the encoder, for images that do not fit it, and for fewer than 4 × 4 tokens.
    """
    grid = encoder.grid(side)
    if min(grid) < 4:
        raise ValueError(
            f"{name}: {grid[0]} x {grid[1]} tokens are too few for a spectrum and for distances; take a larger --size"
        )
    return target_filters(grid, gammas, inner, outer)


def target_filters(
    grid: tuple[int, int], gammas: Sequence[float] = GAMMAS, inner: float = INNER, outer: float | None = None
) -> tuple[NamedFilter, ...]:
    """None; spatial normalisation by each gamma, difference of Gaussians as band-pass and as high-pass, each of these
    with and without division by each channel's std.

    inner, outer: standard deviations in tokens; outer is a fifth of the shorter side by default. ValueError where they
    are no pair.
    """
    outer = OUTER_SHARE * min(grid) if outer is None else outer
    if not 0 < inner < outer:
        raise ValueError(
            f"expected 0 < inner < outer, got inner {inner:g} and outer {outer:g} tokens on a grid of "
            f"{grid[0]} x {grid[1]}; choose --inner and --outer"
        )
    made = [NamedFilter("none", "", False, Unfiltered())]
    for divided in (False, True):
        std: Std = "empirical" if divided else "none"
        made += [
            *(
                NamedFilter(
                    "less the mean" if gamma == 1 else f"less {gamma:g} mean",
                    f"gamma {gamma:g}",
                    divided,
                    SpatialNormalisation(gamma, std),
                )
                for gamma in gammas
            ),
            NamedFilter(
                "band-pass",
                f"sigma {inner:g} and {outer:g} tokens",
                divided,
                DifferenceOfGaussians(inner, outer, std),
            ),
            NamedFilter("high-pass", f"sigma {outer:g} tokens", divided, DifferenceOfGaussians(0.0, outer, std)),
        ]
    families = list(dict.fromkeys(own.family for own in made))
    return tuple(sorted(made, key=lambda own: families.index(own.family)))


def read_encoder(
    name: str,
    encoder: Encoder,
    images: Images,
    filters: Sequence[NamedFilter],
    *,
    n_images: int | None = None,
    masks: MaskSet | None = None,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Reading:
    """Means over the first `n_images` (None: all), each once and in order.

    filters: `filters_of`. masks: for SRSS. ValueError, naming the encoder, for fields that are not finite, and for
    fewer than two images that can be read.
    """
    rows = [_Rows() for _ in filters]
    bad: list[str] = []
    n, done, grid = 0, 0, (0, 0)
    places = range(len(images) if n_images is None else min(n_images, len(images)))
    with torch.inference_mode():
        for batch in batches_at(images, batch_size, places):
            bad += [f"{file.name}: {file.reason}" for file in batch.bad]
            done += len(batch.indices) + len(batch.bad)
            progress(done, len(places))
            if not batch.indices:
                continue
            field = encoder.fields(batch.images.to(device)).double()
            grid = (field.shape[-2], field.shape[-1])
            if not field.isfinite().all():
                raise ValueError(f"{name}: its tokens are not finite")
            foreground = _foreground(masks, batch.indices, grid) if masks else None
            for own, each in zip(filters, rows, strict=True):
                each.add(own.apply(field), foreground)
            n += len(batch.indices)
    if n < 2:
        raise ValueError(f"{images.source}: {n} images can be read; standard errors need two or more")
    bins, counts = _bands(grid)
    found = EncoderReading(
        name=name,
        source=encoder.source,
        digest=encoder.digest,
        width=encoder.width,
        resizer=encoder.resizer,
        grid=grid,
        frequencies=tuple(radial_bins(*grid, bins, "frequency").frequencies[counts > 0].tolist()),
        counts=tuple(int(count) for count in counts[counts > 0]),
        far=far_of(grid),
        filters=tuple(each.reading(own, grid) for own, each in zip(filters, rows, strict=True)),
    )
    return Reading(found, n, tuple(bad))


def notes_of(encoders: Sequence[EncoderReading], masks: MaskSet | None) -> Iterator[str]:
    """What a reader must know before the numbers."""
    for encoder in encoders:
        n = encoder.filters[0].n_without
        if n:
            yield (
                f"{encoder.name}: images with tokens that are zero before any filter, as gradients of a flat region "
                f"are: {n}. Such tokens have no direction, and the shares of such an image add up to less than 1."
            )
    if masks and masks.missing:
        yield f"{len(masks.missing)} images have no mask, such as {masks.missing[0]}; SRSS is of the others."


def far_of(grid: tuple[int, int]) -> int:
    """Tokens apart from which LDS and SRSS call two distant: 6 on 16 × 16, and that share of the shorter side."""
    return round(3 / 8 * min(grid))


class _Rows:
    """What is kept of each image after one filter."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Tensor]] = {}

    def add(self, field: Tensor, foreground: Tensor | None) -> None:
        grid = (field.shape[-2], field.shape[-1])
        bins, counts = _bands(grid)
        units, spectrum = unit_tokens(field), directional_spectrum(field)
        contrast, energy = rmsc(field), directional_energy(field)
        mean_token = 1 - units.mean((-2, -1)).square().sum(1)
        cosines, far = distance_cosines(field), far_of(grid)
        self._keep("dc", spectrum[..., 0, 0])
        self._keep("bands", radial_profile(spectrum, bins, "frequency", drop_dc=True) * counts.to(spectrum))
        self._keep("rmsc", contrast)
        self._keep("energy", energy)
        whole = ((units.norm(dim=1) - 1).abs() < 1e-6).all((-2, -1))
        self._keep("whole", whole)
        three = torch.stack([contrast.square(), energy, torch.where(whole, mean_token, energy)])
        self._keep("deviation", three.amax(0) - three.amin(0))
        self._keep("lds", lds(cosines, grid, far))
        self._keep("cds", cds(cosines))
        if foreground is not None:
            share = foreground.double().mean((-2, -1))
            balanced = (share >= MASK_SHARE) & (share <= 1 - MASK_SHARE)
            # None of a batch is balanced: an empty row, so that masks that were given are not said to be missing.
            found = (
                srss(field[balanced], foreground[balanced].to(field.device), far=far) if balanced.any() else share[:0]
            )
            self._keep("srss", found)

    def _keep(self, name: str, rows: Tensor) -> None:
        self._rows.setdefault(name, []).append(rows.detach().cpu())

    def reading(self, own: NamedFilter, grid: tuple[int, int]) -> FilterReading:
        rows = {name: torch.cat(parts) for name, parts in self._rows.items()}
        bands = rows["bands"][:, _bands(grid)[1] > 0]
        n_tokens = grid[0] * grid[1]
        return FilterReading(
            filter=own.name,
            family=own.family,
            settings=own.settings,
            divided=own.divided,
            dc=mean_number(rows["dc"]),
            shares=tuple(map(mean_number, bands.unbind(1))),
            energy=mean_number(rows["energy"]),
            measurements={
                "rmsc": mean_number(rows["rmsc"], (1 - 1 / n_tokens) ** 0.5),
                "lds": mean_number(rows["lds"], 0.0),
                "cds": mean_number(rows["cds"], 0.0),
                "srss": _regions(rows.get("srss")),
            },
            deviation=float(rows["deviation"].max()),
            n_without=int((~rows["whole"]).sum()),
        )


def _regions(rows: Tensor | None) -> Measurement:
    if rows is None:
        return Measurement(None, white=0.0, refused="no masks were given")
    rows = rows[rows.isfinite()]
    if not len(rows):
        reason = "no mask has a quarter of the tokens inside and a quarter outside"
        return Measurement(None, white=0.0, refused=reason)
    return mean_number(rows, 0.0)


def _bands(grid: tuple[int, int]) -> tuple[int, Tensor]:
    """How many bands, and how many coefficients each holds without DC."""
    bins = min(MOST_BANDS, *grid)
    counts = radial_bins(*grid, bins, "frequency").counts.clone()
    counts[0] -= 1
    return bins, counts


def _foreground(masks: MaskSet, places: Sequence[int], grid: tuple[int, int]) -> Tensor:
    """(b, h, w); all background for an image without a mask, which SRSS then leaves out."""
    nothing = torch.zeros(grid, dtype=torch.bool)
    return torch.stack([masks[place, grid] if place in masks.images else nothing for place in places])
