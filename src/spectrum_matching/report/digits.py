"""Format numbers with a true minus sign and as many digits as the uncertainty makes significant."""

import math
from collections.abc import Sequence

from ..metrics.metric import Metric

MOST_DECIMALS = 6


def number(value: float, digits: int = 3) -> str:
    """Return a number with significant digits, as a power of ten where plain digits would be long."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    if -4 <= magnitude < 6:
        return fixed(value, max(0, digits - 1 - magnitude))
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    return f"{mantissa}·{power_of_ten(exponent)}".replace("-", "−")


def power_of_ten(exponent: str) -> str:
    """Return "10⁻³" for "-03"."""
    return "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def fixed(value: float, decimals: int) -> str:
    """Return a number with a fixed number of decimals."""
    text = f"{value:,.{decimals}f}"
    # A number that rounds to zero has no sign.
    return text.removeprefix("-") if not text.strip("-0.,") else text.replace("-", "−")


def at_end(value: float, metric: Metric) -> str:
    """Return "≤ −0.50" or "≥ 2.50" at an end of the range that was searched for a metric, "" anywhere else.

    Such a number has no uncertainty beside it: that of the images does not say how far beyond the end the best lies.
    """
    sign = metric.beyond(value)
    return sign and sign + fixed(value, 2)


def bound(metric: Metric, values: Sequence[float], less: Sequence[float] = ()) -> str | None:
    """Return "≤ " or "≥ " for a mean, less that of `less`, that numbers at ends of a searched range only bound.

    "" where no number is at an end; None where they bound it from both sides, so that nothing is known of it.
    """
    turned = {"≤ ": "≥ ", "≥ ": "≤ ", "": ""}
    signs = {metric.beyond(value) for value in values} | {turned[metric.beyond(value)] for value in less}
    found = signs - {""}
    return None if len(found) > 1 else "".join(found)


def decimals(value: float, standard_error: float | None) -> int:
    """Return the number of decimals up to the first digit of the standard error, the second if that is a 1.

    Without a standard error, those of three significant digits.
    """
    scale = standard_error or abs(value)
    if not scale or not math.isfinite(scale):
        return 2
    magnitude = math.floor(math.log10(scale))
    further = (1 if scale / 10**magnitude < 2 else 0) if standard_error else 2
    return min(MOST_DECIMALS, max(0, further - magnitude))


def spread(standard_error: float | None, n_decimals: int) -> str:
    """Return "± 0.004", or "" without a standard error."""
    return "" if standard_error is None else f"± {fixed(standard_error, n_decimals)}"
