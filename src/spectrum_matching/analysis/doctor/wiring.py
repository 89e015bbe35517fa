"""The check of wiring: would the autoencoder reconstruct better with another range, colour order, orientation, scale?

No reference is needed: the network itself prefers what it was trained with.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ...latent_space import LatentSpace
from ...records.diagnosis import Outcome
from .examination import HALF, TENTH, Examination, fine, gain, level_of, outcome, times
from .latents import fits

NEAR = 1.25
"""Times the error at the best contrast. Pictures of the right contrast whose details are wrong, with a correlation ρ to
the image, leave 2 / (1 + ρ) times the error at the best one: up to 1.25 for a ρ of 0.6 or more."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Range(NamedTuple):
    """Images in a range of their own: scale · x + offset of those in [-1, 1], for each channel."""

    name: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def of(self, images: Tensor) -> Tensor:
        """Bring images in [-1, 1] into the range."""
        return images * _column(images, self.scale) + _column(images, self.offset)

    def back(self, images: Tensor) -> Tensor:
        """Invert `of`."""
        return (images - _column(images, self.offset)) / _column(images, self.scale)


RANGES = (
    Range("[-1, 1]", (1.0,) * 3, (0.0,) * 3),
    Range("[0, 1]", (0.5,) * 3, (0.5,) * 3),
    Range("[0, 255]", (127.5,) * 3, (127.5,) * 3),
    Range(
        "ImageNet’s normalisation",
        tuple(0.5 / std for std in IMAGENET[1]),
        tuple((0.5 - mean) / std for mean, std in zip(*IMAGENET, strict=True)),
    ),
)


class Alternative(NamedTuple):
    """Another wiring: what it says of the network, the fix, and its pictures (n, 3, H, W).

    rescales: it changes the contrast and brightness of the pictures, and perhaps nothing else.
    """

    says: str
    fix: str
    output: Tensor
    rescales: bool = False


def wiring(case: Examination) -> Outcome:
    """Try other wirings one by one; the one that leaves the least error speaks, if it does so for each image.

    Lower contrast alone brings any wrong picture nearer. So a wiring has to leave less error than the best contrast and
    brightness of the pictures as they are, with its own best ones; or, if it rescales pictures in which the image can
    be seen at all, come near them.
    """
    rescaled = case.errors(rescaled_to(case.output, case.images))
    is_seen = times(rescaled, case.images.var((1, 2, 3), correction=0)) <= HALF
    best: tuple[float, float, Alternative] | None = None
    nearest = float("inf")
    for alternative in _alternatives(case):
        errors = case.errors(alternative.output)
        nearest = min(nearest, times(errors, case.wired))
        serves = times(case.errors(rescaled_to(alternative.output, case.images)), rescaled) <= TENTH
        serves = serves or (alternative.rescales and is_seen and times(errors, rescaled) <= NEAR)
        share = gain(errors, case.wired)
        if serves and share is not None and (best is None or float(errors.sum()) < best[0]):
            best = float(errors.sum()), share, alternative
    if best is not None and (level := level_of(best[1])) != "fine":
        evidence = f"That leaves {best[1]:.2g} of the error, less of each image’s."
        return outcome(level, best[2].says, evidence, best[2].fix)
    return fine(
        "No other range, colour order, orientation or scale of latents suits the network better.",
        f"They leave {nearest:.2g} times the error or more.",
    )


def _alternatives(case: Examination) -> Iterator[Alternative]:
    yield from _ranges(case)
    yield from _colours(case)
    yield from _orientations(case)
    yield from _latents(case)


def _ranges(case: Examination) -> Iterator[Alternative]:
    declared = RANGES[int(case.model.image_range == (0.0, 1.0))]
    for given in RANGES:
        as_declared = given is declared
        output = case.output if as_declared else case.reconstruct(declared.back(given.of(case.images)))
        for returned in RANGES:
            if (given, returned) == (declared, declared):
                continue
            says = f"The encoder takes images in {given.name}, the decoder returns {returned.name}"
            fix = f"in encode, bring images into {given.name}; in decode, bring them back from {returned.name}"
            if given == returned and given.name in ("[-1, 1]", "[0, 1]"):
                fix = f"declare on the object: image_range = ({given.name[1:-1]})"
            picture = returned.back(declared.of(output))
            yield Alternative(f"{says}; declared is {declared.name}.", fix, picture, rescales=as_declared)


def _colours(case: Examination) -> Iterator[Alternative]:
    if case.images.shape[1] != 3:
        return
    # At both ends at once it hardly shows: networks treat colours alike.
    at_encoder = case.reconstruct(case.images.flip(1))
    yield Alternative("The encoder takes blue, green, red.", "in encode: images = images.flip(1)", at_encoder)
    at_decoder = case.output.flip(1)
    yield Alternative("The decoder returns blue, green, red.", "in decode: images = images.flip(1)", at_decoder)


def _orientations(case: Examination) -> Iterator[Alternative]:
    undone: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "mirrored": (".flip(-1)", lambda x: x.flip(-1)),
        "upside down": (".flip(-2)", lambda x: x.flip(-2)),
        "turned by a half": (".flip((-2, -1))", lambda x: x.flip((-2, -1))),
        "turned by a quarter": (".rot90(1, (-2, -1))", lambda x: x.rot90(1, (-2, -1))),
        "turned by three quarters": (".rot90(3, (-2, -1))", lambda x: x.rot90(3, (-2, -1))),
        "with height and width exchanged": (".mT", lambda x: x.mT),
        "as negatives": (" * -1", lambda x: -x),
    }
    for how, (code, undo) in undone.items():
        picture = undo(case.output)
        yield Alternative(f"Pictures come back {how}.", f"in decode: images = images{code}", picture, code == " * -1")


def _latents(case: Examination) -> Iterator[Alternative]:
    space, latents = case.model.latent_space, case.latents
    others = {
        f"{factor:g} times as large as the encoder gives": (f"latents * {factor:g}", latents * factor)
        for factor in (1 / 4, 1 / 2, 2, 4)
    }
    others["with height and width exchanged"] = ("latents.mT", latents.mT)
    if space != LatentSpace() and fits(space, case.model.channels):
        units = pixel_shuffle(space.to_unit(latents), space.patch)
        others["normalised as declared"] = ("latent_space.to_unit(latents)", units)
        raw = space.from_unit(pixel_unshuffle(latents, space.patch))
        others["with the declared normalisation undone"] = ("latent_space.from_unit(latents)", raw)
    for how, (code, changed) in others.items():
        picture = case.decode(changed)
        yield Alternative(f"The decoder takes latents {how}.", f"in decode: latents = {code}", picture, rescales=True)


def rescaled_to(output: Tensor, images: Tensor) -> Tensor:
    """Return pictures with the gain and offset of each colour, one for all pictures, that leave the least error."""
    x, y = (values.cpu().double().transpose(0, 1).flatten(1) for values in (output, images))
    means, target = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    slopes = ((x - means) * (y - target)).mean(1, keepdim=True) / (x - means).square().mean(1, keepdim=True)
    fitted = (x - means) * slopes.nan_to_num(0.0) + target
    return fitted.view_as(output.transpose(0, 1)).transpose(0, 1).to(output)


def _column(images: Tensor, values: tuple[float, ...]) -> Tensor:
    values = values if images.shape[1] == len(values) else values[:1]  # of images that are not RGB
    return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1)
