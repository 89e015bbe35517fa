"""Scores of an autoencoder's reconstructions compared with their images, also below a low-pass."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.images import ImageBatch
from ..metrics.decoder.lowpass import legal_block, lowpass, scaled_strengths
from ..metrics.images.catalogue import SET_SCORES
from ..metrics.images.fidelity import Fidelity
from ..metrics.images.score import SetComparison
from ..metrics.images.spectrum_error import band_powers
from ..nets.autoencoder import Autoencoder, eval_mode
from ..nets.vision.extractors import Extractor
from ..records.provenance import provenance
from ..records.scores import Evaluation
from .accumulate import as_batch, note_source, reduce_over
from .generation import few_images, protocol, unread
from .reference import reference_of

KEEP, BLOCK = (7, 5, 3), 8
SCORES = tuple(score for score in SET_SCORES if "reconstruction" in score.of)


def evaluate_reconstruction(
    name: str,
    autoencoder: Autoencoder,
    batches: Iterable[Tensor | ImageBatch],
    extractor: Extractor | None = None,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    source: str = "images",
    source_digest: str = "",
    keep: Sequence[int] = KEEP,
    accelerator: Accelerator | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    warnings: tuple[str, ...] = (),
) -> Evaluation:
    """Score what posterior means of batches of images (b, 3, size, size) in [-1, 1] are decoded to.

    Each process gives its share. source, source_digest: of the images, for the protocol. keep: diagonals of blocks of
    8 positions that each low-pass rFID keeps; where the latent grid has no whole blocks of 8, the nearest cut-off in
    smaller ones, under the same key. lpips: on `device`, as the autoencoder (None: where it is). The rest as in
    `evaluate_generation`.

    Raises:
        ValueError: for fewer than two images, and for reconstructions that are not finite.
    """
    fidelity, block = Fidelity(lpips, extractor, SCORES, keep), BLOCK
    with eval_mode(autoencoder, device, seed=seed) as on:
        for batch in map(as_batch, batches):
            images = batch.images.to(on)
            latents = autoencoder.encode(images).mean.float()
            output = autoencoder.decode(latents).float()
            if not output.isfinite().all():
                raise ValueError(f"{name} decodes to values that are not finite: check its weights")
            fidelity.add(output, images, batch.indices or None, batch.labels)
            note_source(fidelity.images, batch)
            block = legal_block((latents.shape[-2], latents.shape[-1]), BLOCK)
            for cutoff in keep if extractor and block > 1 else ():
                (scaled,) = scaled_strengths((cutoff,), BLOCK, block)
                result = lowpass(autoencoder.decode, latents, output, images, scaled, block)
                fidelity.add_lowpassed(cutoff, result.decoded, result.image)
    fidelity.images, fidelity.output = (reduce_over(side, accelerator) for side in (fidelity.images, fidelity.output))
    real, n = fidelity.images, fidelity.images.n_images
    if n < 2:
        raise ValueError(f"{name}: at least 2 images are needed, got {n}")
    reference = reference_of(source, real, extractor, source_digest)
    smaller = f"low-pass in blocks of {block}: the latent grid has no whole blocks of {BLOCK}"
    notes = (smaller,) if extractor and keep and 1 < block < BLOCK else ()
    return Evaluation(
        name=name,
        kind="reconstruction",
        scores=fidelity.measurements(source, seed),
        spectrum=band_powers(SetComparison(fidelity.output, real)),
        protocol=replace(protocol(real, reference, extractor), tile=autoencoder.tile),
        provenance=provenance(on, torch.float32, seed),
        warnings=(*warnings, *(few_images(n) if extractor else ()), *unread(real), *notes),
    )
