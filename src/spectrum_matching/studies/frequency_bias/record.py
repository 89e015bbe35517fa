"""The frequency bias of diffusion training: what denoisers get wrong by band, noise level and update."""

from dataclasses import dataclass

from ...files.documents import Document
from ...records.analysis import Provenance
from ...records.measurement import Measurement

Numbers = tuple[float, ...]
"""One a band, from the lowest."""


@dataclass(frozen=True)
class Look:
    """The network at one update. loss: mean of training since the look before, None at update 0.

    data_errors, velocity_errors (levels, bands): squared error of x̂ and of the velocity on held-out data, the part of
    each band in the mean over values: bands sum to it.
    """

    step: int
    loss: float | None
    data_errors: tuple[Numbers, ...]
    velocity_errors: tuple[Numbers, ...]


@dataclass(frozen=True)
class Sight:
    """What eyes would make of x̂ at one noise level, as images in [−1, 1]; means over images.

    psnr, csf_psnr: in dB; lpips: None without weights. The tilt of a spectrum is undone first.
    """

    psnr: float
    csf_psnr: float
    ssim: float
    lpips: float | None


@dataclass(frozen=True)
class Level:
    """One noise level t, with α and σ there. Errors by band are written as in `Look`.

    velocity_factor: squared error of the velocity over that of x̂. loss_factor: that of the prediction over x̂'s.
    wiener_errors: of x̂ by the best linear denoiser, on the data and the noise that the network met; expected_errors:
    the same over all noise, in closed form; promised_errors: on data of exactly the training data's spectrum.
    error_share, seen_share (bands): of the trained network's error, as it is and weighted by contrast sensitivity once
    the tilt of a spectrum is undone; each sums to 1. relative_error, seen_error: the whole error over the whole power,
    as it is and so weighted; wiener_relative_error, wiener_seen_error: the linear denoiser's. seen_share, the seen
    errors, network and wiener: None where the data are no images.
    """

    time: float
    alpha: float
    sigma: float
    velocity_factor: float
    loss_factor: float
    wiener_errors: Numbers
    expected_errors: Numbers
    promised_errors: Numbers
    error_share: Numbers
    seen_share: Numbers | None
    relative_error: float
    wiener_relative_error: float
    seen_error: float | None
    wiener_seen_error: float | None
    network: Sight | None
    wiener: Sight | None


@dataclass(frozen=True)
class Halfway:
    """Updates from the untrained network to half of the way to an end, between looks by interpolation.

    to_final, to_final_log: to the last error, of the error and of its logarithm; to_wiener, to_wiener_log: to that of
    the best linear denoiser. None where that is not below the first error, or half of the way is never reached.
    """

    to_final: float | None
    to_final_log: float | None
    to_wiener: float | None
    to_wiener_log: float | None


@dataclass(frozen=True)
class Band:
    """One band of one case. frequency, edge (the upper one): cycles per sample. coefficients: in the band.

    power: mean of a held-out coefficient; white data of unit variance have 1. first_loss, final_loss, wiener_loss: mean
    over noise levels of the squared error of what the network predicts, a coefficient. half: of that loss.
    final_error, wiener_error: of x̂ over the band's power, mean over levels. ratio: final over Wiener, geometric mean
    over levels; its error: jackknife over the fields that it is measured on. sampled_decibels: power of generated
    samples over that of the training data; wiener_sampled_decibels: of the linear denoiser's, sampled alike, which says
    what is the sampler's doing. None where it is not finite.
    """

    frequency: float
    edge: float
    coefficients: int
    power: float
    first_loss: float
    final_loss: float
    wiener_loss: float
    half: Halfway
    final_error: float
    wiener_error: float
    ratio: Measurement
    sampled_decibels: float | None
    wiener_sampled_decibels: float | None


@dataclass(frozen=True)
class Order:
    """Spearman's correlation of each number with the frequency of the band.

    half, half_log: `Halfway.to_final` and `to_final_log`: 1 where every higher band is learned later; bands that have
    none come last together. ratio: final over Wiener. error: final error over the band's power. None with fewer than
    three bands, and where the greatest is less than 1.1 times the least, which is no order.
    """

    half: float | None
    half_log: float | None
    ratio: float | None
    error: float | None


@dataclass(frozen=True)
class Case:
    """One data set, one loss, one seed. subject: "pixels" or "latents". shape (c, h, w).

    data, objective: in words. exponent: α of the training data's power law 1/f^α, its standard error of the fit.
    half_levels (levels, bands): `Halfway.to_final` of each noise level by itself. csf (bands): squared contrast
    sensitivity to what is left of a band once the tilt of a spectrum is undone, mean 1 over coefficients; None where
    the data are no images. samples: some, as a PNG in base64, "" where they are no images. seconds: of the whole case.
    provenance: of its training, which may be older than that of the study.
    """

    name: str
    seed: int
    subject: str
    data: str
    objective: str
    shape: tuple[int, int, int]
    denoiser: str
    n_parameters: int
    n_train: int
    n_test: int
    exponent: Measurement
    csf: Numbers | None
    bands: tuple[Band, ...]
    order: Order
    levels: tuple[Level, ...]
    looks: tuple[Look, ...]
    half_levels: tuple[tuple[float | None, ...], ...]
    n_samples: int
    samples: str
    seconds: float
    provenance: Provenance

    @property
    def powers(self) -> Numbers:
        """Of held-out data by band, written as errors are: they sum to the mean square of a value."""
        n = self.shape[1] * self.shape[2]
        return tuple(band.power * band.coefficients / n for band in self.bands)


@dataclass(frozen=True)
class Damage:
    """What one metric says of equal errors in each band. better: of the metric. values (bands): means over images.

    correlation: Spearman's, of the damage with the band's frequency: 1 where every higher band does more harm, −1 where
    every higher band does less; None where the metric does not tell bands apart.
    """

    metric: str
    unit: str
    better: str
    values: Numbers
    correlation: float | None


@dataclass(frozen=True)
class Injection:
    """Errors of equal mean square, put into one band of images at a time. rms: in the images' range of 2.

    contrast: what images were multiplied by beforehand, so that nothing leaves their range.
    """

    frequencies: Numbers
    rms: float
    contrast: float
    n_images: int
    damages: tuple[Damage, ...]


@dataclass(frozen=True)
class FrequencyBias:
    """All cases × seeds of a plan. plan: as YAML. pixels_per_degree: at which images are held to be looked at."""

    name: str
    plan: str
    command: str
    images: str
    size: int
    path: str
    sampling: str
    pixels_per_degree: float
    cases: tuple[Case, ...]
    injection: Injection | None
    provenance: Provenance
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the cases, in the plan's order."""
        return tuple(dict.fromkeys(case.name for case in self.cases))

    def of(self, name: str) -> tuple[Case, ...]:
        """All seeds of one case."""
        return tuple(case for case in self.cases if case.name == name)


FREQUENCY_BIAS = Document(
    FrequencyBias, "specmatch-frequency-bias-2", "study", "run `specmatch study frequency-bias` again"
)
"""study.json."""
