import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from random_of_tests import white
from spectrum_matching.methods import FeatureMatch, feature_gap
from spectrum_matching.metrics.latents.affinity import AFFINITY, MIN_IMAGES, N_FOLDS, affinity_gaps, fold_maps, map_gaps
from spectrum_matching.metrics.latents.moments import ChannelMoments
from spectrum_matching.metrics.latents.sweep import LatentBatch, LatentSweep

ORACLE = json.loads((Path(__file__).parents[2] / "oracles" / "alignment_values.json").read_text())["va_vae"]


def smooth(n, c, seed, grid=6):
    """Fields whose neighbouring positions are alike, (n, c, grid, grid)."""
    return F.interpolate(white(seed, (n, c, 3, 3)), (grid, grid), mode="bilinear", align_corners=False)


def batches(latents, features, size=16):
    return lambda: zip(latents.split(size), features.split(size), strict=True)


def sweep_of(latents, features):
    moments = ChannelMoments()
    moments.add(latents)

    def read():
        labels = torch.full((len(latents),), -1)
        columns = latents.split(32), labels.split(32), features.split(32) if features is not None else None
        for k, (z, y) in enumerate(zip(*columns[:2], strict=True)):
            yield LatentBatch(z, y, features=None if columns[2] is None else columns[2][k])

    return LatentSweep(read, moments.moments(), [AFFINITY])


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: f"seed {case['seed']}")
def test_map_gaps_are_those_of_va_vae(case):
    """Margins are VA-VAE's own; the recorded cases with these are met exactly."""
    mapped, features = white(case["seed"], case["shape"]), white(case["seed"] + 100, case["shape"]) * 2 + 1
    found = map_gaps(mapped, features, torch.eye(mapped.shape[1], dtype=mapped.dtype))
    if (case["cosine_margin"], case["distance_margin"]) == (0.5, 0.25):
        assert found.tolist() == pytest.approx([case["direction"], case["distance"]], rel=1e-12)
    assert found.tolist() == pytest.approx([float(gap) for gap in feature_gap(mapped, features)], rel=1e-12)


def test_oracle_has_a_case_of_va_vae_s_margins():
    assert any((case["cosine_margin"], case["distance_margin"]) == (0.5, 0.25) for case in ORACLE["cases"])


def test_map_gaps_equal_the_trained_loss():
    latents, features, weight = smooth(3, 4, 1).float(), smooth(3, 5, 2, grid=3).float(), white(3, (5, 4)).float()
    match = FeatureMatch(lambda images: features, 5, 4)
    with torch.no_grad():
        match.projection.weight.copy_(weight[:, :, None, None])
    assert float(map_gaps(latents, features, weight).sum()) == pytest.approx(
        match(None, latents, torch.zeros(3, 3, 8, 8)).item(), rel=1e-5
    )


def test_fold_maps_are_ridge_fits_to_the_other_folds():
    latents, features = smooth(23, 3, 1), smooth(23, 4, 2)
    maps = fold_maps(batches(latents, features, 5))
    for fold in (0, 7):
        rows = torch.arange(23) % N_FOLDS != fold
        z = latents[rows].transpose(0, 1).flatten(1)
        tokens = F.normalize(features[rows], dim=1).transpose(0, 1).flatten(1)
        scatter = z @ z.mT
        scatter = scatter + 1e-3 * scatter.diagonal().mean() * torch.eye(3)
        torch.testing.assert_close(maps[fold], tokens @ z.mT @ scatter.inverse())


def test_affinity_gaps_vanish_for_features_that_are_linear_in_the_latents():
    latents = smooth(40, 6, 4)
    features = F.conv2d(latents, white(5, (9, 6, 1, 1)))
    gaps = affinity_gaps(batches(latents, features))
    assert gaps.shape == (40, 2)
    assert gaps.mean(0).tolist() == pytest.approx([0, 0], abs=0.02)
    assert affinity_gaps(batches(smooth(40, 6, 6), features)).sum(1).mean() > 0.5


def test_affinity_gaps_grow_with_noise_on_the_latents():
    latents, noise = smooth(60, 5, 7), white(8, (60, 5, 6, 6))
    features = F.conv2d(latents, white(9, (8, 5, 1, 1)))
    levels = [float(affinity_gaps(batches(latents + s * noise, features)).sum(1).mean()) for s in (0.0, 0.5, 1.0, 3.0)]
    assert all(less < more for less, more in pairwise(levels))


def test_affinity_gaps_judge_images_that_the_map_has_not_seen():
    """As many channels as images, all unrelated to the features: a fit to its own images would find them."""
    latents, features = white(10, (30, 30, 1, 1)).expand(30, 30, 2, 2), smooth(30, 12, 11, grid=2)
    in_sample = fold_maps(batches(latents, features))[0]
    rows = torch.arange(30) % N_FOLDS != 0
    seen = torch.stack(
        [map_gaps(z[None], f[None], in_sample) for z, f in zip(latents[rows], features[rows], strict=True)]
    )
    assert float(seen[:, 0].mean()) + 0.1 < float(affinity_gaps(batches(latents, features))[:, 0].mean())


def test_affinity_gaps_ignore_batches_and_channel_mixing():
    latents, features = smooth(40, 4, 12), smooth(40, 5, 13)
    whole = affinity_gaps(batches(latents, features, 40))
    torch.testing.assert_close(affinity_gaps(batches(latents, features, 7)), whole)
    rotation = torch.linalg.qr(white(14, (4, 4)))[0]
    mixed = torch.einsum("ck,nkhw->nchw", rotation, latents)
    torch.testing.assert_close(affinity_gaps(batches(mixed, features)), whole, rtol=1e-4, atol=1e-4)


def test_affinity_of_a_sweep_adds_up_and_knows_white_noise():
    n = MIN_IMAGES
    features = 1 + smooth(n, 6, 15, grid=3).float()
    noise = torch.from_numpy(np.random.default_rng(16).standard_normal((n, 3, 6, 6)))
    found = sweep_of(noise.float(), features).numbers()
    total, direction, distance = (found[m.key] for m in AFFINITY.metrics)
    assert float(total) == pytest.approx(float(direction) + float(distance))
    assert total.white == pytest.approx(direction.white + distance.white)
    for number in (
        total,
        direction,
        distance,
    ):  # images share maps, so that noise differs from noise by more than an error
        assert float(number) == pytest.approx(number.white, abs=0.1)
    related = F.interpolate(features[:, :3], (6, 6), mode="bilinear").double()
    better = sweep_of((related - related.mean()).float(), features).numbers()
    assert all(float(better[m.key]) + 0.1 < float(found[m.key]) for m in AFFINITY.metrics)


def test_affinity_of_a_sweep_is_refused_for_few_images_and_absent_without_features():
    few = sweep_of(smooth(MIN_IMAGES - 1, 3, 17).float(), smooth(MIN_IMAGES - 1, 4, 18).float()).numbers()
    assert {number.refused for number in few.values()} == {
        "99 images are too few to fit a map and try it on others: it needs 100"
    }
    assert len(few) == 3
    assert sweep_of(smooth(30, 3, 17).float(), None).numbers() == {}


def test_affinity_refuses_another_aspect_ratio():
    with pytest.raises(ValueError, match="grid is 2 x 4, expected the aspect ratio"):
        affinity_gaps(batches(smooth(20, 3, 19), white(20, (20, 4, 2, 4))))
