"""Measurements that need the autoencoder itself: reconstruction of every image, and tests on a few."""

from collections.abc import Iterable

from torch import Tensor

from ..metrics.catalogue import DECODER_METRICS
from ..metrics.decoder.equivariance import equivariance_points
from ..metrics.decoder.lowpass import legal_block, lowpass_points
from ..metrics.decoder.noise import noise_points
from ..metrics.decoder.sweep import DecoderSweep, DecoderTest
from ..metrics.decoder.transfer import transfer_matrix
from ..metrics.images.fidelity import Fidelity
from ..nets.autoencoder import Autoencoder
from ..records.analysis import Decoding, EquivariancePoint
from .album import Album
from .options import AnalysisOptions


def require_finite(name: str, what: str, values: Tensor) -> Tensor:
    """Return `values`.

    Raises:
        ValueError: when any of them is not finite.
    """
    if not values.isfinite().all():
        raise ValueError(
            f"{name}: its {what} contain values that are not finite, so nothing can be measured; check its weights, or "
            f"use float32 or bfloat16 in place of float16"
        )
    return values


def measure_decoder(
    name: str,
    autoencoder: Autoencoder,
    batches: Iterable[tuple[Tensor, Tensor]],
    channel_stds: Tensor,
    fidelity: Fidelity,
    album: Album,
    options: AnalysisOptions,
    seed: int,
) -> tuple[Decoding, tuple[EquivariancePoint, ...], tuple[str, ...]]:
    """Test decoder and encoder on batches of images and their posterior means; the album gets low-passed pictures.

    channel_stds (c,): of all posterior means. fidelity: of all reconstructions. Returns what was measured of the
    decoder and of the encoder, and notes for a reader of the numbers.

    Raises:
        ValueError: when an output is not finite.
    """
    sweep: DecoderSweep | None = None
    for images, latents in batches:
        if sweep is None:
            test = DecoderTest(
                decode=lambda z: require_finite(name, "pictures", autoencoder.decode(z).float()),
                encode=lambda x: autoencoder.encode(x).mean.float(),
                channel_stds=channel_stds,
                size=(images.shape[-2], images.shape[-1]),
                grid=(latents.shape[-2], latents.shape[-1]),
                multiple=autoencoder.size or autoencoder.multiple,
                seed=seed,
                perceptual=options.perceptual,
            )
            sweep = DecoderSweep(test, DECODER_METRICS)
        first = sweep.n
        output = sweep.add(images, latents)
        album.add_lowpassed(first, images, latents, output, sweep.test)
    assert sweep is not None
    decoding = Decoding(
        measurements=fidelity.measurements() | sweep.numbers(),
        n_tests=sweep.n,
        lowpass=lowpass_points(sweep),
        lowpass_block=legal_block(sweep.test.grid),
        noise=noise_points(sweep),
        transfer=transfer_matrix(sweep),
    )
    return decoding, equivariance_points(sweep), tuple(sweep.notes)
