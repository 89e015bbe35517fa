"""What the checks look at: an autoencoder, a few images, and one pass of these through it, with every layer watched."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from ...methods.models import Gaussian
from ...nets.autoencoder import Autoencoder
from ...records.diagnosis import Level, Outcome

HALF, TENTH = 0.5, 0.9
"""Shares of an error. Another wiring that leaves at most half of it (3 dB less) is what the network was trained with;
one that leaves at most nine tenths may be."""

MIN_SIDE, MIN_POSITIONS = 64, 8
"""Images have at least so many pixels a side, and latents so many positions."""


def side_of(model: Autoencoder) -> int:
    """Return the side in pixels of the images that an autoencoder is examined on."""
    least = max(MIN_SIDE, MIN_POSITIONS * model.factor)
    return model.size or math.ceil(least / model.multiple) * model.multiple


class Examination:
    """One autoencoder, in eval mode, and images (n, 3, side, side) in [-1, 1] on its device.

    missing, unexpected: names of tensors that did not load. Whatever the model raises while it runs becomes a
    ValueError of one line.
    """

    def __init__(
        self, model: Autoencoder, images: Tensor, missing: tuple[str, ...] = (), unexpected: tuple[str, ...] = ()
    ) -> None:
        self.model, self.images = model, images
        self.missing, self.unexpected = missing, unexpected
        self.side = images.shape[-1]
        self._peaks: dict[str, float] = {}
        self._first_bad = ""

    @cached_property
    def posterior(self) -> Gaussian:
        """The posterior of the images."""
        with self._watched():
            return self.encode(self.images)

    @cached_property
    def output(self) -> Tensor:
        """The pictures of the posterior's means."""
        latents = self.latents
        with self._watched():
            return self.decode(latents)

    @property
    def peaks(self) -> dict[str, float]:
        """The largest magnitude that each layer put out on the way from the images to their pictures."""
        assert self.output is not None  # all have run
        return self._peaks

    @property
    def first_bad(self) -> str:
        """The layer that first put out what is not finite; "" for none."""
        assert self.output is not None
        return self._first_bad

    @property
    def latents(self) -> Tensor:
        """Posterior means of the images."""
        mean: Tensor = self.posterior.mean
        return mean

    @property
    def layers(self) -> dict[str, nn.Module]:
        """The modules of the autoencoder by name, as its own code calls them."""
        named = dict(self.model.named_modules())
        return {name.partition(".")[2]: module for name, module in named.items() if "." in name}

    def encode(self, images: Tensor) -> Gaussian:
        """Return the posterior of images, in the range that the autoencoder declares."""
        with explained("encode", images):
            return self.model.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of raw latents in float32."""
        with explained("decode", latents):
            return self.model.decode(latents).float()

    def reconstruct(self, images: Tensor) -> Tensor:
        """Return the pictures of the posterior means of images."""
        return self.decode(self.encode(images).mean)

    def errors(self, output: Tensor) -> Tensor:
        """Return the mean squared error of each picture, (n,)."""
        return squared_errors(output, self.images)

    @cached_property
    def wired(self) -> Tensor:
        """Errors of the reconstruction as the autoencoder is wired, (n,)."""
        return self.errors(self.output)

    @cached_property
    def averaged(self) -> Tensor:
        """Errors of the images averaged over the pixels of each latent position, (n,)."""
        factor = self.model.factor
        return self.errors(interpolate(avg_pool2d(self.images, factor), scale_factor=factor))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        hooks = [layer.register_forward_hook(partial(self._see, name)) for name, layer in self.layers.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, name: str, layer: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and output.numel():
            peak = float(output.abs().max())  # NaN where there is one
            if not math.isfinite(peak):
                peak, self._first_bad = math.inf, self._first_bad or name
            self._peaks[name] = max(self._peaks.get(name, 0.0), peak)


@contextmanager
def explained(verb: str, x: Tensor) -> Iterator[None]:
    """Turn whatever a model raises, out of memory apart, into a ValueError of one line."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{verb} of {tuple(x.shape)} fails ({type(error).__name__}: {why})") from error


def squared_errors(output: Tensor, images: Tensor) -> Tensor:
    """Return the mean squared error of each picture, infinite where it is not finite: (n, 3, H, W) twice → (n,)."""
    return (output - images).square().mean((1, 2, 3)).nan_to_num(math.inf, math.inf)


def times(errors: Tensor, others: Tensor) -> float:
    """Return how many times as large errors (n,) are as others, a geometric mean over images."""
    return float((errors.cpu().double() / others.cpu().double().clamp_min(1e-12)).clamp(1e-6, 1e6).log().mean().exp())


def gain(alternative: Tensor, wired: Tensor) -> float | None:
    """Return the share of errors (n,) that another wiring leaves, if it leaves less of each image's; else None.

    The share is a geometric mean over the images that it changes by more than a thousandth, at least three of them.
    """
    ratios = alternative.cpu().double() / wired.cpu().double().clamp_min(1e-12)
    changed = ratios[(ratios - 1).abs() > 1e-3]
    if len(changed) < 3 or not (changed < 1).all():
        return None
    return float(changed.clamp_min(1e-12).log().mean().exp())


def level_of(share: float | None) -> Level:
    """Return what it means that another wiring leaves this share of the error."""
    if share is None or share > TENTH:
        return "fine"
    return "wrong" if share <= HALF else "look"


def outcome(level: Level, verdict: str, evidence: str = "", fix: str = "") -> Outcome:
    """Return an outcome whose check is not yet named."""
    return Outcome("", level, verdict, evidence, fix)


fine: Callable[..., Outcome] = partial(outcome, "fine")
look: Callable[..., Outcome] = partial(outcome, "look")
wrong: Callable[..., Outcome] = partial(outcome, "wrong")
skipped: Callable[..., Outcome] = partial(outcome, "skipped")


def listed(names: list[str] | tuple[str, ...], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
