"""How many updates a band takes to half of what it learns."""

import math
from collections.abc import Sequence


def updates_to(steps: Sequence[int], errors: Sequence[float], goal: float) -> float | None:
    """The first update at which the errors, logged at `steps`, reach a goal from above; None where none does.

    Between two logged updates, a straight line in log(updates + 1) and log(error).
    """
    if errors[0] <= goal:
        return float(steps[0])
    for i in range(1, len(steps)):
        if errors[i] <= goal:
            left, right = math.log(errors[i - 1] / goal), math.log(goal / max(errors[i], 1e-300))
            share = left / (left + right)
            low, high = math.log(steps[i - 1] + 1), math.log(steps[i] + 1)
            return math.exp(low + share * (high - low)) - 1
    return None


def halfway(steps: Sequence[int], errors: Sequence[float], end: float, scale: str = "plain") -> float | None:
    """Updates from the first error to half of the way to `end`: of the error, or with scale "log" of its logarithm.

    None where the first error is no larger than `end`, so that there is nothing to learn, and where half of the way is
    never reached.
    """
    first = errors[0]
    if first <= end:
        return None
    return updates_to(steps, errors, math.sqrt(first * end) if scale == "log" else (first + end) / 2)
