import pytest
import torch

from spectrum_matching.methods.encoding_losses import spectrum_distributions
from spectrum_matching.metrics.latents.spectra import (
    SEARCH_DELTAS,
    LatentSpectra,
    fit_spectrum,
    gaps,
    image_bands,
    match_spectra,
    shares,
    targets,
)
from spectrum_matching.spectrum import dct2, idct2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid_frequency(h: int, w: int) -> torch.Tensor:
    frequency = torch.hypot(torch.arange(h)[:, None] / (2 * h), torch.arange(w) / (2 * w)).double()
    frequency[0, 0] = frequency[0, 1]
    return frequency


def power_law_fields(shape: tuple[int, ...], exponent: float, seed: int = 0) -> torch.Tensor:
    """Fields of power 1/f^exponent."""
    noise = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
    return idct2(noise * grid_frequency(*shape[-2:]) ** (-exponent / 2))


def flattened(images: torch.Tensor, size: int, delta: float) -> torch.Tensor:
    """The images' own band-limited fields with their power multiplied by f^delta."""
    return idct2(dct2(images, (size, size)) * grid_frequency(size, size) ** (delta / 2))


def measured(latents: torch.Tensor, images: torch.Tensor, batch_size: int = 8) -> LatentSpectra:
    spectra = LatentSpectra()
    for pair in zip(latents.split(batch_size), images.split(batch_size), strict=True):
        spectra.add(*pair)
    return spectra


def test_latent_spectra_ignore_batches():
    images = power_law_fields((20, 3, 64, 64), 2.0)
    latents = 7 + 3 * torch.randn(20, 5, 16, 16, generator=seeded(1), dtype=torch.float64)
    whole, cut = measured(latents, images, 20), measured(latents, images, 3)
    close = {"atol": 1e-11, "rtol": 1e-11}
    torch.testing.assert_close(whole.moments(), cut.moments(), **close)
    torch.testing.assert_close(whole.channel_power(), cut.channel_power(), **close)
    torch.testing.assert_close(whole.bands("paper"), cut.bands("paper"), **close)


def test_latent_spectra_moments_are_exact_far_from_zero():
    latents = 1e6 + torch.randn(12, 3, 8, 8, generator=seeded(0), dtype=torch.float64) * torch.tensor(
        [0.1, 1.0, 2.0], dtype=torch.float64
    ).view(3, 1, 1)
    moments = measured(latents, torch.zeros(12, 3, 32, 32), 5).moments()
    assert moments.mean == pytest.approx(float(latents.mean()), rel=1e-14)
    assert moments.std == pytest.approx(float(latents.std(correction=0)), rel=1e-9)
    torch.testing.assert_close(moments.channel_stds, latents.std((0, 2, 3), correction=0), rtol=1e-9, atol=0)


@pytest.mark.parametrize("variant", ["paper", "scale_free"])
def test_targets_and_shares_are_those_of_esm(variant):
    images = power_law_fields((4, 3, 64, 64), 2.0)
    latents = torch.randn(4, 2, 8, 8, generator=seeded(1), dtype=torch.float64)  # 16 rings, some of them empty
    bands = measured(latents, images).bands(variant)
    target, actual = spectrum_distributions(latents, images, delta=0.7, variant=variant)
    filled = (actual != 0).all(0)
    assert 3 <= filled.sum() < 16
    torch.testing.assert_close(targets(bands, 0.7), target[:, filled])
    torch.testing.assert_close(shares(bands), actual[:, filled])


def test_match_spectra_best_delta_of_band_limited_images_is_zero():
    images = power_law_fields((16, 3, 64, 64), 2.0)
    bands = measured(flattened(images, 16, 0.0), images).bands("scale_free")
    found = match_spectra(bands, "scale_free", seeded(0))
    assert (found.best_delta, *found.best_delta_interval, found.best_gap) == pytest.approx((0.0,) * 4, abs=1e-9)


@pytest.mark.parametrize("delta", [-0.3, 0.4, 1.0, 1.7])
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_match_spectra_best_delta_recovers_delta_at_any_scale(delta, scale):
    images = power_law_fields((24, 3, 64, 64), 2.0)
    bands = measured(scale * flattened(images, 16, delta), images).bands("scale_free")
    found = match_spectra(bands, "scale_free", seeded(0))
    assert found.best_delta == pytest.approx(delta, abs=0.03)
    assert found.best_delta_interval[0] <= found.best_delta <= found.best_delta_interval[1]


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 4, 16])
def test_match_spectra_interval_covers_the_truth_of_few_images(n):
    images, latents = power_law_fields((400, 3, 32, 32), 2.0), power_law_fields((400, 4, 8, 8), 1.0, seed=9)
    bands = measured(latents, images).bands("scale_free")
    truth, generator = match_spectra(bands, "scale_free", seeded(0)).best_delta, torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(200):
        rows = torch.randperm(400, generator=generator)[:n]
        some = bands._replace(images=bands.images[rows], latents=bands.latents[rows])
        low, high = match_spectra(some, "scale_free", generator).best_delta_interval
        covered += low <= truth <= high
    assert covered >= 176  # 88 %; percentiles alone cover 50 % of two images


def test_match_spectra_best_delta_of_independent_power_laws():
    images, latents = power_law_fields((48, 3, 64, 64), 2.0), power_law_fields((48, 16, 16, 16), 1.0, seed=9)
    low, high = match_spectra(
        measured(latents, images).bands("scale_free"), "scale_free", seeded(0)
    ).best_delta_interval
    assert low - 0.05 < 1.0 < high + 0.05


def test_match_spectra_best_delta_of_paper_variant_depends_on_scale():
    images = power_law_fields((16, 3, 64, 64), 2.0)
    found = [
        match_spectra(
            measured(scale * flattened(images, 16, 1.0), images).bands("paper"), "paper", seeded(0)
        ).best_delta
        for scale in (0.1, 10.0)
    ]
    assert abs(found[0] - found[1]) > 0.2


def test_match_spectra_best_delta_has_the_smallest_gap():
    images = power_law_fields((16, 3, 64, 64), 2.0)
    bands = measured(flattened(images, 16, 0.6), images).bands("scale_free")
    curve = gaps(bands, SEARCH_DELTAS)
    assert curve.shape == (16, len(SEARCH_DELTAS))
    assert match_spectra(bands, "scale_free", seeded(0)).best_gap == float(curve.mean(0).min())
    assert (curve >= -1e-12).all()


def test_one_image_has_no_interval():
    images = power_law_fields((1, 3, 64, 64), 2.0)
    bands = measured(flattened(images, 16, 0.6), images).bands("scale_free")
    assert match_spectra(bands, "scale_free", seeded(0)).best_delta_interval == (SEARCH_DELTAS[0], SEARCH_DELTAS[-1])
    assert fit_spectrum(bands.latents, bands.frequencies, seeded(0)).exponent.standard_error is None


def test_fit_spectrum_error_is_that_of_a_few_other_images():
    rows = 1 + 0.1 * torch.randn(500, 4, 6, generator=seeded(1), dtype=torch.float64)
    fits = [fit_spectrum(each, torch.arange(1.0, 7.0, dtype=torch.float64), seeded(2)).exponent for each in rows]
    variance = float(torch.tensor([fit.value for fit in fits]).var())
    assert sum(fit.standard_error**2 for fit in fits) / 500 == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_fit_spectrum_recovers_exponent(exponent):
    # Bands average 1/f^α over their width, which for steep laws is not its value at the mean frequency: the slack.
    latents = power_law_fields((64, 4, 32, 32), exponent, seed=3)
    spectra = LatentSpectra()
    spectra.add(latents, None)
    bands = spectra.bands("scale_free")
    fit = fit_spectrum(bands.latents, bands.frequencies, seeded(0)).exponent
    assert 0 < fit.standard_error < 0.05
    assert abs(fit.value - exponent) < 3 * fit.standard_error + 0.06 * exponent


def test_match_spectra_best_delta_interval_follows_from_generator():
    bands = measured(power_law_fields((8, 2, 16, 16), 1.0), power_law_fields((8, 3, 32, 32), 2.0)).bands("scale_free")
    first, again, other = (match_spectra(bands, "scale_free", seeded(seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_image_bands_of_white_images_are_flat():
    bands, frequencies = image_bands(torch.randn(64, 3, 32, 32, generator=seeded(0)), 16)
    assert bands.shape == (64, len(frequencies))
    assert (bands.mean(0) - 1).abs().max() < 0.15
    assert frequencies.diff().min() > 0


def test_latent_spectra_refuse_two_bands():
    with pytest.raises(ValueError, match="a 2 x 2 latent has 2 frequency bands"):
        LatentSpectra().add(torch.zeros(1, 4, 2, 2), torch.zeros(1, 3, 16, 16))
