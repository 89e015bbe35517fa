import torch

from random_of_tests import normal
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.metrics.generative.laws import ClassLaws, Cosine, Dense, GaussianLaw, Separable


def rotation(n, seed):
    return torch.linalg.qr(normal(n, n, seed=seed)).Q


def test_bases_are_orthonormal():
    latents = normal(5, 3, 2, 4)
    shape = (3, 2, 4)
    for basis in (Cosine(), Dense(rotation(24, 1), shape), Separable(rotation(3, 2), rotation(8, 3), shape)):
        coefficients = basis.forward(latents)
        torch.testing.assert_close(coefficients.square().sum(), latents.square().sum())
        torch.testing.assert_close(basis.back(coefficients), latents)


def test_separable_is_the_dense_product():
    channels, positions, shape = rotation(3, 2), rotation(8, 3), (3, 2, 4)
    latents = normal(5, *shape)
    product = Dense(torch.kron(channels, positions), shape)
    separable = Separable(channels, positions, shape).forward(latents)
    torch.testing.assert_close(separable.flatten(1), product.forward(latents))


def test_draw_is_the_symmetric_root_whatever_the_signs_of_the_basis():
    vectors, variances, white = rotation(24, 1), normal(24).square(), normal(7, 3, 2, 4)
    mean = normal(3, 2, 4, seed=4)
    root = vectors @ torch.diag(variances.sqrt()) @ vectors.mT
    for signs in (1, -1):
        drawn = GaussianLaw(mean, variances, Dense(signs * vectors, (3, 2, 4))).draw(white)
        torch.testing.assert_close(drawn.flatten(1), mean.flatten() + white.flatten(1) @ root)


def test_denoise_is_the_conditional_mean():
    vectors, variances, noisy = rotation(24, 1), normal(24).square(), normal(7, 3, 2, 4)
    mean, covariance = normal(3, 2, 4, seed=4), vectors @ torch.diag(variances) @ vectors.mT
    gain = covariance @ torch.linalg.inv(covariance + 0.25 * torch.eye(24))
    found = GaussianLaw(mean, variances, Dense(vectors, (3, 2, 4))).denoise(noisy, 0.5)
    torch.testing.assert_close(found.flatten(1), mean.flatten() + (noisy - mean).flatten(1) @ gain)


def laws_of_two(shares=(0.25, 0.75)):
    means = {4: torch.full((2, 4, 4), -9.0), 7: torch.full((2, 4, 4), 9.0)}
    laws = {k: GaussianLaw(mean, torch.ones(2, 4, 4), Cosine()) for k, mean in means.items()}
    return ClassLaws(laws, torch.tensor(shares), LatentSpace("per channel", (1.0, 2.0), (2.0, 4.0)), seed=3)


def test_class_laws_draw_the_same_sample_in_any_batch():
    model = laws_of_two()
    whole = model.sample(range(20))
    torch.testing.assert_close(torch.cat([model.sample([i]) for i in range(20)]), whole)
    torch.testing.assert_close(model.sample([7, 3]), whole[[7, 3]])
    assert (whole[0] - whole[1]).abs().max() > 0.1


def test_class_laws_draw_classes_in_their_shares():
    model = laws_of_two()
    for n in (8, 40, 400):
        assert abs(float((model.classes(range(n)) == 4).double().mean()) - 0.25) < 1.5 / n
    is_first = model.sample(range(40)).mean((1, 2, 3)) < 0
    assert torch.equal(is_first, model.classes(range(40)) == 4)


def test_class_laws_return_raw_latents():
    drawn = laws_of_two((0.0, 1.0)).sample(range(400))
    torch.testing.assert_close(drawn.mean((0, 2, 3)), torch.tensor([19.0, 38.0]), atol=0.3, rtol=0)
    torch.testing.assert_close(drawn.std((0, 2, 3)), torch.tensor([2.0, 4.0]), atol=0.3, rtol=0)
