"""The FID of a trained SiT, forecast from interpolation FID and PSNR as public tokenizers calibrate it.

log FID of SiT-B and of SiT-XL without guidance is regressed on both numbers over the rows of the iFID board (arXiv
2603.05630), by ordinary least squares, when a forecast is asked for. How far it can be trusted is what leaving each
tokenizer out in turn says: the rank correlation of what is then forecast, and the interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..images.fidelity import PSNR_METRIC
from ..ranks import rank_correlation
from .spaces import BOARD, read_atlas

LEVEL = 0.8
"""Share of tokenizers whose FID the interval is to hold."""

INTERPOLATION = "interpolation_fid"
PREDICTORS = (INTERPOLATION, PSNR_METRIC.key)
TITLES = {INTERPOLATION: "interpolation FID", PSNR_METRIC.key: "PSNR"}
MODELS = {"SiT-B": "gfid_sit_b", "SiT-XL": "gfid_sit_xl"}
"""The models whose FID is forecast, with the board's column."""


@dataclass(frozen=True)
class Forecast:
    """The FID of one model trained on a latent space, without guidance.

    low, high: interval of 80 %. loo_rho: Spearman correlation of forecast and FID, each of the n tokenizers left out in
    turn. support: least and greatest of each number over them. evidence: one sentence.
    """

    model: str
    value: float
    low: float
    high: float
    loo_rho: float
    n: int
    support: Mapping[str, tuple[float, float]]
    evidence: str

    def __str__(self) -> str:
        """Return "SiT-B without guidance: FID about 21 (80 %: 14 … 30)"."""
        value, low, high = (f"{number:#.2g}".removesuffix(".") for number in (self.value, self.low, self.high))
        return f"{self.model} without guidance: FID about {value} (80 %: {low} … {high})"


class Calibration(NamedTuple):
    """A regression of log FID on the predictors, over named tokenizers.

    features: (n, predictors), log_fid, left_out: (n,), float64; left_out is log FID forecast without the tokenizer
    itself. coefficients: (1 + predictors,), the constant first.
    """

    names: tuple[str, ...]
    features: Tensor
    log_fid: Tensor
    coefficients: Tensor
    left_out: Tensor

    @property
    def half_width(self) -> float:
        """Half the interval of 80 % of log FID: that order statistic of the absolute left-out residuals."""
        residuals = (self.log_fid - self.left_out).abs().sort().values
        return float(residuals[min(math.ceil(LEVEL * (len(residuals) + 1)), len(residuals)) - 1])

    @property
    def loo_rho(self) -> float:
        """Spearman correlation of FID with what is forecast of each tokenizer without it."""
        return rank_correlation(self.left_out.tolist(), self.log_fid.tolist()) or 0.0

    def log_forecast(self, features: Sequence[float]) -> float:
        """Return the log FID of a latent space with these values of the predictors."""
        return float(self.coefficients @ torch.tensor([1.0, *features], dtype=torch.float64))


def calibrate(column: str, predictors: Sequence[str] = PREDICTORS) -> Calibration:
    """Regress the log of a column of the iFID board on other numbers of it, over all tokenizers that have them."""
    rows = [(space.name, [space.number(key) for key in (column, *predictors)]) for space in read_atlas().of(BOARD)]
    names, numbers = zip(*((name, numbers) for name, numbers in rows if None not in numbers), strict=True)
    table = torch.tensor(numbers, dtype=torch.float64)
    features, log_fid = table[:, 1:], table[:, 0].log()
    design = torch.cat([torch.ones(len(table), 1), features], 1)
    coefficients = torch.linalg.lstsq(design, log_fid).solution
    # The residual of a row that is left out is its own over one less its leverage.
    leverage = (design @ torch.linalg.pinv(design)).diagonal()
    left_out = log_fid - (log_fid - design @ coefficients) / (1 - leverage)
    return Calibration(names, features, log_fid, coefficients, left_out)


@cache
def calibrations() -> Mapping[str, Calibration]:
    """Return the calibration of each model."""
    return {model: calibrate(column) for model, column in MODELS.items()}


def support() -> dict[str, tuple[float, float]]:
    """Return the range of each predictor that the tokenizers of every model's calibration cover."""
    each = [calibration.features for calibration in calibrations().values()]
    lows, highs = (torch.stack([extreme(f) for f in each]) for extreme in (lambda f: f.amin(0), lambda f: f.amax(0)))
    low, high = lows.amax(0).tolist(), highs.amin(0).tolist()
    return dict(zip(PREDICTORS, zip(low, high, strict=True), strict=True))


def forecast(features: Mapping[str, float]) -> tuple[Forecast, ...]:
    """Forecast each model's FID from `PREDICTORS`, measured as the board measures them.

    Raises:
        ValueError: naming the number that lies outside of `support`.
    """
    covered = support()
    for key, (low, high) in covered.items():
        if not low <= features[key] <= high:
            raise ValueError(
                f"{TITLES[key]} is {features[key]:.4g}, outside of the {low:g} … {high:g} of the "
                f"public tokenizers that calibrate it"
            )
    found = []
    for model, calibration in calibrations().items():
        log_fid, half = calibration.log_forecast([features[key] for key in PREDICTORS]), calibration.half_width
        n = len(calibration.names)
        evidence = (
            f"Least squares of log FID on interpolation FID and PSNR over {n} public tokenizers (iFID board, arXiv "
            f"2603.05630); each left out in turn, Spearman {calibration.loo_rho:.2f}. With guidance it is open."
        )
        ends = (math.exp(log_fid), math.exp(log_fid - half), math.exp(log_fid + half))
        found.append(Forecast(model, *ends, calibration.loo_rho, n, covered, evidence))
    return tuple(found)
