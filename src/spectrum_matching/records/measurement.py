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

    def __float__(self) -> float:
        """Return the value.

        Raises:
            ValueError: when there is none.
        """
        if self.value is None:
            raise ValueError(f"not measured: {self.refused}")
        return float(self.value)
