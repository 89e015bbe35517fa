import math

import pytest
import torch

from spectrum_matching.metrics.catalogue import LATENT_METRICS
from spectrum_matching.metrics.estimates import estimate_class_mean
from spectrum_matching.metrics.latents import eigenspectrum
from spectrum_matching.metrics.latents.affinity import AFFINITY
from spectrum_matching.metrics.latents.block_dct import block_amplitudes, block_profile, high_share, latent_profile
from spectrum_matching.metrics.latents.channels import channel_kurtosis
from spectrum_matching.metrics.latents.concentration import concentration
from spectrum_matching.metrics.latents.eigenspectrum import effective_rank, participation_ratio, principal_axes
from spectrum_matching.metrics.latents.irreducible_variance import irreducible_variance
from spectrum_matching.metrics.latents.linear_probe import linear_probe
from spectrum_matching.metrics.latents.local_correlation import local_correlation, neighbour_correlation
from spectrum_matching.metrics.latents.moments import Moments
from spectrum_matching.metrics.latents.neighbours import gsq, neighbour_accuracy, neighbour_consistency, pool
from spectrum_matching.metrics.latents.region_similarity import srss
from spectrum_matching.metrics.latents.similarity import cds, distance_cosines, lds, mean_cosines
from spectrum_matching.metrics.latents.sweep import LatentBatch, LatentSweep
from spectrum_matching.spectrum import idct2, rmsc

# The affinity needs a vision encoder's tokens, and has sweeps of its own in test_affinity.py.
KEYS = [metric.key for entry in LATENT_METRICS if entry is not AFFINITY for metric in entry.metrics]
OF_CLASSES = ("lnc", "gsq", "neighbour_accuracy", "probe_accuracy", "viv_class")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def moments_of(latents):
    x = latents.double()
    return Moments(float(x.mean()), float(x.std()), x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0))


def swept(latents, labels=None, masks=None, batch_size=16, noise=None) -> LatentSweep:
    labels = torch.full((len(latents),), -1) if labels is None else labels

    def batches():
        for start in range(0, len(latents), batch_size):
            part = slice(start, start + batch_size)
            yield LatentBatch(latents[part], labels[part], *(None if x is None else x[part] for x in (masks, noise)))

    return LatentSweep(batches, moments_of(latents), LATENT_METRICS)


def measured(*args, **kwargs):
    return swept(*args, **kwargs).numbers(all_readings=True)


def smooth(n, c=6, h=12, w=12, seed=0):
    """Latents of different scales and offsets, with a spectrum that falls."""
    frequency = torch.hypot(torch.arange(h)[:, None] / h, torch.arange(w) / w).clamp_min(1 / max(h, w))
    x = idct2(torch.randn(n, c, h, w, generator=seeded(seed)) / frequency)
    return x * torch.linspace(0.5, 3, c).view(-1, 1, 1) + torch.arange(c).view(-1, 1, 1)


def two_classes(n):
    return torch.arange(n) % 2


def disk(n, h=12, w=12):
    y, x = torch.arange(h)[:, None] - h / 2, torch.arange(w) - w / 2
    return (y.square() + x.square() < 16).expand(n, h, w)


def assert_close(found, expected, key):
    """Values, standard errors and white values alike, or both without."""
    assert found.refused == expected.refused, key
    for part in ("value", "standard_error", "white"):
        a, b = getattr(found, part), getattr(expected, part)
        assert a is b is None or a == pytest.approx(b, rel=1e-8, abs=1e-12), key


@pytest.fixture(scope="module")
def latents():
    return smooth(160)


@pytest.fixture(scope="module")
def whole(latents):
    return measured(latents, two_classes(160), disk(160), 160, NOISE)


NOISE = torch.linspace(0.1, 0.3, 160, dtype=torch.float64)


def test_latent_sweep_numbers_are_those_of_all_latents_at_once(latents, whole):
    raw, labels, masks, grid = latents.double(), two_classes(160), disk(160), (12, 12)
    x = (raw - raw.mean((0, 2, 3), keepdim=True)) / raw.std((0, 2, 3), keepdim=True)
    cosines = distance_cosines(x)
    values = torch.linalg.eigvalsh(raw.transpose(0, 1).flatten(1).cov())
    expected = {
        "sec_25": concentration(x, 0.25),
        "sec_50": concentration(x, 0.5),
        "lds_4n_far6": lds(cosines, grid).mean(),
        "cds_8": cds(cosines).mean(),
        "viv": irreducible_variance(lambda: [(x, torch.zeros(160, dtype=torch.long))]).mean,
        "local_correlation": local_correlation(x).mean(),
        "neighbour_correlation": neighbour_correlation(x).mean() / x.square().mean(),
        "participation_ratio": participation_ratio(values),
        "top1_share": values[-1] / values.sum(),
        "condition_number": values[-1] / values[0],
        "effective_rank": effective_rank(pool(raw)),
        "block_dct_high": high_share(block_profile(block_amplitudes(x).sum(0))),
        "kurtosis": (x.pow(4).mean((0, 2, 3)) / x.square().mean((0, 2, 3)).square() - 3).mean(),
        "lnc": neighbour_consistency(pool(x, masks), labels).mean(),
        "gsq": gsq(pool(raw), labels).mean(),
        "probe_accuracy": estimate_class_mean(linear_probe(pool(x), labels), labels),
        "neighbour_accuracy": neighbour_accuracy(pool(x), labels),
        "viv_class": irreducible_variance(lambda: [(x, labels)]).mean,
        "srss": srss(x, masks).mean(),
        "rmsc": rmsc(raw).mean(),
        "directional_energy": rmsc(raw).square().mean(),
        "std": raw.std(),
        "posterior_noise": NOISE.mean() / (NOISE.mean() + raw.var((0, 2, 3), correction=0).mean()),
    }
    for key, value in expected.items():
        assert whole[key].value == pytest.approx(float(value), rel=1e-7), key
    assert expected.keys() == set(whole) == set(KEYS)


def test_latent_sweep_ignores_batches(latents, whole):
    cut, uncut = (swept(latents, two_classes(160), disk(160), size, NOISE) for size in (7, 160))
    for key, number in cut.numbers(all_readings=True).items():
        assert_close(number, whole[key], key)
    for curve in (mean_cosines, latent_profile, channel_kurtosis, lambda sweep: principal_axes(sweep)[0]):
        torch.testing.assert_close(curve(cut), curve(uncut), rtol=1e-9, atol=1e-11)


def test_latent_sweep_ignores_order(latents, whole):
    flipped = measured(latents.flip(0), two_classes(160).flip(0), disk(160), 16, NOISE.flip(0))
    for key, number in flipped.items():
        assert number.refused or number.value == pytest.approx(whole[key].value, rel=1e-9), key


def test_latent_sweep_standardises_channels(latents, whole):
    changed = measured(latents.double() * torch.tensor([3, 0.1, 1, 1, 20, 7]).view(-1, 1, 1) - 4, two_classes(160))
    for key in ("sec_25", "lds_4n_far6", "cds_8", "viv", "local_correlation", "block_dct_high", "kurtosis"):
        assert changed[key].value == pytest.approx(whole[key].value, rel=1e-5), key
    for key in ("participation_ratio", "rmsc", "std"):
        assert changed[key].value != pytest.approx(whole[key].value, rel=1e-2), key


def test_latent_sweep_white_values_are_those_of_white_noise():
    noise = torch.randn(160, 8, 16, 16, generator=seeded()) * 5 + 3
    numbers = measured(noise, torch.arange(160) % 2, disk(160, 16, 16).roll(1, 1))
    biased = {"participation_ratio", "top1_share", "condition_number"}  # by the spread of the eigenvalues
    checked = {key: number for key, number in numbers.items() if number.white is not None}
    assert len(checked) == 17
    for key, number in checked.items():
        slack = 0.02 * abs(number.white) if key in biased else 0
        assert abs(number.value - number.white) < 4 * number.standard_error + slack, key


@pytest.mark.slow
def test_latent_sweep_standard_errors_are_spread_over_images():
    runs = [measured(smooth(60, 4, 8, 8, seed=seed + 1), two_classes(60), batch_size=60) for seed in range(40)]
    for key in KEYS:
        found = [run[key] for run in runs if key in run and run[key].value is not None]
        # Neighbours and probes of classes that are noise share images, and the fold of a lone extreme is no normal law.
        if found and key not in (*OF_CLASSES, "std"):
            values = torch.tensor([number.value for number in found])
            error = sum(number.standard_error for number in found) / len(found)
            assert 0.6 < error / float(values.std()) < 1.7, key


def test_principal_axes_are_those_of_raw_covariance(latents):
    eigenvalues, axes, scales = principal_axes(swept(latents))
    values, vectors = torch.linalg.eigh(latents.double().transpose(0, 1).flatten(1).cov())
    torch.testing.assert_close(eigenvalues, values.flip(0))
    torch.testing.assert_close(scales, values.flip(0)[:3].sqrt())
    torch.testing.assert_close(axes.abs(), vectors.flip(1)[:, :3].abs())
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_latent_sweep_leaves_dead_channels_out(latents, whole):
    dead = torch.full((160, 2, 12, 12), 7.0)
    padded = torch.cat([dead[:, :1], latents, dead[:, :1] * 1e3], 1)
    sweep = swept(padded, two_classes(160), disk(160), noise=NOISE)
    assert sweep.live.tolist() == [False] + [True] * 6 + [False]
    assert channel_kurtosis(sweep).isnan().tolist() == (~sweep.live).tolist()
    of_all_channels = {"rmsc", "directional_energy", "std", "posterior_noise"}
    for key, number in sweep.numbers(all_readings=True).items():
        if key not in of_all_channels:
            assert_close(number, whole[key], key)
    assert principal_axes(sweep)[1][[0, -1]].abs().max() == 0


def test_error_of_posterior_noise_is_that_of_the_variance_too():
    loudness = torch.linspace(0.2, 2, 200)[torch.randperm(200, generator=seeded())].view(-1, 1, 1, 1)
    x = loudness * torch.randn(200, 4, 4, 4, generator=seeded())
    noise = torch.full((200,), 0.2, dtype=torch.float64)
    draws = [measured(part, noise=noise[:40])["posterior_noise"] for part in x.split(40)]
    spread = torch.tensor([number.value for number in draws]).std()
    for number in draws:
        assert number.standard_error == pytest.approx(float(spread), rel=0.8)
        assert number.standard_error > 0.005


def refusals(found):
    return {key: number.refused for key, number in found.items() if number.value is None}


def test_latent_sweep_refuses_without_labels_and_masks(latents):
    reasons = refusals(measured(latents))
    assert reasons.pop("srss") == "no masks"
    assert {reasons.pop(key) for key in OF_CLASSES} == {"no labels"}
    assert not reasons


def test_latent_sweep_refuses_what_few_images_bias():
    reasons = refusals(measured(smooth(5), two_classes(5), disk(5)))
    assert "biased below 72 images" in reasons["viv"]
    assert reasons["viv_class"].startswith("the smallest class: 2 images")
    few = "2 of 2 classes have fewer than 6 images: measure more"
    assert reasons["probe_accuracy"] == reasons["neighbour_accuracy"] == few
    assert "6 channels need more than 6 images, got 5" in reasons["effective_rank"]
    assert set(reasons) == {"viv", "viv_class", "effective_rank", "probe_accuracy", "neighbour_accuracy"}


def test_latent_sweep_of_one_image_has_no_standard_errors():
    found = measured(smooth(1))
    given = {key: number for key, number in found.items() if number.value is not None}
    assert {"sec_25", "lds_4n_far6", "local_correlation", "kurtosis", "block_dct_high"} <= given.keys()
    assert all(number.standard_error is None and math.isfinite(number.value) for number in given.values())


@pytest.mark.parametrize("shape", [(4, 5, 7), (4, 3, 3), (4, 2, 2), (1, 8, 8), (2, 8, 8), (3, 1, 6), (3, 1, 1)])
def test_latent_sweep_of_odd_shapes_is_finite_or_refused(shape):
    sweep = swept(torch.randn(60, *shape, generator=seeded()), two_classes(60))
    found = sweep.numbers()
    for key, number in found.items():
        assert (number.value is None) == bool(number.refused), key
        assert number.value is None or math.isfinite(number.value), key
        assert number.standard_error is None or math.isfinite(number.standard_error), key
    c, h, w = shape
    reasons = refusals(found)
    assert ("local_correlation" in reasons) == (bool(h % 2 or w % 2) or c == 1)
    assert ("block_dct_high" in reasons) == (min(h, w) < 8)
    assert ("participation_ratio" in reasons) == (c == 1)
    assert principal_axes(sweep)[1].shape == (c, 3)


def constant_within_images():
    return torch.randn(60, 4, 1, 1, generator=seeded()).expand(60, 4, 8, 8)


def constant_within_images_and_across_channels():
    return torch.randn(60, 1, 1, 1, generator=seeded()).expand(60, 4, 8, 8)


def same_in_all_images():
    return torch.randn(1, 4, 8, 8, generator=seeded()).expand(60, 4, 8, 8)


def linearly_dependent():
    x = torch.randn(60, 4, 8, 8, generator=seeded(), dtype=torch.float64)
    x[:, 3] = x[:, 0] + x[:, 1]
    return x


def zero_in_the_means_of_blocks():
    return smooth(60, 4, 8, 8) - smooth(60, 4, 8, 8).mean((-2, -1), keepdim=True)


def fires_in_one_image():
    x = smooth(60, 4, 8, 8)
    x[:, 1] = 0.1
    x[7, 1, 2, 3] = 5.0
    return x


def as_many_positions_as_channels_without_an_image():
    return smooth(2, 16, 4, 4)


DEGENERATE = [
    fires_in_one_image,
    as_many_positions_as_channels_without_an_image,
    constant_within_images,
    constant_within_images_and_across_channels,
    same_in_all_images,
    linearly_dependent,
    zero_in_the_means_of_blocks,
]


@pytest.mark.parametrize("build", DEGENERATE, ids=lambda build: build.__name__)
def test_latent_sweep_of_degenerate_latents_is_finite_or_refused(build):
    x = build()
    n, h, w = len(x), *x.shape[2:]
    found = measured(x, two_classes(n), torch.arange(h * w).view(h, w).lt(h * w // 2).expand(n, h, w))
    for key, number in found.items():
        assert (number.value is None) == bool(number.refused), key
        assert number.value is None or math.isfinite(number.value), key
        assert number.standard_error is None or math.isfinite(number.standard_error), key
    if build is constant_within_images:
        assert found["sec_25"].value == pytest.approx(0, abs=1e-12)
        assert found["lds_4n_far6"].value == pytest.approx(0, abs=1e-12)
        assert found["local_correlation"].value == pytest.approx(1)
    if build is as_many_positions_as_channels_without_an_image:
        assert found["condition_number"].value > 1
        assert found["condition_number"].standard_error is None
    if build is fires_in_one_image:
        assert found["kurtosis"].value > 100
        assert (found["kurtosis"].standard_error, found["condition_number"].standard_error) == (None, None)
    if build is linearly_dependent:
        assert "depend on each other" in found["condition_number"].refused


def test_largest_condition_separates_condition_numbers(latents, monkeypatch):
    value = measured(latents)["condition_number"].value
    for largest, is_refused in ((value, True), (math.nextafter(value, math.inf), False)):
        monkeypatch.setattr(eigenspectrum, "LARGEST_CONDITION", largest)
        assert bool(measured(latents)["condition_number"].refused) == is_refused


def test_latent_sweep_refuses_everything_for_constant_latents():
    found = measured(torch.full((10, 3, 8, 8), 2.5))
    assert set(found) == {*KEYS, *(metric.key for metric in AFFINITY.metrics)}
    assert set(refusals(found).values()) == {"no channel varies: all latents are the same"}
    with pytest.raises(ValueError, match="no latents to measure"):
        LatentSweep(list, Moments(0.0, 1.0, torch.zeros(2), torch.ones(2)), LATENT_METRICS)


def test_latent_sweep_numbers_leave_alternative_readings_out(latents):
    sweep = swept(latents)
    assert set(sweep.numbers(all_readings=True)) - set(sweep.numbers()) == {"sec_50"}


def test_latent_sweep_takes_labels_and_masks_of_some_images(latents, whole):
    labels = torch.cat([two_classes(140), torch.full((20,), -1)])
    masks = disk(160).clone()
    masks[:60] = False
    found = measured(latents, labels, masks)
    assert found["gsq"].white == pytest.approx(69 / 139)
    x = (latents - latents.mean((0, 2, 3), keepdim=True)).double() / latents.double().std((0, 2, 3), keepdim=True)
    assert found["srss"].value == pytest.approx(float(srss(x[60:], masks[60:]).mean()), rel=1e-5)
    assert found["srss"].standard_error > whole["srss"].standard_error


def test_latent_sweep_requires_one_grid():
    batches = [LatentBatch(torch.ones(1, 2, 8, n), torch.tensor([-1])) for n in (8, 4)]
    with pytest.raises(ValueError, match="latents of one set must have one grid, got 8 x 8 and 8 x 4"):
        LatentSweep(lambda: batches, Moments(0.0, 1.0, torch.zeros(2), torch.ones(2)), LATENT_METRICS)
