"""How numbers are written on the page: a true minus sign, and as many digits as the uncertainty leaves meaning."""

import math

MOST_DECIMALS = 6


def number(value: float, digits: int = 3) -> str:
    """Significant digits; a power of ten where plain digits would be long."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    place = math.floor(math.log10(abs(value)))
    if -4 <= place < 6:
        return fixed(value, max(0, digits - 1 - place))
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{power}".replace("-", "−")


def fixed(value: float, decimals: int) -> str:
    """So many decimals."""
    text = f"{value:,.{decimals}f}"
    # What rounds to nothing has no sign.
    return text.removeprefix("-") if not text.strip("-0.,") else text.replace("-", "−")


def decimals(value: float, standard_error: float | None) -> int:
    """That a value needs: to the first digit of its standard error, or the second if that is a 1; else three digits."""
    scale = standard_error or abs(value)
    if not scale or not math.isfinite(scale):
        return 2
    place = math.floor(math.log10(scale))
    wanted = (1 if scale / 10**place < 2 else 0) if standard_error else 2
    return min(MOST_DECIMALS, max(0, wanted - place))


def spread(standard_error: float | None, n_decimals: int) -> str:
    """ "± 0.004", or "" where it was not estimated."""
    return "" if standard_error is None else f"± {fixed(standard_error, n_decimals)}"
