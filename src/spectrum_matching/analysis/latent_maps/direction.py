"""One direction between two latent spaces: its maps, tried on images that they were not fitted to, and decoded."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ...metrics.estimates import N_GROUPS, estimate_mean
from ...nets.autoencoder.mapped import LatentMap
from ...records.latent_maps import Direction, Route
from ..tensor_file import TensorFile
from .decoded import Reconstruction, TestedImages
from .explained import Explained
from .fit import NormalEquations, neighbourhoods
from .layout import Layout
from .verdict import judge

BATCH_SIZE = 8


class StoredLatents:
    """All latents of one space in a file, and their moments."""

    def __init__(self, file: TensorFile) -> None:
        self.file = file
        self._sum = self._squares = torch.zeros(())

    def add(self, latents: Tensor) -> None:
        """Append latents (b, c, h, w)."""
        self.file.add(latents)
        values = latents.double()
        self._sum = self._sum + values.sum((0, 2, 3)).cpu()
        self._squares = self._squares + values.square().sum((0, 2, 3)).cpu()

    @property
    def mean(self) -> Tensor:
        """The mean of each channel, (c, 1, 1) float64."""
        return (self._sum / self._n_positions)[:, None, None]

    @property
    def std(self) -> float:
        """The standard deviation of all values together."""
        mean = self._sum.mean() / self._n_positions
        return math.sqrt(max(0.0, float(self._squares.mean() / self._n_positions - mean.square())))

    @property
    def is_constant(self) -> bool:
        """Whether each channel has one value throughout, up to rounding."""
        squares = self._squares / self._n_positions
        return bool((squares - self.mean.flatten().square() <= 1e-12 * squares).all())

    @property
    def _n_positions(self) -> int:
        return len(self.file) * math.prod(self.file.shape[1:])


def measure_direction(
    source: tuple[str, StoredLatents],
    target: tuple[str, StoredLatents],
    layout: Layout,
    own: Mapping[str, Reconstruction],
    tested: TestedImages,
) -> tuple[Direction, list[LatentMap]]:
    """Return what maps make of the source's latents, on images of other groups than those of their fits.

    source, target: names and latents. own: what each of the two decodes its own latents to. The maps are fitted to all
    images, the widest last.
    """
    (source_name, sources), (target_name, targets) = source, target
    yardstick = min((source_name, target_name), key=lambda name: float(own[name].psnr.mean()))
    is_same_shape = sources.file.shape == targets.file.shape
    equations = NormalEquations(layout.kernels[-1])
    for z, y in _batches(sources, targets):
        equations.add(*layout.packed(z, y))
    routes, maps = [], []
    for kernel in (*([0] if is_same_shape else []), *layout.kernels):
        fits = equations.held_out_fits(kernel) if kernel else None
        explained, n = Explained(), 0
        for z, y in _batches(sources, targets):
            estimate = _mapped(z, range(n, n + len(z)), fits, kernel, layout)
            explained.add(y.double() - targets.mean, estimate - targets.mean)
            n += len(z)
        if kernel:
            maps.append(_module(equations.fit(kernel), kernel, layout))
        mapped = _mapped(sources.file.at(tested.rows), tested.rows, fits, kernel, layout)
        decoded = tested.decode(source_name, target_name, kernel, mapped)
        routes.append(
            Route(
                kernel=kernel,
                r2=explained.share(),
                r2_fitted=1 - equations.squared_error(kernel) / explained.whole() if kernel else None,
                bands=explained.bands(),
                channels=explained.channels(),
                psnr=estimate_mean(decoded.psnr),
                loss=estimate_mean(own[yardstick].psnr - decoded.psnr),
                kept=decoded.kept,
            )
        )
    direction = Direction(
        source=source_name,
        target=target_name,
        patches=layout.patches,
        cosines=equations.cosines() if is_same_shape else (),
        yardstick=yardstick,
        routes=tuple(routes),
        **judge(source_name, target_name, yardstick, routes, len(sources.file), len(tested.rows))._asdict(),
    )
    return direction, maps


def _batches(sources: StoredLatents, targets: StoredLatents) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(sources.file.batches(BATCH_SIZE), targets.file.batches(BATCH_SIZE), strict=True)


def _mapped(latents: Tensor, rows: Sequence[int], fits: Tensor | None, kernel: int, layout: Layout) -> Tensor:
    """Map the latents of the images `rows`, each as fitted without its group; None: as they are."""
    if fits is None:
        return latents.double()
    packed = pixel_unshuffle(latents, layout.patches[0])
    mapped = fits[[row % N_GROUPS for row in rows]] @ neighbourhoods(packed, kernel)
    return pixel_shuffle(mapped.unflatten(-1, packed.shape[-2:]), layout.patches[1])


def _module(weights: Tensor, kernel: int, layout: Layout) -> LatentMap:
    """Return a fitted map as a module, in float32."""
    n_outputs, n_inputs = len(weights), (weights.shape[1] - 1) // kernel**2
    channels = n_inputs // layout.patches[0] ** 2, n_outputs // layout.patches[1] ** 2
    with torch.inference_mode(False), torch.no_grad():  # parameters that a user may train
        latent_map = LatentMap(channels, kernel, layout.patches).requires_grad_(False).eval()
        assert latent_map.conv.bias is not None
        latent_map.conv.weight.copy_(weights[:, :-1].reshape(n_outputs, n_inputs, kernel, kernel))
        latent_map.conv.bias.copy_(weights[:, -1])
    return latent_map
