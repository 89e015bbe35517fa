"""The training loop of the study: a denoiser on data in memory, looked at at logged updates."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...diffusion.path import Path
from ...seeding import seeded
from ...spectrum.dct import dct2

CLIP = 1.0
KEEP_EVERY = 1000  # updates; and at every look


class Schedule(NamedTuple):
    """AdamW without decay: `warmup` updates up to `rate`, then half a cosine down to 0 at `steps`."""

    steps: int
    batch_size: int
    rate: float
    warmup: int


def logged_steps(steps: int, n: int) -> tuple[int, ...]:
    """At most n updates at which to look, n at least 2: 0, then spaced geometrically from 8 to the last."""
    first = min(8, steps) if n > 2 else steps
    spaced = torch.logspace(math.log10(first), math.log10(steps), n - 1, dtype=torch.float64)
    return tuple(sorted({0, *(round(step) for step in spaced.tolist())}))


def frequency_weights(frequencies: Tensor, power: float) -> Tensor | None:
    """Weights f^power of squared DCT errors, mean 1: (h, w) → (h, w); None, the plain loss, for power 0."""
    if power == 0:
        return None
    weights = frequencies**power
    return weights / weights.mean()


def inverse_power_weights(rings: Tensor, power: Tensor) -> Tensor:
    """Weights in inverse proportion to the mean power of a coefficient's band, mean 1: rings (h, w), power (n,)."""
    weights = 1 / power[rings]
    return weights / weights.mean()


def train_denoiser(
    network: nn.Module,
    path: Path,
    data: Tensor,
    schedule: Schedule,
    *,
    look_at: Sequence[int],
    look: Callable[[int, float | None], None],
    seed: int,
    weights: Tensor | None = None,
    autocast: bool = False,
    keep: Callable[[Mapping[str, Any]], None] = lambda state: None,
    kept: Mapping[str, Any] | None = None,
) -> None:
    """Mean over values of weights · (DCT of prediction − target)², times uniform, each batch spread evenly over them.

    data (n, c, h, w), on the network's device; weights (h, w), None for the plain squared error. Batches and noise
    follow from (seed, step), drawn on the CPU. look: called in eval mode at the updates of `look_at` with the mean loss
    since the one before, None at update 0. keep: called now and then with all that `kept` needs to be, so that the same
    training goes on, with the same numbers, after the last look that was kept. ValueError where the loss is not finite.
    """
    device, n = data.device, schedule.batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=0.0)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, schedule))
    lowest, highest = path.ends
    weights = None if weights is None else weights.to(device, torch.float32)
    losses: list[Tensor] = []
    began = 0
    if kept is not None:
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        rates.load_state_dict(kept["rates"])
        began, losses = kept["step"], [*kept["losses"].to(device)]
    for step in range(began, schedule.steps + 1):
        looks, goes_on = step in look_at, kept is not None and step == began
        if looks and not goes_on:
            found = float(torch.stack(losses).mean()) if losses else None
            if found is not None and not math.isfinite(found):
                raise ValueError(f"the loss is not finite at update {step}: lower the learning rate")
            network.eval()
            look(step, found)
            network.train()
            losses = []
        if step and not goes_on and (looks or step % KEEP_EVERY == 0):
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "rates": rates.state_dict()}
            keep(state | {"step": step, "losses": torch.stack(losses) if losses else torch.empty(0)})
        if step == schedule.steps:
            return
        generator = seeded("frequency bias", seed, step)
        batch = data[torch.randint(len(data), (n,), generator=generator).to(device)]
        # One time in each of n equal parts: errors differ far more between levels than between images.
        share = (torch.arange(n) + torch.rand(n, generator=generator)) / n
        t = (lowest + (highest - lowest) * share).to(device)
        noise = torch.randn(batch.shape, generator=generator).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            prediction = network(path.mix(batch, noise, t), t, None)[0]
        error = prediction.float() - path.target(batch, noise, t)
        loss = error.square().mean() if weights is None else (weights * dct2(error).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        rates.step()
        losses.append(loss.detach())


def _share_of_rate(step: int, schedule: Schedule) -> float:
    return min(1, (step + 1) / max(schedule.warmup, 1)) * (1 + math.cos(math.pi * step / schedule.steps)) / 2
