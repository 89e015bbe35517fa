"""Fidelity of reconstructions to their images: PSNR, SSIM, LPIPS, rFID, and rFID below a low-pass."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from ...records.measurement import Measurement
from .frechet import RFID, RFID_METRIC, frechet_measurement, in_halves
from .pixels import SSIM_WINDOW, psnr, round_to_bytes, ssim
from .score import SetComparison, SetScore
from .statistics import ImageStatistics, RunningMoments

PSNR_METRIC = replace(
    RFID_METRIC,
    key="psnr",
    title="reconstruction PSNR",
    unit="dB",
    better="higher",
    range="0 to 100",
    bounds=(0.0, 100.0),
    source="convention",
    evidence="none as a predictor: over 21 public tokenizers the better it is, the worse gFID, 0.58 [0.18, 0.84]",
    conventions="posterior mean decoded, images clamped to [−1, 1], no rounding, mean over images",
)
SSIM_METRIC = replace(
    PSNR_METRIC,
    key="ssim",
    title="reconstruction SSIM",
    unit="",
    range="−1 to 1",
    bounds=(-1.0, 1.0),
    source="Wang et al., 2004",
    evidence="none as a predictor: over 21 public tokenizers the better it is, the worse gFID, 0.55 [0.08, 0.82]",
)
LPIPS_METRIC = replace(
    PSNR_METRIC,
    key="lpips",
    title="reconstruction LPIPS",
    unit="",
    better="lower",
    range="from 0 on",
    bounds=(0.0, None),
    source="Zhang et al. (arXiv 1801.03924)",
    evidence="none as a predictor: over 21 public tokenizers the better it is, the worse gFID, −0.61 [−0.86, −0.21]",
    conventions="VGG, on images in [−1, 1], posterior mean decoded",
)
LOWPASS_METRICS = tuple(
    replace(
        RFID_METRIC,
        key=f"rfid_lowpass_{keep}",
        title=f"low-pass rFID, {keep} of 15 diagonals",
        source="Spectrum Matching (arXiv 2603.14645)",
        evidence="none published",
        conventions="decoded low-passed latents compared with low-passed images, blocks of 8 (positions, pixels); "
        "keep = 15 − n",
    )
    for keep in range(1, 15)
)


class Fidelity:
    """Reconstructions compared with their images, batch by batch.

    perceptual: distance (b,) of two batches (b, 3, H, W) in [-1, 1]; None leaves LPIPS out. extract: features (b, d) of
    such images, which are rounded to 256 levels first; None leaves out what needs features. set_scores: scores of
    reconstructions as a set. keep: diagonals of 15 of each low-pass rFID, which `add_lowpassed` counts. images, output:
    statistics of the two sets, the latter in halves too; a sum over processes takes their place.
    """

    def __init__(
        self,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
        extract: Callable[[Tensor], Tensor] | None = None,
        set_scores: Sequence[SetScore] = (RFID,),
        keep: Sequence[int] = (),
    ) -> None:
        self._perceptual, self._extract = perceptual, extract
        self._set_scores, self._keep = set_scores, keep if extract else ()
        collectors = tuple(score.collect for score in set_scores)
        self.images, self.output = ImageStatistics(collectors), ImageStatistics((*collectors, in_halves))

    def add(
        self, output: Tensor, images: Tensor, numbers: Sequence[int] | None = None, labels: Tensor | None = None
    ) -> None:
        """Add reconstructions (b, 3, size, size) of images in [-1, 1]; numbers, labels: as in `ImageStatistics.add`."""
        self.images.add(images, self._extract, numbers, labels)
        self.output.add(output, self._extract, numbers, labels)
        self._add("psnr", psnr(output, images)[:, None])
        if images.shape[-1] >= SSIM_WINDOW:
            self._add("ssim", ssim(output, images)[:, None])
        if self._perceptual is not None:
            self._add("lpips", self._perceptual(output.clamp(-1, 1), images)[:, None])

    def add_lowpassed(self, keep: int, decoded: Tensor, images: Tensor) -> None:
        """Add what low-passed latents are decoded to, and the images low-passed by the same cut-off."""
        assert self._extract is not None
        for name, batch in (("images", images), ("decoded", decoded)):
            self._add(f"lowpass_{keep}.{name}", self._extract(round_to_bytes(batch)))

    def _add(self, name: str, vectors: Tensor) -> None:
        # Beside the statistics of the output, so that they are summed over processes like these.
        self.output.moments.setdefault(name, RunningMoments()).add(vectors)

    def measurements(self, source: str = "images", seed: int = 0) -> dict[str, Measurement]:
        """Return PSNR and SSIM, LPIPS where there is a network, then the scores of sets and the low-pass rFIDs.

        source, seed: as in `SetComparison`.
        """
        n, moments = self.images.n_images, self.output.moments
        pairs = ("psnr", "ssim", "lpips")
        numbers: dict[str, Measurement] = {key: moments[key].scalar() for key in pairs if key in moments}
        if "ssim" not in numbers:
            refusal = f"images of {self.images.size} pixels hold no window of {SSIM_WINDOW}"
            numbers["ssim"] = Measurement(None, refused=refusal)
        comparison = SetComparison(self.output, self.images, source, n, is_paired=True, seed=seed)
        for score in self._set_scores:
            numbers |= score.compare(comparison)
        no_blocks = Measurement(None, refused="the latent grid has no blocks of 2 positions or more")
        for keep in self._keep:
            name = f"lowpass_{keep}"
            numbers[f"rfid_{name}"] = (
                frechet_measurement(moments[f"{name}.decoded"], moments[f"{name}.images"], n)
                if f"{name}.images" in moments
                else no_blocks
            )
        return numbers
