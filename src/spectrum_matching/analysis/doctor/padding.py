"""The check of padding: convolutions that lost their padding mode are worse at the border."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...nets.autoencoder.padding import Padding
from ...records.diagnosis import Outcome
from .examination import Examination, fine, gain, level_of, outcome, skipped, times

PADDINGS: tuple[Padding, ...] = ("zeros", "reflect", "replicate")


def padding(case: Examination) -> Outcome:
    """Try other paddings of the convolutions, and compare errors within one latent position of the border.

    Loaders build convolutions from a configuration that has no padding mode, so that one trained with reflection (as
    EQ-VAE's) pads with zeros. The network itself says which it was trained with: see `gain`.
    """
    convs = [layer for layer in case.layers.values() if isinstance(layer, nn.Conv2d) and _pads(layer)]
    modes = sorted({conv.padding_mode for conv in convs})
    if not convs:
        return skipped("no convolution pads by a mode that could be lost")
    if len(modes) > 1:
        counts = ", ".join(f"{sum(conv.padding_mode == mode for conv in convs)} {mode}" for mode in modes)
        return skipped(f"convolutions pad in several ways ({counts})")
    wired, inside = _ring_errors(case, case.output)
    (mode,) = modes
    shares, others = dict[str, float | None](), list[float]()
    for other in PADDINGS:
        if other != mode:
            with _padded(convs, other):
                errors, _ = _ring_errors(case, case.reconstruct(case.images))
            shares[other] = gain(errors, wired)
            others.append(times(errors, wired))
    better = {other: share for other, share in shares.items() if share is not None}
    best = min(better, key=lambda other: better[other], default="")
    at_border = f"within {case.model.factor} pixels of the border"
    if (level := level_of(better.get(best))) != "fine":
        return outcome(
            level,
            f"Convolutions pad with {mode}, but were trained with {best}.",
            f"{best.capitalize()} leaves {better[best]:.2g} of the error {at_border}, less of each image’s.",
            f"for m in model.modules(): if isinstance(m, nn.Conv2d): m.padding_mode = {best!r}",
        )
    evidence = (
        f"The error {at_border} is {times(wired, inside):.2g} times that inside; other modes leave {min(others):.2g} "
        f"times as much or more."
    )
    return fine(f"Padding with {mode} suits the network best.", evidence)


def _pads(conv: nn.Conv2d) -> bool:
    return max(conv.kernel_size) > 1 and (conv.padding == "same" or any(n not in ("valid", 0) for n in conv.padding))


@contextmanager
def _padded(convs: list[nn.Conv2d], mode: Padding) -> Iterator[None]:
    before = [conv.padding_mode for conv in convs]
    try:
        for conv in convs:
            conv.padding_mode = mode
        yield
    finally:
        for conv, old in zip(convs, before, strict=True):
            conv.padding_mode = old


def _ring_errors(case: Examination, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared errors of each picture within one latent position of the border, and inside: (n,) each."""
    width = case.model.factor
    squares = (output - case.images).square().mean(1).nan_to_num(torch.inf, torch.inf)
    inner = squares[:, width:-width, width:-width]
    n_ring = squares[0].numel() - inner[0].numel()
    return (squares.sum((1, 2)) - inner.sum((1, 2))) / n_ring, inner.mean((1, 2))
