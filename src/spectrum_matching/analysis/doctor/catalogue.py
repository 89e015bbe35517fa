"""All checks, in the order in which they run."""

from collections.abc import Callable
from typing import NamedTuple

from ...records.diagnosis import Outcome
from . import latents, running, weights
from .examination import Examination
from .padding import padding
from .reconstruction import reconstruction
from .wiring import wiring


class Check(NamedTuple):
    """A name, and the function that looks.

    needs: checks that must not have found anything wrong, since without them this one sees nothing. explained_by:
    checks that must not have found anything at all, since what this one sees would be their consequence.
    """

    name: str
    function: Callable[[Examination], Outcome]
    needs: tuple[str, ...] = ()
    explained_by: tuple[str, ...] = ()


RUNS = ("finite-weights", "runs", "finite")
TRAINED = (*RUNS, "loaded", "initial-weights")

CHECKS = (
    Check("loaded", weights.loaded),
    Check("finite-weights", weights.finite_weights),
    Check("runs", running.runs),
    Check("finite", running.finite, ("runs", "finite-weights")),
    Check("determinism", running.determinism, RUNS),
    Check("initial-weights", weights.initial_weights, ("runs", "finite-weights", "loaded")),
    Check("batch-norm", weights.batch_norm, TRAINED),
    Check("channels", latents.channels, TRAINED),
    Check("posterior", latents.posterior, TRAINED),
    Check("wiring", wiring, TRAINED),
    Check("padding", padding, TRAINED, ("wiring",)),
    Check("reconstruction", reconstruction, TRAINED, ("determinism", "channels", "wiring", "padding")),
    Check("packing", latents.packing, (*TRAINED, "batch-norm")),
    Check("scale", latents.scale, (*TRAINED, "posterior", "batch-norm"), ("packing", "wiring")),
    Check("half-precision", running.half_precision, TRAINED),
    Check("batches", running.batches, RUNS, ("determinism",)),
    Check("sizes", running.sizes, RUNS, ("wiring", "determinism")),
    Check("tiling", running.tiling, RUNS, ("determinism",)),
)
