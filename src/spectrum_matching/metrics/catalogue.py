"""Every metric of `analyze` in the order in which it is worth reading: a new metric is a file and a line here.

Reconstruction first, since latents are nothing without it, then by cost and evidence for a few hundred images without
labels.
"""

from .decoder.equivariance import EQUIVARIANCE
from .decoder.lowpass import LOWPASS
from .decoder.noise import CONSISTENCY, NOISE
from .decoder.sweep import DecoderMetric
from .decoder.transfer import TRANSFER
from .generative.gaussian import GAUSSIAN
from .generative.interpolation import INTERPOLATION, UNIT_INTERPOLATION
from .generative.model import GenerativeMetric
from .generative.solved import SOLVED
from .generative.stationary import STATIONARY, WHITE
from .images.fidelity import LPIPS_METRIC, PSNR_METRIC, SSIM_METRIC
from .images.frechet import FLOOR_METRIC, RFID_METRIC
from .latents.affinity import AFFINITY
from .latents.block_dct import BLOCK_DCT
from .latents.channels import CHANNELS
from .latents.concentration import CONCENTRATION
from .latents.eigenspectrum import EIGENSPECTRUM
from .latents.irreducible_variance import IRREDUCIBLE_VARIANCE
from .latents.linear_probe import LINEAR_PROBE
from .latents.local_correlation import LOCAL_CORRELATION
from .latents.neighbours import NEIGHBOURS
from .latents.region_similarity import REGION_SIMILARITY
from .latents.similarity import SIMILARITY
from .latents.spectra import BEST_DELTA, EXPONENT, GAP, GAP_PAPER
from .latents.sweep import LatentMetric
from .metric import Metric

CATALOGUE: tuple[Metric | LatentMetric | DecoderMetric | GenerativeMetric, ...] = (
    *(PSNR_METRIC, SSIM_METRIC, LPIPS_METRIC, RFID_METRIC),
    *(INTERPOLATION, UNIT_INTERPOLATION),
    *(GAUSSIAN, STATIONARY, WHITE, SOLVED),
    FLOOR_METRIC,
    EXPONENT,
    CONCENTRATION,
    *(BEST_DELTA, GAP, GAP_PAPER),
    SIMILARITY,
    LOWPASS,
    TRANSFER,
    NOISE,
    CONSISTENCY,
    EQUIVARIANCE,
    IRREDUCIBLE_VARIANCE,
    LOCAL_CORRELATION,
    EIGENSPECTRUM,
    CHANNELS,
    BLOCK_DCT,
    AFFINITY,
    LINEAR_PROBE,
    NEIGHBOURS,
    REGION_SIMILARITY,
)

LATENT_METRICS = tuple(entry for entry in CATALOGUE if isinstance(entry, LatentMetric))
DECODER_METRICS = tuple(entry for entry in CATALOGUE if isinstance(entry, DecoderMetric))
GENERATIVE_METRICS = tuple(entry for entry in CATALOGUE if isinstance(entry, GenerativeMetric))
METRICS: dict[str, Metric] = {
    metric.key: metric for entry in CATALOGUE for metric in ((entry,) if isinstance(entry, Metric) else entry.metrics)
}
