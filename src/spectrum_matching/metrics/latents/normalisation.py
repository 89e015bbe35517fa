"""Whether the declared normalisation of an autoencoder scales its latents to unit standard deviation."""

from torch import Tensor

from ...latent_space import LatentSpace
from ...records.analysis import Normalisation


def check_normalisation(space: LatentSpace, means: Tensor, stds: Tensor) -> Normalisation:
    """Describe latents normalised by `space`, from their channels' means and standard deviations (c,).

    Diffusion schedules and priors assume unit variance, so the target is a standard deviation of 1, and a scale off by
    k is a signal-to-noise ratio off by k² at every noise level (Rombach et al., arXiv 2112.10752, section 4.3.2 and
    appendix G). This says that a scale is wrong, not that latents are good; under one common factor, channels of
    different standard deviation are the rule.
    """
    means, stds = means.double(), stds.double()
    declared_std, declared_mean = (stds.new_tensor(values) for values in (space.std, space.mean))
    raw_std = _joint_std(means * declared_std + declared_mean, stds * declared_std)
    return Normalisation(
        convention=space.convention,
        std=_joint_std(means, stds),
        channel_stds=(float(stds.min()), float(stds.max())),
        channel_means=(float(means.min()), float(means.max())),
        suggested_scaling_factor=1 / raw_std if raw_std > 0 else 1.0,
    )


def _joint_std(means: Tensor, stds: Tensor) -> float:
    """Return the standard deviation of all channels together."""
    return float((stds.square().mean() + (means - means.mean()).square().mean()).sqrt())
