"""How hard latents are to denoise: a tiny network, trained on them for a fixed budget, beside the best linear filter.

Its loss can be compared only at the same latent shape and the same budget: the constants here and in
`nets/probe_denoiser`.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..metrics.decoder.noise import placed_noise
from ..metrics.decoder.transfer import filled_rings, ring_edges
from ..metrics.latents.channels import dead_channels
from ..nets.denoiser.probe_denoiser import ProbeDenoiser
from ..seeding import seeded
from ..spectrum.dct import dct2
from ..spectrum.power import radial_bins

STEPS = 400
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
WARMUP = 20
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
SMALLEST = 32
MOST_IMAGES = 1024


class ProbeResult(NamedTuple):
    """Over held-out images, at the noise levels t of x_t = (1 − t)·x + t·ε, in latents of unit channel variance.

    losses (levels, n_test): mean squared error of the velocity ε − x, an image each; wiener_losses (levels,): of the
    best linear filter; white_losses (levels,): of latents that are white noise. errors, wiener_errors (levels, n):
    squared error of the estimate of x over the power of its ring. edges (n,): upper edge of each ring, cycles per cell.
    """

    levels: tuple[float, ...]
    losses: Tensor
    wiener_losses: Tensor
    white_losses: Tensor
    errors: Tensor
    wiener_errors: Tensor
    edges: Tensor
    steps: int
    batch_size: int
    n_parameters: int
    n_channels: int
    n_train: int
    n_test: int


def train_probe(
    batches: Iterable[Tensor],
    *,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda n: None,
) -> ProbeResult:
    """Train on the first three quarters of the images and test on the last: batches of latents (b, c, h, w).

    At most the first 1,024 images, which are held in memory; dead channels are left out, the others standardised by
    the training images. Loss: mean squared error of the velocity on the linear path, t uniform; AdamW with a learning
    rate of 0.002, 20 steps of warm-up and half a cosine down to 0. The same seed gives the same numbers on one machine.
    advance: called with the number of steps done since. ValueError for fewer than 32 images.

    Lower is easier, but no predictor of generation: a lower denoising loss can go with worse images (VE loss, arXiv
    2603.21085), and latents that hold less are easier to denoise, so it is one-sided. What it tells, by band, is
    whether a network finds more in the latents than their spectrum (below the Wiener error: dependence between
    channels, edges) or cannot use what is there within its budget (above it). Source: this project. Some two
    core-minutes at 32 × 32 cells of 32 channels.

    The Wiener filter of the training images' mean power λ, by channel and coefficient, has
    ((1 − (1 − t)·g)²·λ' + g²·t²) / λ' with g = (1 − t)·λ / ((1 − t)²·λ + t²) on held-out power λ'; where both agree
    that is t² / ((1 − t)²·λ + t²), by hand t² / ((1 − t)² + t²) for white latents.
    """
    train, test = _split(_gather(batches))
    network = ProbeDenoiser(train.shape[1], seed).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    with torch.inference_mode(False), torch.enable_grad():  # whoever measures may have switched gradients off
        for step in range(steps):
            generator = seeded("probe", seed, step)
            data = train[torch.randint(len(train), (batch_size,), generator=generator)]
            # One level in each of batch_size equal parts: levels differ in loss far more than images do.
            t = (torch.arange(batch_size) + torch.rand(batch_size, generator=generator)) / batch_size
            noise = torch.randn(data.shape, generator=generator)
            loss = (_velocity(network, data, noise, t, device) - (noise - data).to(device)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)
    return _evaluate(network, train, test, seed, device, steps, batch_size)


def _gather(batches: Iterable[Tensor]) -> Tensor:
    found: list[Tensor] = []
    n = 0
    for latents in batches:
        found.append(latents[: MOST_IMAGES - n].detach().cpu().float())
        n += len(found[-1])
        if n == MOST_IMAGES:
            break
    if n < SMALLEST:
        raise ValueError(f"the probe needs at least {SMALLEST} images, a quarter of them to test it on; got {n}")
    return torch.cat(found)


def _split(latents: Tensor) -> tuple[Tensor, Tensor]:
    n_test = len(latents) // 4
    std, mean = torch.std_mean(latents[:-n_test], (0, 2, 3), correction=0)
    live = ~dead_channels(std)
    if not live.any():
        raise ValueError("the probe needs latents that vary; these are constant in every channel")
    latents = (latents[:, live] - mean[live].view(-1, 1, 1)) / std[live].view(-1, 1, 1)
    return latents[:-n_test], latents[-n_test:]


def _velocity(network: ProbeDenoiser, data: Tensor, noise: Tensor, t: Tensor, device: torch.device | str) -> Tensor:
    share = t.view(-1, 1, 1, 1)
    noisy = (1 - share) * data + share * noise
    velocity: Tensor = network(noisy.to(device, memory_format=torch.channels_last), t.to(device))
    return velocity


def _evaluate(
    network: ProbeDenoiser,
    train: Tensor,
    test: Tensor,
    seed: int,
    device: torch.device | str,
    steps: int,
    batch_size: int,
) -> ProbeResult:
    c, h, w = test.shape[1:]
    n = filled_rings((h, w))
    rings = radial_bins(h, w, n, "frequency").rings
    known, power = (_mean_power(latents, batch_size) for latents in (train, test))
    losses, errors, wiener_losses, wiener_errors = [], [], [], []
    for level in LEVELS:
        found = [
            _test(network, part, i * batch_size, level, seed, device) for i, part in enumerate(test.split(batch_size))
        ]
        losses.append(torch.cat([loss for loss, _ in found]))
        errors.append(torch.stack([error for _, error in found]).sum(0) / len(test))
        gain = (1 - level) * known / ((1 - level) ** 2 * known + level**2)
        wiener = (1 - (1 - level) * gain).square() * power + gain.square() * level**2
        wiener_losses.append(wiener.mean() / level**2)
        wiener_errors.append(wiener.sum(0))
    by_ring = [_by_ring(torch.stack(rows), rings, n) for rows in (errors, wiener_errors)]
    total = _by_ring(power.sum(0), rings, n).clamp_min(1e-30)
    t = torch.tensor(LEVELS, dtype=torch.float64)
    return ProbeResult(
        levels=LEVELS,
        losses=torch.stack(losses),
        wiener_losses=torch.stack(wiener_losses),
        white_losses=1 / ((1 - t).square() + t.square()),
        errors=by_ring[0] / total,
        wiener_errors=by_ring[1] / total,
        edges=ring_edges((h, w), n),
        steps=steps,
        batch_size=batch_size,
        n_parameters=sum(weight.numel() for weight in network.parameters()),
        n_channels=c,
        n_train=len(train),
        n_test=len(test),
    )


@torch.inference_mode()
def _test(
    network: ProbeDenoiser, data: Tensor, first: int, level: float, seed: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Velocity losses (b,), and the power of the error of the estimate of x, summed over images and channels (h, w)."""
    noise = placed_noise(data.shape, first, "probe test", seed)
    velocity = _velocity(network, data, noise, torch.full((len(data),), level), device).cpu()
    # x̂ = x_t − t·v̂, so its error is t times that of the velocity.
    wrong = (velocity - (noise - data)).double()
    return wrong.square().mean((1, 2, 3)), (level * dct2(wrong)).square().sum((0, 1))


def _mean_power(latents: Tensor, batch_size: int) -> Tensor:
    """Mean over images of squared DCT coefficients: (n, c, h, w) → (c, h, w), float64."""
    return torch.stack([dct2(x.double()).square().sum(0) for x in latents.split(batch_size)]).sum(0) / len(latents)


def _by_ring(power: Tensor, rings: Tensor, n: int) -> Tensor:
    """(…, h, w) → (…, n): sums over rings."""
    return power.new_zeros(*power.shape[:-2], n).index_add_(-1, rings.flatten(), power.flatten(-2))
