import pytest
import torch

from spectrum_matching.metrics.estimates import effective_rank_share, marchenko_pastur, mean_root
from spectrum_matching.metrics.latents.eigenspectrum import effective_rank


@pytest.mark.parametrize("aspect", [1e-4, 0.1, 0.33, 0.9])
def test_marchenko_pastur_has_the_moments_of_the_law(aspect):
    values, weights = marchenko_pastur(aspect)
    moments = [float((values**k * weights).sum()) for k in range(4)]
    assert moments == pytest.approx([1, 1, 1 + aspect, 1 + 3 * aspect + aspect**2], rel=1e-6)


@pytest.mark.parametrize("n", [60, 200])
def test_mean_root_and_effective_rank_share_match_noise(n, generator):
    c = 40
    noise = torch.randn(n, c, generator=generator, dtype=torch.float64)
    values = torch.linalg.eigvalsh(noise.mT @ noise / n)
    assert float(values.clamp_min(0).sqrt().mean()) == pytest.approx(mean_root(c / n), rel=0.02)
    assert float(effective_rank(noise)) == pytest.approx(effective_rank_share(c / n), rel=0.02)
    assert mean_root(c / n) < 1
