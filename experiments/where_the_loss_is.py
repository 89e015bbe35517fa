"""Where in the spectrum is the loss of a diffusion model, and where what it can learn, if the data have power 1/f²?

    python experiments/where_the_loss_is.py

For coefficients of known power λ ∝ 1/f² on a square grid without DC, of unit variance, on the linear path
x_t = (1 − t)x + tε. The best linear denoiser leaves the error e = t²λ / ((1 − t)²λ + t²); what the data let it learn is
λ − e; the loss of the velocity is e / t². Writes experiments/results/where_the_loss_is.json: shares of the lowest tenth
and of the upper half of the coefficients.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results"
GRID = 64
MIDDLE = 0.5
N_TIMES = 2000


def shares(values: Tensor) -> dict[str, float]:
    """Return the share of the lowest tenth and of the upper half of coefficients ordered by frequency."""
    n, total = len(values), values.sum()
    return {"lowest_tenth": float(values[: n // 10].sum() / total), "upper_half": float(values[n // 2 :].sum() / total)}


def measure(grid: int = GRID) -> dict[str, object]:
    """Return the shares of what can be learned, of the error in the data, and of the velocity's loss over all times."""
    u = torch.arange(grid, dtype=torch.float64)
    frequency = torch.hypot(u[:, None], u).flatten().sort().values[1:]
    power = frequency**-2
    power /= power.mean()

    def error(t: Tensor) -> Tensor:
        return t**2 * power / ((1 - t) ** 2 * power + t**2)

    middle = error(torch.tensor(MIDDLE, dtype=torch.float64))
    times = ((torch.arange(N_TIMES, dtype=torch.float64) + 0.5) / N_TIMES)[:, None]
    return {
        "question": "where_the_loss_is",
        "grid": grid,
        "t": MIDDLE,
        "learnable": shares(power - middle),
        "error": shares(middle),
        "velocity_loss": shares((error(times) / times**2).mean(0)),
    }


def main() -> None:
    """Measure and save."""
    (RESULTS / "where_the_loss_is.json").write_text(json.dumps(measure(), indent=1) + "\n")


if __name__ == "__main__":
    main()
