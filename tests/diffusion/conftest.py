"""Data whose best denoiser is known in closed form."""

import pytest
import torch
from torch import Tensor

from spectrum_matching.diffusion import Path


class Gaussian:
    """Data of independent normal elements, mean and std (c, h, w), float64."""

    mean = torch.tensor([0.7, -0.3, 0.0]).double().view(3, 1, 1)
    std = torch.tensor([0.6, 1.5, 0.3]).double().view(3, 1, 1)

    def spread(self, path: Path, t: Tensor) -> Tensor:
        """Variance of x_t."""
        return (path.alpha(t) * self.std).square() + path.sigma(t).square()

    def predictor(self, path: Path):
        """(noisy, t) → the conditional mean of what the path predicts, by regression on x_t."""

        def predict(noisy, t):
            t = t.view(-1, 1, 1, 1)
            along = path.coefficients(t)
            innovation = (noisy - along.alpha * self.mean) / self.spread(path, t)
            data, noise = self.mean + along.alpha * self.std.square() * innovation, along.sigma * innovation
            velocity = along.alpha_slope * data + along.sigma_slope * noise
            return {"data": data, "noise": noise, "velocity": velocity}[path.prediction].to(noisy.dtype)

        return predict

    def carried(self, path: Path, noisy: Tensor, start: float, stop: float) -> Tensor:
        """Where the flow takes `noisy` from t = start to t = stop: normal variables stay at their quantile."""
        start, stop = (torch.tensor(t, dtype=torch.float64) for t in (start, stop))
        quantile = (noisy - path.alpha(start) * self.mean) / self.spread(path, start).sqrt()
        return path.alpha(stop) * self.mean + self.spread(path, stop).sqrt() * quantile


@pytest.fixture
def gaussian():
    """Three channels of one pixel."""
    return Gaussian()
