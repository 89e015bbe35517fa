"""The choice of a spectral gain, as commands, caches and runs hold it."""

from dataclasses import dataclass
from typing import Literal, get_args

from ..files.settings import NonNegative

Resolution = Literal["ring", "coefficient"]
Channels = Literal["all", "each", "decorrelated"]


@dataclass(frozen=True)
class GainChoice:
    """The gain on the latents' DCT coefficients before diffusion, undone before decoding. None: that of the cache.

    The gain of DC is that of the lowest other frequency. Latents have unit variance after it.
    """

    flatten: float | None = None  # multiply the power spectrum by frequency^flatten; 0: no gain
    whiten: NonNegative | None = None  # divide it by the measured one to this power; 1: white, 0: no gain
    whiten_by: Resolution = "ring"  # of whiten: the measured spectrum's resolution
    gain_channels: Channels = "all"  # one gain, one each, or after a rotation

    @property
    def is_given(self) -> bool:
        """Whether it says anything, if only that there is to be no gain."""
        return self.flatten is not None or self.whiten is not None

    def check(self) -> None:
        """Check that the settings go together.

        Raises:
            ValueError: naming those that do not.
        """
        for name, words in (("whiten_by", Resolution), ("gain_channels", Channels)):
            if (value := getattr(self, name)) not in get_args(words):
                raise ValueError(f"{name} is {value!r}: expected {', '.join(get_args(words))}")
        if self.whiten is not None and self.whiten < 0:
            raise ValueError(f"whiten is {self.whiten:g}, expected 0 or more")
        if self.flatten is not None and self.whiten is not None:
            raise ValueError(f"flatten is {self.flatten:g} and whiten is {self.whiten:g}: give one of them")
        if self.whiten is None and self.whiten_by != "ring":
            raise ValueError(f"whiten_by {self.whiten_by} is of whiten: give whiten as well")
        if self.gain_channels == "each" and self.whiten is None:
            raise ValueError("gain_channels each is of whiten: a power of frequency is the same for every channel")
        if self.gain_channels != "all" and not self.is_given:
            raise ValueError(f"gain_channels {self.gain_channels} is of flatten and whiten: give one of them")

    def __str__(self) -> str:
        """Say it in words: "flattened by 1"; "none"."""
        if not self.is_given:
            return "none"
        how = f"flattened by {self.flatten:g}" if self.flatten is not None else f"whitened to {self.whiten:g}"
        how += " by coefficient" if self.whiten_by == "coefficient" else ""
        return (
            how + {"all": "", "each": ", each channel", "decorrelated": ", channels decorrelated"}[self.gain_channels]
        )
