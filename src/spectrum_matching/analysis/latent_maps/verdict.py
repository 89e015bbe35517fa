"""Whether a latent space is a drop-in for another, in one sentence with its evidence. Thresholds are ours, and here."""

from collections.abc import Sequence
from typing import NamedTuple

from ...metrics.estimates import half_interval
from ...records.latent_maps import Answer, Route
from ...records.measurement import Measurement
from ..verdict import Comparison, compare

DROP_IN = 0.5
"""Loss in dB below which a decoder counts as a drop-in: an eighth more squared error than the yardstick's."""

EXPLAINED = 0.5
"""R² that a route has to exceed: where less of the latents is explained, a small loss says that both are bad."""


class Verdict(NamedTuple):
    """The answer, the kernel of the route that gives it (0: none), and both in words."""

    answer: Answer
    kernel: int
    sentence: str
    evidence: str


def judge(source: str, target: str, yardstick: str, routes: Sequence[Route], n_images: int, n_tests: int) -> Verdict:
    """Return whether `target` is a drop-in for `source`, by the simplest route that loses less than `DROP_IN` dB.

    routes: from the simplest to the widest map; one that explains too little does not count. n_images, n_tests: those
    that R² and losses are estimated over. Intervals of 95 % decide; where that of no route lies below the threshold and
    that of one holds it, the answer is "undecided".
    """
    sides = {_side(route, n_images, n_tests): route for route in reversed(routes)}  # the simplest route of each side
    evidence = _evidence(source, target, yardstick, routes, n_images, n_tests)
    if route := sides.get("below"):
        answer: Answer = "after a map" if route.kernel else "drop-in"
        after = f" after a {side(route.kernel)} map" if route.kernel else " as it is"
        sentence = f"{target} is a drop-in for {source}{after}: {_decodes(source, target, yardstick, route)}."
        return Verdict(answer, route.kernel, sentence, evidence)
    if route := sides.get("undecided"):
        after = f" after a {side(route.kernel)} map" if route.kernel else ""
        sentence = (
            f"Whether {target} is a drop-in for {source}{after} is undecided: "
            f"{_decodes(source, target, yardstick, route, half_interval(route.loss, n_tests))}."
        )
        return Verdict("undecided", route.kernel, sentence, evidence)
    best = routes[-1]
    after = f", not even after a {side(best.kernel)} map" if best.kernel else ""
    sentence = f"{target} is no drop-in for {source}{after}: {_decodes(source, target, yardstick, best)}."
    return Verdict("no", 0, sentence, evidence)


def _side(route: Route, n_images: int, n_tests: int) -> Comparison:
    """Return on which side of the threshold the loss of a route lies; "above" where it explains too little."""
    explained = compare(route.r2, EXPLAINED, n_images) if route.r2.value is not None else "below"
    loss = compare(route.loss, DROP_IN, n_tests)
    return "above" if explained == "below" else "undecided" if (explained, loss) == ("undecided", "below") else loss


def side(kernel: int) -> str:
    """Return "3 × 3"."""
    return f"{kernel} × {kernel}"


def _decodes(source: str, target: str, yardstick: str, route: Route, half: float | None = None) -> str:
    loss, within = float(route.loss), "" if half is None else f" ± {half:.2f}"
    decibels = f"{abs(loss):.2f}{within} dB{' (95 %)' if within else ''}"
    amount = f"{decibels} {'below' if loss > 0 else 'above'} {yardstick}’s own reconstructions"
    explains = f", and the map explains {float(route.r2):.0%} of {target}’s latents" if route.kernel else ""
    return f"{source}’s latents decode {amount}{explains}"


def _evidence(source: str, target: str, yardstick: str, routes: Sequence[Route], n_images: int, n_tests: int) -> str:
    parts = []
    for route in routes:
        name = f"{side(route.kernel)} map" if route.kernel else "no map"
        fitted = f", {route.r2_fitted:.3f} on the images of its fit" if route.r2_fitted is not None else ""
        parts.append(
            f"{name}: PSNR {float(route.psnr):.2f} dB, loss {_with_interval(route.loss, n_tests, 2)} dB, held-out R² "
            f"{_with_interval(route.r2, n_images, 3)}{fitted}"
        )
    return (
        f"{source}’s latents to {target}’s. {'; '.join(parts)} (95 %; a drop-in loses less than {DROP_IN:g} dB to "
        f"{yardstick}’s own reconstructions, the lower PSNR of the two)."
    )


def _with_interval(number: Measurement, n: int, n_decimals: int) -> str:
    text = f"{float(number):.{n_decimals}f} ± {half_interval(number, n) or 0:.{n_decimals}f}"
    return text.replace("-", "−")
