"""Paths between data and noise, the training loss on them, and samplers: for any denoiser, anyone's trainer."""

from .guidance import guided, guided_evaluations, is_guided
from .objective import Loss, diffusion_loss, frequency_weights, min_snr_weight
from .path import Denoiser, Path, Predict
from .samplers import SAMPLERS, SampleNoise, by_steps, evaluation_times, evaluations, time_grid
from .times import Times

__all__ = [
    "SAMPLERS",
    "Denoiser",
    "Loss",
    "Path",
    "Predict",
    "SampleNoise",
    "Times",
    "by_steps",
    "diffusion_loss",
    "evaluation_times",
    "evaluations",
    "frequency_weights",
    "guided",
    "guided_evaluations",
    "is_guided",
    "min_snr_weight",
    "time_grid",
]
