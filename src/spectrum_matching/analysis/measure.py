"""Everything that is measured of one autoencoder on a fixed set of images."""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.images import BadFile
from ..data.masks import MaskSet, open_masks
from ..data.order import fixed_batches
from ..data.tensors import Images, TensorImages
from ..files.digests import digest_weights
from ..metrics import legal_block
from ..metrics.images.fidelity import Fidelity
from ..metrics.images.pixels import SSIM_WINDOW
from ..nets.autoencoder import Autoencoder, check_size, eval_mode
from ..records.analysis import Analysis, Sample, Subject
from ..records.provenance import provenance
from .album import Album
from .decoder import BLOCK, DecoderTests, require_finite
from .encodings import Encodings
from .latents import measure_latents
from .options import NO_EXTRAS, Extras
from .verdict import with_findings

log = logging.getLogger(__name__)


def analyze(
    autoencoder: Any,
    images: Images | Tensor,
    *,
    name: str = "autoencoder",
    source: str = "",
    split: str = "all",
    n_images: int | None = None,
    n_tests: int = 50,
    batch_size: int = 16,
    seed: int = 0,
    extras: Extras = NO_EXTRAS,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    notes: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Analysis:
    """Measure the first `n_images` (None: all); the batch size changes the numbers by no more than rounding.

    autoencoder: an `Autoencoder`, a model of diffusers, or an object with encode and decode. images: an image set, or a
    tensor (n, 3, size, size) in [-1, 1]. n_tests: the first so many of them are also decoded low-passed and noisy, and
    encoded moved. device, dtype: where and how the networks run, and stay; None leaves them as they are. Training mode
    is restored, and the global random state is not touched. source, split, notes: for the record. progress: called with
    the number of images encoded and decoded, and their total. ValueError, naming the autoencoder, for a size it
    cannot take, latents that do not vary and outputs that are not finite; also for under two images or tests.
    """
    codec = autoencoder if isinstance(autoencoder, Autoencoder) else Autoencoder(autoencoder)
    chosen = TensorImages(images) if isinstance(images, Tensor) else images
    if n_tests < 2:
        raise ValueError(f"n_tests is {n_tests}; uncertainties need at least two images")
    check_size(name, codec, chosen.size, SSIM_WINDOW)
    subject = Subject(
        name=name,
        source=source,
        kind=codec.kind,
        factor=codec.factor,
        channels=codec.channels,
        stochastic=codec.is_stochastic,
        parameters=sum(weight.numel() for weight in codec.parameters()),
        digest=digest_weights(codec),
    )
    grid = chosen.size // codec.factor
    block = legal_block((grid, grid), BLOCK)
    album, fidelity, bad = Album(chosen.size, n_tests), Fidelity(extras.perceptual, extras.features), said(chosen.bad)
    masks = open_masks(extras.masks, chosen) if extras.masks else None
    with Encodings(seed) as encodings:
        log.info("%s: encoding and decoding", name)
        done, total = 0, min(n_images or len(chosen), len(chosen))
        with eval_mode(codec, device, dtype, seed=seed) as place:
            good = _good_places(chosen, bad)
            for batch in fixed_batches(chosen, batch_size, n_images):
                x = batch.images.to(place)
                bad += said(batch.bad)
                posterior = codec.encode(x)
                mean = posterior.mean.float()
                output = codec.decode(mean).float()
                require_finite(name, latents=mean, pictures=output)
                album.add(encodings.n_images, 2 * block - 1, x, output)
                foreground = None
                if masks:
                    foreground = foreground_of(masks, list(itertools.islice(good, len(x))), (grid, grid))
                encodings.add(mean, posterior.logvar if codec.is_stochastic else None, x, batch.labels, foreground)
                fidelity.add(output, x)
                done += len(x) + len(batch.bad)
                progress(done, total)
            if (n_seen := encodings.n_images) < 2:
                raise ValueError(f"{chosen.source}: only one image was measured; uncertainties need at least two")
            channel_stds = encodings.statistics["mean"].moments().channel_stds
            log.info("%s: tests of the decoder", name)
            tests = DecoderTests(name, codec, channel_stds, chosen.size, block, seed, extras)
            again = (batch.images.to(place) for batch in fixed_batches(chosen, batch_size, n_images))
            for x, latents in zip(again, encodings.batches("mean", batch_size, n_tests), strict=False):
                tests.add(latents.to(place), x[: len(latents)], album)
            decoding, equivariance, more = tests.result(fidelity)
        measured = measure_latents(name, encodings, codec.latent_space, extras, album, seed)
        flat = encodings.notes()
    return with_findings(
        Analysis(
            subject=subject,
            sample=Sample(chosen.source, split, n_seen, chosen.size, chosen.digest, tuple(bad)),
            provenance=provenance(place, dtype or _dtype(codec), seed),
            latent_shape=(codec.channels, grid, grid),
            **measured._asdict(),
            equivariance=equivariance,
            decoding=decoding,
            pictures=album.pictures(),
            latent_pictures=album.latent_pictures(),
            findings=(),
            notes=notes + more + flat + mask_notes(masks),
        )
    )


def _dtype(codec: Autoencoder) -> torch.dtype:
    return next((weight.dtype for weight in codec.parameters() if weight.is_floating_point()), torch.float32)


def said(files: Sequence[BadFile]) -> list[str]:
    """Each in one line."""
    return [f"{file.name}: {file.reason}" for file in files]


def _good_places(images: Images, bad: Sequence[str]) -> Iterator[int]:
    """The positions of the images that come in batches; `bad` has grown by the time that each is asked for."""
    for place, name in enumerate(images.names):
        if not any(entry.startswith(f"{name}: ") for entry in bad):
            yield place


def foreground_of(masks: MaskSet, places: Sequence[int], grid: tuple[int, int]) -> Tensor:
    """Masks (b, h, w) of the images at `places`; all background for one that has none, which SRSS then leaves out."""
    nothing = torch.zeros(grid, dtype=torch.bool)
    return torch.stack([masks[place, grid] if place in masks.images else nothing for place in places])


def mask_notes(masks: MaskSet | None) -> tuple[str, ...]:
    """What a reader must know of them."""
    if masks is None or not masks.missing:
        return ()
    return (f"{len(masks.missing)} images have no mask, such as {masks.missing[0]}; SRSS is of the others.",)
