"""One measured number: its value, its uncertainty, and what white noise would give in its place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """A number with its uncertainty, or the reason why there is none; `float` gives the value.

    value: None where `refused` gives the reason. standard_error: over images; None where it is not estimated.
    white: the value for white noise of the same shape; None where that says nothing.
    """

    value: float | None
    standard_error: float | None = None
    white: float | None = None
    refused: str = ""

    @property
    def half_width(self) -> float | None:
        """Half the interval of 95 %, 1.96 standard errors; None if it is not estimated."""
        return None if self.standard_error is None else 1.96 * self.standard_error

    def __float__(self) -> float:
        """Return the value.

        Raises:
            ValueError: when there is none.
        """
        if self.value is None:
            raise ValueError(f"not measured: {self.refused}")
        return float(self.value)
