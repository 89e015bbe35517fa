"""One set of images from the shares that processes have: sums are reduced, kept rows are gathered, nobody waits."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..metrics.images.distances import FeatureStatistics
from ..metrics.images.inception_score import InceptionSums
from .accumulate import ImageStatistics

if TYPE_CHECKING:
    from accelerate import Accelerator


def reduce_over(statistics: ImageStatistics, accelerator: "Accelerator | None") -> ImageStatistics:
    """The whole set, in every process; `statistics` itself where there is one process.

    All processes must call it, also those without images. ValueError in all of them where their images differ in size.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return statistics
    from accelerate.utils import gather_object

    shapes = {name: rows.shape[1:] for name in statistics.row_names() if (rows := statistics.rows(name)) is not None}
    widths = {
        "features": len(statistics.features.mean),
        "spatial": len(statistics.spatial.mean),
        "power": 0 if statistics.power is None else len(statistics.power),
    }
    splits = {split: len(sums) for split, sums in statistics.classes.sums.items()}
    told = gather_object([(statistics.size, statistics.n_images, widths, shapes, splits)])
    sizes = {size for size, n, *_ in told if n}
    if len(sizes) > 1:
        raise ValueError(f"processes have images of {' and '.join(map(str, sorted(sizes)))} pixels a side")
    whole = ImageStatistics(statistics.n_kept, sum(n for _, n, *_ in told), max(sizes, default=0))
    whole.bad = gather_object(statistics.bad)
    most = {name: max(widths[name] for _, _, widths, *_ in told) for name in widths}
    whole.features = merged(statistics.features, most["features"], accelerator)
    whole.spatial = merged(statistics.spatial, most["spatial"], accelerator)
    if most["power"]:
        whole.power = summed(_or_zeros(statistics.power, most["power"]), accelerator)
    classes = {split: n for *_, splits in told for split, n in splits.items()}
    whole.classes = InceptionSums()
    for split in sorted(classes):
        whole.classes.sums[split] = summed(_or_zeros(statistics.classes.sums.get(split), classes[split]), accelerator)
    for name, shape in {name: shape for *_, shapes, _ in told for name, shape in shapes.items()}.items():
        dtype = torch.int64 if name == "indices" else torch.float32
        own = statistics.rows(name)
        whole.keep(name, _joined(torch.empty(0, *shape, dtype=dtype) if own is None else own, accelerator))
    return whole


def _or_zeros(values: Tensor | None, n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float64) if values is None else values


def summed(values: Tensor, accelerator: "Accelerator | None") -> Tensor:
    """Sum over processes, on the CPU, of a tensor that has the same shape in each."""
    if accelerator is None or accelerator.num_processes == 1:
        return values
    reduced: Tensor = accelerator.reduce(values.to(accelerator.device), "sum")
    return reduced.cpu()


def _joined(rows: Tensor, accelerator: "Accelerator") -> Tensor:
    """Rows (n, …) of all processes, whose n may differ."""
    counts: list[int] = accelerator.gather(torch.tensor([len(rows)], device=accelerator.device)).tolist()
    padded = torch.zeros(max(counts), *rows.shape[1:], dtype=rows.dtype)
    padded[: len(rows)] = rows
    shares = accelerator.gather(padded.to(accelerator.device)).cpu().split(max(counts)) if max(counts) else ()
    return torch.cat([share[:n] for share, n in zip(shares, counts, strict=True)]) if shares else rows


def merged(statistics: FeatureStatistics, d: int, accelerator: "Accelerator | None") -> FeatureStatistics:
    """Moments over all processes, of `d` features: their number, also where a process has counted nothing."""
    if accelerator is None or accelerator.num_processes == 1 or not d:
        return statistics
    count = statistics.count
    own_mean = _or_zeros(statistics.mean if count else None, d)
    sums = summed(torch.cat([torch.tensor([count], dtype=torch.float64), own_mean * count]), accelerator)
    total = int(sums[0])
    if not total:
        return FeatureStatistics()
    mean = sums[1:] / total
    # About the common mean, so that the sum over processes loses no digits to a large one.
    shift = own_mean - mean
    scatter = summed(_scatter_of(statistics, d) + count * torch.outer(shift, shift), accelerator)
    return (
        FeatureStatistics.from_moments(total, mean, scatter / (total - 1))
        if total > 1
        else FeatureStatistics().add(mean[None])
    )


def _scatter_of(statistics: FeatureStatistics, d: int) -> Tensor:
    """Sum of squares about the mean (d, d); zero where nothing was counted."""
    if statistics.count < 2:
        return torch.zeros(d, d, dtype=torch.float64)
    return statistics.covariance() * (statistics.count - 1)
