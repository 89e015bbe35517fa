import numpy as np
import pytest
import scipy.stats
import torch

from spectrum_matching.diffusion import Path, Times
from spectrum_matching.diffusion.times import shifted

KINDS = [Times(), Times("log_normal", mean=-0.4, std=0.7), Times("shifted", shift=3.0), Times("log_normal_angle")]
DISTRIBUTIONS = [
    scipy.stats.uniform.cdf,
    lambda t: scipy.stats.norm.cdf(scipy.special.logit(t), -0.4, 0.7),
    lambda t: t / (3 - 2 * t),  # u of t = 3u/(1 + 2u)
    lambda t: scipy.stats.norm.cdf(np.log(np.tan(np.pi / 2 * t))),
]


@pytest.mark.parametrize(("times", "distribution"), list(zip(KINDS, DISTRIBUTIONS, strict=True)))
def test_times_follow_their_distribution(times, distribution, generator):
    t = times.draw(20_000, generator)
    assert t.shape == (20_000,)
    assert t.dtype == torch.float32
    assert scipy.stats.kstest(t.double().numpy(), distribution).pvalue > 0.01


@pytest.mark.parametrize("mean", [40.0, -140.0])
def test_times_exclude_the_ends(mean, generator):
    t = Times("log_normal", mean=mean).draw(1000, generator)
    assert ((t > 0) & (t < 1)).all()


def test_times_discrete_are_the_steps_of_stable_diffusion(generator):
    t = Times("discrete").draw(40_000, generator)
    steps = (t * 1000).round().long()
    torch.testing.assert_close(t, steps / 1000)
    assert (steps.min(), steps.max(), len(steps.unique())) == (1, 1000, 1000)


def test_shifted_divides_alpha_over_sigma():
    path, t = Path(), torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    ratio = lambda t: path.alpha(t) / path.sigma(t)  # noqa: E731
    torch.testing.assert_close(ratio(shifted(t, 4.0)), ratio(t) / 4)


def test_times_refuse_impossible_arguments():
    with pytest.raises(ValueError, match="uniform, log_normal, log_normal_angle, shifted, discrete; got 'beta'"):
        Times("beta")
    with pytest.raises(ValueError, match="positive std and shift, got std 0"):
        Times("log_normal", std=0)
