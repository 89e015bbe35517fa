"""Checks of how an autoencoder runs: finite, the same twice and in batches, at other sizes, in tiles, in float16."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...nets.autoencoder.interface import tile_side
from ...records.diagnosis import Outcome
from .examination import HALF, Examination, fine, listed, look, skipped, squared_errors, times, wrong

SAME = 1e-3
"""Largest difference, in standard deviations, that rounding in float32 explains by far."""

FLOAT16_MAX = 65504.0


def runs(case: Examination) -> Outcome:
    """Encode and decode the images."""
    try:
        shapes = f"{_by(case.images)} to latents of {_by(case.latents)} and to pictures of {_by(case.output)}"
    except ValueError as error:
        fix = f"encode and decode have to take {len(case.images)} images of {case.side} × {case.side} pixels"
        return wrong("It does not run.", f"{error}.", fix)
    return fine("It encodes and decodes.", f"Images of {shapes}.")


def finite(case: Examination) -> Outcome:
    """Look for NaN and infinity in latents, log-variances and pictures, and for the first layer that puts them out."""
    found = ("latents", case.latents), ("log-variances", case.posterior.logvar), ("pictures", case.output)
    bad = [what for what, x in found if not x.isfinite().all()]
    if bad:
        evidence = f"First in {case.first_bad}." if case.first_bad else ""
        return wrong(
            f"{' and '.join(bad).capitalize()} are not finite.",
            evidence,
            "check the weights of that layer, or run it in float32 or bfloat16",
        )
    return fine("Latents and pictures are finite.")


def half_precision(case: Examination) -> Outcome:
    """Compare the largest activation in float32 with the end of float16."""
    if not case.peaks:
        return skipped("no layer of it can be watched")
    name, peak = max(case.peaks.items(), key=lambda pair: pair[1])
    over = [name for name, value in case.peaks.items() if value > FLOAT16_MAX]
    evidence = f"Largest activation {peak:.3g}, in {name}; float16 ends at {FLOAT16_MAX:.0f}."
    if over:
        declares = not getattr(case.model.model, "config", {}).get("force_upcast", True)
        return (wrong if declares else look)(
            "It overflows in float16.",
            f"{evidence} Layers beyond: {listed(over)}.",
            'run it in bfloat16 or float32; in config.json: "force_upcast": true',
        )
    return fine("Activations stay within float16.", evidence)


def batches(case: Examination) -> Outcome:
    """Compare images encoded and decoded one by one with the batch, also by diffusers' slicing."""
    latents = torch.cat([case.encode(image).mean for image in case.images[:2].split(1)])
    pictures = torch.cat([case.decode(latent) for latent in case.latents[:2].split(1)])
    differences = {
        "encode": _difference(latents, case.latents[:2], case.latents),
        "decode": _difference(pictures, case.output[:2], case.output),
    }
    network = case.model.model
    if hasattr(network, "use_slicing"):
        try:
            with _attributes(network, use_slicing=True):
                sliced = case.decode(case.latents[:2])
        except ValueError as error:
            return look("It fails with slicing.", f"{error}.", "vae.disable_slicing()")
        differences["decode with slicing"] = _difference(sliced, case.output[:2], case.output)
    evidence = f"Largest difference, in standard deviations: {_numbers(differences)}."
    if bad := [verb for verb, difference in differences.items() if difference > SAME]:
        return wrong(
            f"What comes out of {' and '.join(bad)} depends on the rest of the batch.",
            evidence,
            "call model.eval(); compute statistics within each image, not over the batch",
        )
    return fine("One by one and in a batch, the results are the same.", evidence)


def determinism(case: Examination) -> Outcome:
    """Encode and decode the same once more."""
    latents, pictures = case.encode(case.images).mean, case.decode(case.latents)
    differences = {
        "encode": _difference(latents, case.latents, case.latents),
        "decode": _difference(pictures, case.output, case.output),
    }
    if not any(differences.values()):
        return fine("Twice the same gives the same bits.")
    evidence = f"Largest difference, in standard deviations: {_numbers(differences)}."
    random = [verb for verb, difference in differences.items() if difference > SAME]
    if not random:
        return fine("Twice the same gives the same up to rounding.", evidence)
    return look(
        f"{' and '.join(random).capitalize()} {'draw' if len(random) > 1 else 'draws'} random numbers.",
        evidence,
        "return mean and logvar in place of a sample, call model.eval(), and draw noise from a fixed generator",
    )


def sizes(case: Examination) -> Outcome:
    """Encode and decode images of unequal sides that are odd multiples of what is declared.

    Images of fewer than three multiples are continued by their mirror images: one multiple is not unequal to another.
    """
    if case.model.size:
        return skipped(f"it takes images of {case.model.size} × {case.model.size} pixels alone")
    multiple = case.model.multiple
    n = max(3, case.side // multiple)
    tall = n if n % 2 else n - 1
    height, width = tall * multiple, (tall - 2) * multiple
    evidence = f"{height} × {width} pixels, {tall} × {tall - 2} times the multiple of {multiple}"
    images = _repeated(case.images, height, width)
    try:
        output = case.reconstruct(images)
    except ValueError as error:
        fix = f"declare a larger multiple on the object (multiple = {2 * multiple}), or pad inside"
        return wrong("It fails at a size that it should take.", f"{evidence}: {error}.", fix)
    errors = squared_errors(output, images)
    cropped = squared_errors(_repeated(case.output, height, width), images)
    ratio = times(errors, cropped)
    evidence = f"{evidence}: {ratio:.2g} times the error that the square ones have there"
    if ratio >= 1 / HALF and bool((errors > cropped).all()):
        return wrong(
            "Images of unequal sides come back much worse.",
            f"{evidence}.",
            "check where height and width are exchanged",
        )
    return fine("Odd multiples and unequal sides serve too.", f"{evidence}.")


def tiling(case: Examination) -> Outcome:
    """Encode and decode one picture in tiles, as diffusers does with large ones; tiles are shrunk to its size.

    Where shrunk tiles fail, those of the class's own size decide: overlaps may not divide the shrunk ones.
    """
    network, factor = case.model.model, case.model.factor
    found = {name: value for name, value in vars(network).items() if name.startswith(("tile_sample_", "tile_latent_"))}
    lengths = {name: value for name, value in found.items() if name.endswith(("_size", "_height", "_width"))}
    tile = tile_side(network)
    is_known = lengths and all(isinstance(value, int) for value in lengths.values())
    if not tile or not is_known or not hasattr(network, "use_tiling") or case.model.size:
        return skipped("its class has no tiles, or not of a known kind")
    positions = 16 if factor <= 16 else 8
    by = positions * factor / tile
    picture = _repeated(case.images[:1], (positions + positions // 4) * factor, positions * factor)
    try:
        with _attributes(network, use_tiling=True, **{n: _shrunk(n, x, by, factor) for n, x in lengths.items()}):
            tiled = case.reconstruct(picture)
    except ValueError:
        return _own_tiles(case, tile)
    with _attributes(network, use_tiling=False):
        plain = case.reconstruct(picture)
    beyond = slice(positions * factor, None)  # the first tile
    ratio = times(*(squared_errors(x[:, :, beyond], picture[:, :, beyond]) for x in (tiled, plain)))
    evidence = (
        f"Beyond the first of tiles of {positions} latent positions, the error is {ratio:.2g} times that without tiles "
        f"(the class’s are of {tile} pixels)."
    )
    if ratio >= 1 / HALF:
        return look("Tiles leave seams.", evidence, _TILES)
    return fine("In tiles it reconstructs as it does whole.", evidence)


def _own_tiles(case: Examination, tile: int) -> Outcome:
    """Say whether one picture a quarter larger than a tile of the class passes; failing is wrong if tiles are on."""
    network, multiple = case.model.model, case.model.multiple
    picture = _repeated(case.images[:1], *(-(-side // multiple) * multiple for side in (tile + tile // 4, tile)))
    try:
        with _attributes(network, use_tiling=True):
            case.reconstruct(picture)
    except ValueError as error:
        return (wrong if network.use_tiling else look)("It fails in tiles.", f"{error}.", _TILES)
    return fine("It runs in tiles of its class’s size.", f"They are of {tile} pixels; smaller ones do not fit.")


_TILES = "vae.disable_tiling(), or larger tiles that overlap more (tile_sample_min_size, tile_overlap_factor)"


def _shrunk(name: str, length: int, by: float, factor: int) -> int:
    unit = factor if name.startswith("tile_sample_") else 1  # pixels; else latent positions
    return max(1, round(length * by / unit)) * unit


def _repeated(image: Tensor, height: int, width: int) -> Tensor:
    """Return an image continued by its mirror images, without an edge, to a size."""
    rows, columns = (_mirrored(n, side) for n, side in zip((height, width), image.shape[-2:], strict=True))
    return image[:, :, rows][:, :, :, columns]


def _mirrored(n: int, side: int) -> Tensor:
    positions = torch.arange(n) % (2 * side)
    return torch.minimum(positions, 2 * side - 1 - positions)


@contextmanager
def _attributes(network: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(network, name) for name in values}
    try:
        for name, value in values.items():
            setattr(network, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(network, name, value)


def _difference(one: Tensor, other: Tensor, whole: Tensor) -> float:
    return float((one - other).abs().max() / whole.float().std().clamp_min(1e-12))


def _numbers(differences: dict[str, float]) -> str:
    return ", ".join(f"{verb} {difference:.2g}" for verb, difference in differences.items())


def _by(x: Tensor) -> str:
    return " × ".join(map(str, x.shape[1:]))
