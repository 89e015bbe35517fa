from itertools import pairwise

import numpy as np
import torch

from spectrum_matching.data.embedded import dead_leaves


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_dead_leaves_power_falls_near_inverse_square() -> None:
    palette = torch.rand(500, 3, generator=generator(0))
    # The pictures are periodic, so the transform needs no window.
    pictures = np.stack([dead_leaves(192, palette, generator(seed)).mean(0).numpy() for seed in range(8)])
    power = (np.abs(np.fft.fft2(pictures)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(192)[:, None], np.fft.fftfreq(192))
    edges = np.geomspace(0.015, 0.3, 11)
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    points = [(np.log(frequency[ring]).mean(), np.log(power[ring].mean())) for ring in rings]
    slope = np.polyfit(*np.transpose(points), 1)[0]
    assert 1.6 < -slope < 2.6


def test_dead_leaves_colours_are_of_palette() -> None:
    palette = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    picture = dead_leaves(128, palette, generator(1))
    assert picture.shape == (3, 128, 128)
    assert set(picture.unique().tolist()) == {0, 0.25, 0.5, 0.75, 1}
    assert 0.3 < picture.mean() < 0.7
    whole = ((picture == 0) | (picture == 1)).float().mean()
    assert 0.5 < whole < 0.95


def test_dead_leaves_depend_on_seed_alone() -> None:
    palette = torch.rand(50, 3, generator=generator(0))
    assert torch.equal(dead_leaves(64, palette, generator(5)), dead_leaves(64, palette, generator(5)))
    assert not torch.equal(dead_leaves(64, palette, generator(5)), dead_leaves(64, palette, generator(6)))
