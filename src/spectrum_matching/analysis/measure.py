"""Analysis of one autoencoder on a fixed set of images."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..data.arrays import Images, TensorImages, as_image_set
from ..data.fingerprint import fingerprint
from ..data.masks import MaskSet, open_masks
from ..data.order import batches_at, fixed_batches
from ..data.summary import number
from ..metrics.catalogue import DECODER_METRICS
from ..metrics.decoder.equivariance import equivariance_points
from ..metrics.decoder.lowpass import legal_block, lowpass_points
from ..metrics.decoder.noise import noise_points
from ..metrics.decoder.sweep import DecoderMetric, DecoderSweep, DecoderTest, decoder_work
from ..metrics.decoder.transfer import transfer_matrix
from ..metrics.images.fidelity import Fidelity
from ..metrics.images.pixels import SSIM_WINDOW
from ..nets.autoencoder import Autoencoder, check_size, eval_mode
from ..nets.vision.encoders import VisionEncoder
from ..records.analysis import Analysis, Decoding, Sample, Subject
from ..records.coverage import Coverage
from ..records.provenance import provenance
from ..seeding import spread
from .album import Album, album_work
from .encodings import Encodings
from .generative import Steps, check_reference, generation_work, measure_generation
from .latents import finish_analysis
from .options import DEFAULTS, AnalysisOptions
from .own_metrics import OwnMetric, checked_metrics

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
    options: AnalysisOptions = DEFAULTS,
    metrics: Sequence[OwnMetric] = (),
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    notes: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Analysis:
    """Measure an autoencoder on `n_images` (None: all) spread over a set.

    autoencoder: an `Autoencoder`, a model of diffusers, or an object with encode and decode, in wrappers or not.
    images: an image set, or a tensor (n, 3, size, size) in [-1, 1], or of as many channels as the autoencoder takes.
    n_tests: so many of these, spread over them, are also decoded from low-passed and noisy latents, and encoded rotated
    and scaled. batch_size: changes the numbers only by rounding. metrics: of your own, beside the catalogue's; what
    they are is in the notes. device, dtype: where and how the networks run, and stay; None leaves them as they are.
    Training mode is restored, and the global random state is not touched. source, split, notes: for the record.
    progress: called with how often an image has been encoded or decoded, and the total, tests of the decoder and
    generation among them.

    Raises:
        ValueError: for images of a size that the autoencoder does not take, latents that do not vary, outputs that are
            not finite, fewer than two images or tests, and a metric that fails.
    """
    image_set = as_image_set(images)
    model, n_channels = model_for(autoencoder, image_set, name)
    if n_channels != 3 and options.needs_rgb:
        raise ValueError(f"images have {n_channels} channels, and {options.needs_rgb} takes RGB alone: leave it out")
    if n_tests < 2:
        raise ValueError(f"n_tests is {n_tests}; standard errors need at least two images")
    check_size(name, model, image_set.size, SSIM_WINDOW)
    check_reference(name, model, image_set.size, options)
    own = checked_metrics(metrics)
    of_decoder = (*DECODER_METRICS, *(metric for metric in own if isinstance(metric, DecoderMetric)))
    subject = subject_of(model, name, source)
    grid = (image_set.size // model.factor, image_set.size // model.factor)
    bad, indices = list(map(str, image_set.bad)), list[int]()
    fidelity = Fidelity(options.perceptual, options.features)
    masks = open_masks(options.masks, image_set) if options.masks else None
    with Encodings(seed) as encodings:
        log.info("%s: encoding and decoding", name)
        done, n_chosen = 0, min(n_images or len(image_set), len(image_set))
        test = DecoderTest(
            decode=lambda z: require_finite(name, "pictures", model.decode(z).float()),
            encode=lambda x: model.encode(x).mean.float(),
            channel_stds=torch.ones(model.channels),  # until they are known
            size=(image_set.size, image_set.size),
            grid=grid,
            multiple=model.size or model.multiple,
            seed=seed,
            perceptual=options.perceptual,
        )

        def work_of_tests(n: int) -> int:
            return decoder_work(test, of_decoder, min(n_tests, n)) + album_work(image_set.size, grid, n)

        planned = 2 * n_chosen, work_of_tests(n_chosen), generation_work(options.reference, n_chosen)
        steps = Steps(progress, sum(planned))
        encoded = steps.part(planned[0])
        with eval_mode(model, device, dtype, seed=seed) as on_device:
            for batch in fixed_batches(image_set, batch_size, n_images):
                x = batch.images.to(on_device)
                bad += map(str, batch.bad)
                posterior = model.encode(x)
                mean = require_finite(name, "latents", posterior.mean.float())
                output = require_finite(name, "pictures", model.decode(mean).float())
                indices += batch.indices
                foreground = masks.read(batch.indices, grid) if masks else None
                logvar = None
                if model.is_stochastic:
                    logvar = require_finite(name, "log-variances", posterior.logvar.float())
                encodings.add(mean, logvar, x, batch.labels, foreground, tokens_of(options.encoder, x))
                fidelity.add(output, x)
                done += len(x) + len(batch.bad)
                encoded(done, n_chosen)
            if (n_measured := encodings.n_images) < 2:
                remedy = "measure all of them (--split all) or add images" if split == "held_out" else "add images"
                raise ValueError(
                    f"{image_set.source}: {n_measured} image of the split {split!r} was measured, and standard errors "
                    f"need at least two: {remedy}"
                )
            log.info("%s: tests of the decoder", name)
            test = replace(test, channel_stds=encodings.spectra["mean"].moments().channel_stds)
            tested, album = frozenset(spread(n_measured, n_tests)), Album(image_set.size, indices)
            tests = DecoderSweep(test, of_decoder, len(tested))
            passed = summed(steps.part(planned[1]), work_of_tests(n_measured))
            again = {indices[row]: row for row in sorted({*tested, *album.rows})}
            for batch in batches_at(image_set, batch_size, list(again)):
                if not batch.indices:  # files that could be read before
                    continue
                rows, x = [again[index] for index in batch.indices], batch.images.to(on_device)
                mean = encodings.read("mean", rows).to(on_device)
                album.add(rows, x, mean, test, passed)
                if among := [k for k, row in enumerate(rows) if row in tested]:
                    tests.add(x[among], mean[among], passed)
            generative = None
            if options.reference and options.features:
                generative = measure_generation(
                    model,
                    encodings.stored(encodings.kinds[-1]),
                    fidelity.images,
                    fidelity.output,
                    options.reference,
                    options.features,
                    device=on_device,
                    batch_size=batch_size,
                    seed=seed,
                    progress=steps.part(planned[2]),
                )
        n_readable = len(image_set) - (done - n_measured)
        coverage = Coverage(n_measured, n_readable, encodings.n_classes(), len(image_set.classes))
        return finish_analysis(
            encodings,
            model.latent_space,
            options,
            album,
            subject=subject,
            sample=Sample(
                image_set.source, split, coverage, image_set.size, fingerprint(image_set, indices).digest, tuple(bad)
            ),
            provenance=provenance(on_device, dtype or model.dtype, seed),
            equivariance=equivariance_points(tests),
            decoding=Decoding(
                measurements=fidelity.measurements() | tests.numbers(),
                n_tests=tests.n,
                lowpass=lowpass_points(tests),
                lowpass_block=legal_block(grid),
                noise=noise_points(tests),
                transfer=transfer_matrix(tests),
            ),
            generative=generative,
            metrics=own,
            notes=(
                *(
                    *notes,
                    *tile_notes(model.tile, image_set.size),
                    *tests.notes,
                    *mask_notes(masks),
                    *encoder_notes(options.encoder),
                ),
                *(options.reference.notes if options.reference else ()),
            ),
        )


def summed(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Return what takes numbers of passes as they are made, and reports their sum."""
    made = 0

    def passed(n: int) -> None:
        nonlocal made
        made += n
        progress(made, total)

    return passed


def model_for(autoencoder: Any, images: Images, name: str) -> tuple[Autoencoder, int]:
    """Return an `Autoencoder` of a model, or the one that is given, and the number of the images' channels.

    Raises:
        ValueError: if it takes images of another number of channels.
    """
    n_channels = images.channels if isinstance(images, TensorImages) else 3
    model = autoencoder if isinstance(autoencoder, Autoencoder) else Autoencoder(autoencoder, image_channels=n_channels)
    if model.image_channels != n_channels:
        raise ValueError(f"{name} encodes images of {model.image_channels} channels, and these have {n_channels}")
    return model, n_channels


def subject_of(model: Autoencoder, name: str, source: str) -> Subject:
    """Describe an autoencoder for the record."""
    return Subject(
        name=name,
        source=source,
        kind=model.kind,
        factor=model.factor,
        channels=model.channels,
        stochastic=model.is_stochastic,
        parameters=sum(weight.numel() for weight in model.parameters()),
        digest=model.digest,
    )


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


def tokens_of(encoder: VisionEncoder | None, images: Tensor) -> Tensor | None:
    """Return the encoder's tokens of images as a field, finite; None without an encoder."""
    return None if encoder is None else require_finite(encoder.name, "tokens", encoder(images).field)


def encoder_notes(encoder: VisionEncoder | None) -> tuple[str, ...]:
    """Return a note on what the affinity is measured to."""
    if encoder is None:
        return ()
    return (f"Gaps are to the vision encoder {encoder.name} ({encoder.resizer}; digest {encoder.digest}).",)


def tile_notes(tile: int | None, size: int) -> tuple[str, ...]:
    """Return a note on tiles smaller than the images, in which latents and pictures are not those of whole images."""
    if tile is None or tile >= size:
        return ()
    return (f"The network ran in tiles of {tile} pixels: near their borders values differ from those of whole images.",)


def mask_notes(masks: MaskSet | None) -> tuple[str, ...]:
    """Return a note on images without a mask."""
    if masks is None or not masks.missing:
        return ()
    without = number(len(masks.missing), "image has no mask", "images have no mask")
    return (f"{without} (first: {masks.missing[0]}); SRSS is of the others.",)
