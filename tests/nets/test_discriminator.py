import pytest
import torch

from spectrum_matching.nets.discriminator import PatchDiscriminator, hinge_discriminator_loss, hinge_generator_loss


def images(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_patch_discriminator_is_the_published_70_pixel_patchgan() -> None:
    discriminator = PatchDiscriminator()
    assert sum(p.numel() for p in discriminator.parameters()) == 2_765_633
    assert discriminator.to("meta")(torch.empty(2, 3, 256, 256, device="meta")).shape == (2, 1, 30, 30)


def test_patch_discriminator_initialises_as_pix2pix() -> None:
    discriminator = PatchDiscriminator(seed=3)
    for name, p in discriminator.named_parameters():
        if name.endswith("bias"):
            assert not p.any()
        else:
            centre = 1.0 if p.ndim == 1 else 0.0
            error = 5 * 0.02 / p.numel() ** 0.5
            assert p.mean().item() == pytest.approx(centre, abs=error)
            assert p.std().item() == pytest.approx(0.02, abs=error)


def test_patch_discriminator_starts_ten_times_larger_as_in_the_papers_code() -> None:
    ours, theirs = (dict(PatchDiscriminator(3, 8, 2, 0, std).named_parameters()) for std in (0.02, 0.2))
    for name, parameter in ours.items():
        torch.testing.assert_close(theirs[name], (10 if parameter.ndim == 4 else 1) * parameter)


def test_patch_discriminator_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = PatchDiscriminator(width=8, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    again, other = PatchDiscriminator(width=8, seed=1), PatchDiscriminator(width=8, seed=2)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_patch_discriminator_refuses_sides_below_the_smallest(depth: int) -> None:
    discriminator = PatchDiscriminator(width=8, depth=depth)
    logits = discriminator(images(1, discriminator.smallest))
    assert logits.shape == (1, 1, 1, 1)
    assert max(len(p) for p in discriminator.parameters()) == 8 * 2 ** min(depth, 3)
    assert logits.isfinite().all()
    with pytest.raises(ValueError, match=f"at least {discriminator.smallest}:"):
        discriminator(images(1, discriminator.smallest - 1))


def test_patch_discriminator_refuses_other_channels() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4, 32, 32\); expected \(b, 3, H, W\)"):
        PatchDiscriminator(width=8)(torch.zeros(2, 4, 32, 32))


def test_patch_discriminator_keeps_no_running_statistics() -> None:
    discriminator = PatchDiscriminator(width=8)
    real, fake = images(4, 32), 0.1 * images(4, 32, seed=1)
    first = discriminator(real)
    discriminator(fake)
    assert torch.equal(discriminator(real), first)
    assert torch.equal(discriminator.eval()(real), first)
    assert not list(discriminator.buffers())


def test_hinge_losses_equal_values_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0, 1.0]), torch.tensor([-3.0, 0.0])
    assert hinge_discriminator_loss(real, fake).item() == 0.5 * ((0 + 0.5 + 2 + 0) / 4) + 0.5 * ((0 + 1) / 2)
    assert hinge_generator_loss(fake).item() == 1.5
    assert hinge_discriminator_loss(real.bfloat16(), fake.bfloat16()).dtype == torch.float32


def test_patch_discriminator_learns_to_separate_two_kinds_of_images() -> None:
    discriminator = PatchDiscriminator(width=8, depth=2)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-3)
    real, fake = images(8, 32), images(8, 32, seed=1).cumsum(3).tanh()
    losses = []
    for _ in range(20):
        loss = hinge_discriminator_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.0, abs=0.2)
    assert losses[-1] < 0.1
