"""Whether the normalisation that an autoencoder declares brings its latents to unit scale."""

from dataclasses import dataclass

from torch import Tensor

from ...latent_space import LatentSpace


@dataclass(frozen=True)
class NormalisationCheck:
    """What the declared normalisation leaves.

    std: of all normalised values together. lowest_std, highest_std, lowest_mean, highest_mean: over channels.
    scaling_factor: 1 over the standard deviation of the raw latents, the one number that would bring them to unit std;
    None where nothing varies.
    """

    std: float
    lowest_std: float
    highest_std: float
    lowest_mean: float
    highest_mean: float
    scaling_factor: float | None


def check_normalisation(space: LatentSpace, means: Tensor, stds: Tensor) -> NormalisationCheck:
    """From means and stds (c,) of the channels of `space.normalise(latents)`, all of equally many values.

    Diffusion schedules and priors assume unit variance, so a std of 1 is the target and a scale off by k is a signal to
    noise ratio off by k² at every noise level (Rombach et al., arXiv 2112.10752, section 4.3.2 and appendix G). It
    says that a scale is wrong, not that latents are good; channels of different std are the rule under one common
    factor.
    """
    means, stds = means.double(), stds.double()
    declared_std, declared_mean = (stds.new_tensor(values) for values in (space.std, space.mean))
    raw_std = _joint_std(means * declared_std + declared_mean, stds * declared_std)
    return NormalisationCheck(
        std=_joint_std(means, stds),
        lowest_std=float(stds.min()),
        highest_std=float(stds.max()),
        lowest_mean=float(means.min()),
        highest_mean=float(means.max()),
        scaling_factor=1 / raw_std if raw_std > 0 else None,
    )


def _joint_std(means: Tensor, stds: Tensor) -> float:
    """Of all channels together."""
    return float((stds.square().mean() + (means - means.mean()).square().mean()).sqrt())
