"""Distil an autoencoder: a small student learns a teacher's latents, and to decode them.

Latents are the teacher's at unit scale, as diffusion models see them, so that the student declares no scale of its own
and stands in for the teacher as TAESD does for the autoencoder of Stable Diffusion. Where the teacher's normalisation
packs positions into channels, as in FLUX.2, latents are its raw ones.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.images import ImageSet
from ..data.order import fixed_batches
from ..latent_space import LatentSpace
from ..methods.distillation import BandMatch, LatentMatch, band_errors
from ..methods.method import Posterior, Term
from ..methods.models import Gaussian
from ..metrics.images.pixels import psnr
from ..metrics.latents.moments import ChannelMoments
from ..nets.autoencoder import Autoencoder, eval_mode, open_autoencoder
from .autoencoder_config import AutoencoderRun, Distillation

N_MEASURED, BATCH_SIZE = 256, 16  # held-out images, spread over all


@dataclass(frozen=True)
class Teacher:
    """A frozen autoencoder, and how its raw latents become those that a student learns."""

    autoencoder: Autoencoder
    space: LatentSpace

    def posterior(self, images: Tensor) -> Posterior:
        """Return its posterior of images (b, 3, H, W), over raw latents."""
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self.autoencoder.encode(images)

    def latents(self, images: Tensor) -> Tensor:
        """Return its posterior's mean as the student learns it."""
        return self.space.to_unit(self.posterior(images).mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images of such latents."""
        return self.autoencoder.decode(self.space.from_unit(latents))


def open_teacher(choice: Distillation, device: torch.device) -> Teacher | None:
    """Open the teacher that a run names, frozen; None where it names none.

    Raises:
        ValueError: if it does not open.
    """
    if choice.teacher is None:
        return None
    autoencoder = open_autoencoder(choice.teacher, device)
    space = autoencoder.latent_space
    return Teacher(autoencoder, space if space.patch == 1 else LatentSpace())


def new_student(teacher: Teacher, width: int, seed: int) -> Autoencoder:
    """Return a new AutoencoderTiny of diffusers with the teacher's factor and channels, on the CPU.

    Raises:
        ValueError: for a factor that is no power of two.
    """
    from diffusers import AutoencoderTiny

    factor, n_halvings = teacher.autoencoder.factor, round(math.log2(teacher.autoencoder.factor))
    if factor != 2**n_halvings or not n_halvings:
        raise ValueError(f"the teacher's factor is {factor}, and AutoencoderTiny halves a whole number of times")
    n_blocks, widths = (1, *(3,) * n_halvings), (width,) * (n_halvings + 1)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return Autoencoder(
            AutoencoderTiny(
                latent_channels=teacher.autoencoder.channels,
                encoder_block_out_channels=widths,
                decoder_block_out_channels=widths,
                num_encoder_blocks=n_blocks,
                num_decoder_blocks=n_blocks[::-1],
            )
        )


def check_student(run: AutoencoderRun, student: Autoencoder, teacher: Teacher) -> None:
    """Check that a student fits its teacher, and the run both.

    Raises:
        ValueError: naming what does not fit.
    """
    shapes = [(one.factor, one.channels) for one in (student, teacher.autoencoder)]
    if shapes[0] != shapes[1]:
        (f, c), (g, d) = shapes
        raise ValueError(f"the student has factor {f} and {c} channels, its teacher {g} and {d}: they must be the same")
    if student.latent_space != LatentSpace():
        raise ValueError(
            f"{run.network.pretrained} declares a scale of its latents ({student.latent_space.convention}), and a "
            f"student learns latents at unit scale: let it declare none"
        )
    if run.network.train != "all":
        raise ValueError("distillation trains encoder and decoder: set network.train to all")
    size, autoencoder = run.data.size, teacher.autoencoder
    if size % autoencoder.multiple or (autoencoder.size and size != autoencoder.size):
        takes = f"{autoencoder.size} alone" if autoencoder.size else f"multiples of {autoencoder.multiple}"
        raise ValueError(f"data.size is {size}, and the teacher takes {takes}")


def distillation_terms(choice: Distillation) -> tuple[Term, ...]:
    """Return the losses on latents that a run asks for."""
    return (Term("latents", LatentMatch(), choice.latents), Term("bands", BandMatch(choice.bins), choice.bands))


class Taught:
    """A student beside its teacher, as `reconstruct` runs it: it encodes for itself and decodes the teacher's latents.

    So encoder and decoder learn apart: losses on images do not move the student's latents away from the teacher's, and
    its decoder sees what it will be given. sample: the teacher's latents are samples, otherwise means.
    """

    def __init__(self, student: Autoencoder, teacher: Teacher, sample: bool) -> None:
        self.student, self.teacher, self.sample = student, teacher, sample
        self.factor = student.factor

    def encode(self, images: Tensor) -> "TaughtPosterior":
        """Return a posterior with the student's mean, whose samples are the teacher's latents."""
        student, taught = self.student.encode(images), self.teacher.posterior(images)
        return TaughtPosterior(student.mean, student.logvar, space=self.teacher.space, taught=taught, drawn=self.sample)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the student's images of latents."""
        return self.student.decode(latents)


@dataclass(frozen=True, eq=False, kw_only=True)
class TaughtPosterior(Gaussian):
    """The student's mean and log-variance; samples are the teacher's latents.

    It is a Gaussian because `reconstruct` takes nothing but mean and log-variance from any other posterior.

    taught: the teacher's posterior, over raw latents. space: brings these to the student's scale. drawn: samples are
    samples of `taught`, otherwise its mean.
    """

    space: LatentSpace
    taught: Posterior
    drawn: bool

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return the teacher's latents (b, c, h, w)."""
        return self.space.to_unit(self.taught.sample(generator) if self.drawn else self.taught.mean)


def measure_distillation(student: Autoencoder, teacher: Teacher, images: ImageSet, bins: int) -> dict[str, Any]:
    """Measure a student on images: its latents, overall and by band, and both decoders on the teacher's latents.

    r2: 1 − mean square of the difference over the variance of each of the teacher's channels; by_band the same of the
    power in `bins` bands of frequency, without DC. PSNR in dB of the images. unit_scale: whether the latents are at the
    unit scale that the teacher declares, otherwise they are its raw ones.
    """
    weight = next(student.parameters())
    moments, n = ChannelMoments(), 0
    sums: list[list[Tensor]] = []
    with eval_mode(student, None), torch.inference_mode():
        for batch in fixed_batches(images, BATCH_SIZE, N_MEASURED):
            originals = batch.images.to(weight.device)
            own, latents = student.encode(originals).mean, teacher.latents(originals)
            moments.add(latents)
            decoded = (student.decode(own), student.decode(latents), teacher.decode(latents))
            scores = torch.stack([psnr(one.float(), originals).mean() for one in decoded])
            means = ((own - latents).square().mean(), *band_errors(own, latents, bins), scores)
            sums.append([mean.double().cpu() * len(originals) for mean in means])
            n += len(originals)
    difference, error, power, scores = (torch.stack(each).sum(0) / n for each in zip(*sums, strict=True))
    variance = moments.moments().channel_stds.square().mean()
    names = ("psnr", "psnr_of_teacher_latents", "psnr_of_teacher")
    return {
        "n_images": n,
        "n_total": len(images),
        "unit_scale": teacher.space == teacher.autoencoder.latent_space,
        "r2": float(1 - difference / variance),
        "r2_by_band": [float(1 - e / p) if p > 0 else None for e, p in zip(error, power, strict=True)],
        **dict(zip(names, scores.tolist(), strict=True)),
    }
