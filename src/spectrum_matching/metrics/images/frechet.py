"""Fréchet distance of two sets of images by Gaussian fits to their features: FID, sFID and rFID."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...seeding import spread_keys
from .score import BIAS, SetComparison, SetScore, score_metric
from .statistics import Collected, FeatureBatch, ImageStatistics, RunningMoments

IMAGES_PER_FEATURE = 3
"""Images for each feature below which covariances are too uncertain for `frechet_influence`."""

FID_METRIC = score_metric(
    key="fid",
    title="Fréchet distance",
    source="Heusel et al. (arXiv 1706.08500)",
    conventions="FID where the extractor is Inception's, FD-DINOv2 where it is DINOv2; symmetric eigenproblem in "
    f"float64; {BIAS}. Interval: delta method over generated images, reference fixed, which leaves the bias out",
)
SFID_METRIC = replace(
    FID_METRIC,
    key="sfid",
    title="spatial Fréchet distance",
    source="Nash et al. (arXiv 2103.03841), as in ADM's evaluator",
    conventions=f"7 channels of 17 × 17 of Inception's sixth mixed block; {BIAS}",
)
RFID_METRIC = replace(
    FID_METRIC,
    key="rfid",
    title="reconstruction Fréchet distance",
    evidence="bounds what can be generated; over 21 public tokenizers its rank correlation with gFID is −0.24 "
    "[−0.65, 0.25], that is none",
    conventions="of reconstructions to their own images; rFID where the extractor is Inception's; "
    f"{BIAS}. Interval: delta method over pairs of images, which leaves the bias out",
)
RECONSTRUCTIONS_METRIC = replace(
    FID_METRIC,
    key="fid_reconstructions",
    title="Fréchet distance to reconstructions",
    one_sided=True,
    source="ours",
    evidence="takes the decoder's own blur out of the distance, with a confound: a decoder that blurs brings all that "
    "it decodes nearer together. Read it beside its floor and the distance of reconstructions to their images",
    conventions="to what the generator's autoencoder decodes real images to, from posterior means; "
    f"{BIAS}. Interval as for the distance to images",
)
NORMALISED_METRIC = replace(
    RECONSTRUCTIONS_METRIC,
    key="fid_reconstructions_normalised",
    title="normalised distance to reconstructions",
    unit="",
    range="any; 0 at the floor, 1 at the Gaussian",
    bounds=(None, None),
    one_sided=False,
    evidence="a reading of the Fréchet distance to reconstructions that a blurred decoder cannot buy",
    conventions="(distance to reconstructions − its floor) / (that of a Gaussian of the latents − floor); the Gaussian "
    "has as many images as the model. Interval: delta method over all images, the three taken as independent",
)
FLOOR_METRIC = replace(
    RECONSTRUCTIONS_METRIC,
    key="fid_reconstructions_floor",
    title="floor of the Fréchet distance to reconstructions",
    better="neither",
    conventions="one half of these reconstructions compared with the other, drawn by a hash of their numbers: of half "
    "as many images, so biased upward more",
)
HALVES = ("first half", "second half")
"""Names of the moments of features that `in_halves` keeps."""


def frechet_distance(a: RunningMoments, b: RunningMoments) -> float:
    """Return ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½), also for covariances without full rank.

    Lower is nearer, 0 for equal moments; the square of a distance. Biased upward in finite samples, see
    `frechet_refusal`. Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule (arXiv 1706.08500), where
    the features are Inception's: only then is it FID. As a reconstruction's rFID it orders autoencoders by fidelity,
    and is no predictor of generation.

    Raises:
        ValueError: for fewer than two vectors, and for features of different sizes.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {len(a.mean)} and of {len(b.mean)} values cannot be compared")
    first, second = a.covariance(), b.covariance()
    # Tr(Σ_a Σ_b)^½ is the sum of the singular values of Σ_a^½ Σ_b^½. Unlike the eigenvalues of a product these need no
    # root, which would blow the rounding of an eigenvalue 0 up to half as many digits.
    overlap = torch.linalg.svdvals(_root(first).mT @ _root(second)).sum()
    distance = (a.mean - b.mean).square().sum() + first.trace() + second.trace() - 2 * overlap
    return max(float(distance), 0.0)


def _root(covariance: Tensor) -> Tensor:
    """Return R with R Rᵀ = covariance; eigenvalues that are rounding count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    noise = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return vectors * torch.where(values > noise, values, 0).sqrt()


def frechet_refusal(n_images: int, n_features: int) -> str:
    """Return why the distance of so few images means nothing, or "" if covariances can have full rank."""
    if n_images > n_features:
        return ""
    return (
        f"{n_images} images cannot fill a covariance of {n_features} features: the distance would be that of the "
        f"sample size; take more than {n_features} images"
    )


def frechet_influence(features: Tensor, images: RunningMoments, reference: RunningMoments) -> Tensor:
    """Return what each of features (n, d) adds to the distance of `images` to `reference`, to first order: (n,).

    The distance's gradient is 2(μ − μ_r) in the mean and 1 − T in the covariance, where T = R(Rᵀ Σ R)^(−½)Rᵀ with
    R Rᵀ = Σ_r transports one Gaussian to the other. The standard deviation over √n is the distance's standard error by
    the delta method; for paired images, that of the sum of both sides' influences. The bias is not included.
    """
    centred = features.double() - images.mean
    values, vectors = torch.linalg.eigh(reference.covariance())
    root = vectors * values.clamp_min(0).sqrt()
    inner, turned = torch.linalg.eigh(root.mT @ images.covariance() @ root)
    some = inner > inner.abs().max() * len(inner) * torch.finfo(inner.dtype).eps
    half = (root @ turned)[:, some] * inner[some].pow(-0.25)
    along = 2 * centred @ (images.mean - reference.mean)
    return along + centred.square().sum(1) - (centred @ half).square().sum(1)


def frechet_measurement(
    images: RunningMoments,
    reference: RunningMoments,
    n_reference: int,
    rows: Tensor | None = None,
    paired: Tensor | None = None,
    independent: Tensor | None = None,
) -> Measurement:
    """Return the distance with its standard error, or why it is refused: covariances without full rank.

    n_reference: images behind the reference, 0 if unknown. rows (n, d): features of single images, for the standard
    error. paired (n, d): features of the reference's images, one by one; independent (m, d): those of a reference whose
    images do not belong to these. None of both holds the reference fixed.
    """
    n, d = images.count, len(images.mean)
    if refusal := frechet_refusal(n, d):
        return Measurement(None, refused=refusal)
    # Not `reference.count`, which is a placeholder for moments from a file.
    if n_reference and (refusal := frechet_refusal(n_reference, d)):
        return Measurement(None, refused=f"reference: {refusal}")
    distance = frechet_distance(images, reference)
    if rows is None or n < IMAGES_PER_FEATURE * d:
        return Measurement(distance)
    influence = frechet_influence(rows, images, reference)
    if paired is not None:
        influence = influence + frechet_influence(paired, reference, images)
    error = float(influence.std()) / math.sqrt(n)
    if independent is not None:
        theirs = frechet_influence(independent, reference, images)
        # A sample of rows tells the spread of influences; how many images there are decides how they average out.
        error = math.hypot(error, float(theirs.std()) / math.sqrt(max(n_reference, len(theirs))))
    return Measurement(distance, error)


def in_halves(batch: FeatureBatch) -> Collected:
    """Collect the features of each half of a set, drawn by a hash of the images' numbers."""
    if batch.features is None:
        return Collected()
    is_second = (spread_keys(batch.numbers) >= 0.5).to(batch.features.device)
    return Collected(vectors=dict(zip(HALVES, (batch.features[~is_second], batch.features[is_second]), strict=True)))


def floor(statistics: ImageStatistics) -> Measurement:
    """Return the distance of one half of a set to the other: what a generator as good as its images would get.

    statistics: collected by `in_halves`. It is that of half as many images as there are, so biased upward more.
    """
    first, second = (statistics.moments.get(name) for name in HALVES)
    if first is None or second is None:
        return Measurement(None, refused=f"all {statistics.n_images} images lie in one half")
    return frechet_measurement(first, second, second.count)


def normalised_distance(distance: Measurement, floor: Measurement, gaussian: Measurement) -> Measurement:
    """Return a distance to reconstructions on the scale of one autoencoder: 0 at its floor, 1 at its Gaussian's.

    (distance − floor) / (gaussian − floor), any real number. A decoder that blurs brings all three nearer together, so
    it cannot buy a smaller one. Lower is better. The standard error is by the delta method, the
    three taken as independent, and an error that was not estimated, as a floor's, as none; None without the distance's.
    """
    for measured in (distance, floor, gaussian):
        if measured.value is None:
            return Measurement(None, refused=measured.refused)
    way = float(gaussian) - float(floor)
    if way <= 0:
        return Measurement(None, refused=f"the Gaussian is as near as the floor: {float(gaussian):.3g}")
    share = (float(distance) - float(floor)) / way
    if distance.standard_error is None:
        return Measurement(share)
    weighted = zip((distance, floor, gaussian), (1, share - 1, -share), strict=True)
    return Measurement(share, math.hypot(*((each.standard_error or 0.0) * weight for each, weight in weighted)) / way)


def _compare(key: str, name: str, comparison: SetComparison) -> Mapping[str, Measurement]:
    images, reference = comparison.images, comparison.reference
    if name not in images.moments or name not in reference.moments:
        return {}
    paired = reference.rows(name) if comparison.is_paired else None
    pair = images.moments[name], reference.moments[name]
    return {key: frechet_measurement(*pair, comparison.n_reference, images.rows(name), paired)}


def _compare_reconstructions(comparison: SetComparison) -> Mapping[str, Measurement]:
    images, decoded = comparison.images, comparison.reconstructions
    if decoded is None or "features" not in images.moments or "features" not in decoded.moments:
        return {}
    pair = images.moments["features"], decoded.moments["features"]
    distance = frechet_measurement(*pair, comparison.n_reconstructions, images.rows("features"))
    floor = {FLOOR_METRIC.key: comparison.floor} if comparison.floor else {}
    return {RECONSTRUCTIONS_METRIC.key: distance, **floor}


FID = SetScore((FID_METRIC,), lambda comparison: _compare("fid", "features", comparison))
SFID = SetScore((SFID_METRIC,), lambda comparison: _compare("sfid", "spatial", comparison))
FID_RECONSTRUCTIONS = SetScore(
    (RECONSTRUCTIONS_METRIC, NORMALISED_METRIC), _compare_reconstructions, details=(FLOOR_METRIC,)
)
RFID = SetScore((RFID_METRIC,), lambda comparison: _compare("rfid", "features", comparison), of=("reconstruction",))
