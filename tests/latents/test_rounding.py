import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from spectrum_matching.latents.latent_set import LatentInfo
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.rounding import LARGEST, RoundingErrors
from spectrum_matching.latents.write_cache import CacheJob, JobBatch, Storage, write_cache

C, GRID, N = 3, (8, 8), 24
SPACING = {torch.float16: 2.0**-6, torch.bfloat16: 2.0**-3}  # of the numbers from 16 to 32


def latents(mean: float, std: float, n: int = N) -> Tensor:
    """Evenly distributed latents: channel 1 has this mean and standard deviation, the others have 0 and 1."""
    values = math.sqrt(12) * (torch.rand(n, C, *GRID, generator=torch.Generator().manual_seed(0)) - 0.5)
    values[:, 1] = mean + std * values[:, 1]
    return values


def errors(exact: dict[str, Tensor], dtype: torch.dtype) -> RoundingErrors:
    found = RoundingErrors()
    for part in range(0, len(exact["mean"]), 5):
        batch = {name: values[part : part + 5] for name, values in exact.items()}
        found.add(batch, {name: values.to(dtype) for name, values in batch.items()})
    return found


def job(values: Tensor, dtype: str, shard_images: int = 8, logvar: Tensor | None = None) -> CacheJob:
    def batches(number: int, items: range) -> Iterator[JobBatch]:
        moments = {"mean": values[items]} | ({} if logvar is None else {"logvar": logvar[items]})
        yield JobBatch(moments, items, [f"image {item}" for item in items], torch.full((len(items),), -1))

    holds = "mean" if logvar is None else "posterior"
    info = LatentInfo(holds=holds, channels=C, grid=GRID, n_images=(len(values), len(values)))
    return CacheJob(Storage(dtype, False, shard_images).index(info, "encoder"), len(values), batches)


@pytest.mark.parametrize("dtype", SPACING, ids=str)
def test_rounding_errors_are_those_of_evenly_spaced_numbers(dtype: torch.dtype) -> None:
    std = 0.5
    ratios = errors({"mean": latents(24.0, std)}, dtype).ratios()
    assert float(ratios[1]) == pytest.approx(SPACING[dtype] / math.sqrt(12) / std, rel=0.1)
    assert float(ratios[[0, 2]].max()) < LARGEST / 2


def test_rounding_errors_of_a_posterior_are_those_of_its_samples() -> None:
    mean, logvar = latents(24.0, 0.5), 18 + latents(0.0, 1.0)
    stored = {"mean": mean.bfloat16().double(), "logvar": logvar.bfloat16().double()}
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact, rounded = (
        moments["mean"].double() + noise * (moments["logvar"].double() / 2).exp()
        for moments in ({"mean": mean, "logvar": logvar}, stored)
    )
    expected = (exact - rounded).transpose(0, 1).flatten(1).square().mean(1).sqrt()
    expected /= exact.transpose(0, 1).flatten(1).std(1)
    ratios = errors({"mean": mean, "logvar": logvar}, torch.bfloat16).ratios()
    torch.testing.assert_close(ratios, expected, rtol=0.1, atol=0)
    assert (ratios > 0.01).all()  # nearly all of it by the log-variance


def test_rounding_errors_leave_out_channels_that_do_not_vary() -> None:
    constant = latents(100.03, 0.0)
    assert float(errors({"mean": constant}, torch.bfloat16).ratios()[1]) == 0
    errors({"mean": torch.full_like(constant, 0.1)}, torch.bfloat16).require_small("bfloat16")


def test_rounding_errors_merge_and_survive_json() -> None:
    mean = latents(24.0, 0.5)
    whole, parts = errors({"mean": mean}, torch.float16), RoundingErrors()
    for part in (mean[:7], mean[7:]):
        parts.merge(RoundingErrors.from_state(errors({"mean": part}, torch.float16).state()))
    parts.merge(RoundingErrors.from_state(RoundingErrors().state()))
    torch.testing.assert_close(parts.ratios(), whole.ratios())


@pytest.mark.parametrize("dtype", SPACING, ids=str)
@pytest.mark.parametrize(("factor", "is_small"), [(1.1, True), (0.9, False)])
def test_write_cache_refuses_a_type_whose_rounding_is_not_small(
    tmp_path: Path, dtype: torch.dtype, factor: float, is_small: bool
) -> None:
    std = factor * SPACING[dtype] / math.sqrt(12) / LARGEST
    name = str(dtype).removeprefix("torch.")
    values = latents(24.0, std)
    if is_small:
        write_cache(job(values, name), tmp_path, Accelerator())
        stored = open_latents(tmp_path).space().std[1]
        assert stored == pytest.approx(float(values[:, 1].std()), rel=0.01)
        return
    said = (
        rf"^{name} does not hold these latents: rounding is 0.011 of the standard deviation of channel 1 of 3 \(mean 24"
    )
    with pytest.raises(ValueError, match=said + r".*; cache them with --dtype float32$"):
        write_cache(job(values, name), tmp_path, Accelerator())
    assert not list(tmp_path.glob("*.safetensors"))
    write_cache(job(values, "float32"), tmp_path, Accelerator())  # the remedy, in the same folder
    assert open_latents(tmp_path).space().std[1] == pytest.approx(float(values[:, 1].std(correction=0)), rel=1e-5)


def test_write_cache_refuses_at_the_end_what_shards_of_one_image_do_not_show(tmp_path: Path) -> None:
    values = latents(100.0, 0.02)
    with pytest.raises(ValueError, match="bfloat16 does not hold these latents"):
        write_cache(job(values, "bfloat16", shard_images=1), tmp_path, Accelerator())
    assert not (tmp_path / "index.json").exists()


def test_write_cache_names_the_rounding_of_log_variances(tmp_path: Path) -> None:
    mean = torch.zeros(N, C, *GRID)
    logvar = 19 + 0.5 * latents(0.0, 1.0)  # near 16, bfloat16 is spaced by an eighth
    with pytest.raises(ValueError, match="bfloat16 does not hold these latents"):
        write_cache(job(mean, "bfloat16", logvar=logvar), tmp_path / "bfloat16", Accelerator())
    write_cache(job(mean, "float16", logvar=logvar), tmp_path / "float16", Accelerator())
