"""The Inception-v3 of FID: the network of the TensorFlow weights of December 2015, with three of its outputs.

It differs from torchvision's: average pools do not count the padding, the last block pools by maximum, and there are
1008 classes. The names of the weights are torchvision's, as in pytorch-fid's conversion
(`pt_inception-2015-12-05-6726825d.pth`). Tested on random weights: against an independent construction of the graph
and the published names and sizes. Not tested: the published weights themselves.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from .weights import read_weights

SIDE = 299
N_FEATURES, N_SPATIAL, N_CLASSES = 2048, 7, 1008
WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"
RESIZER = "bilinear to 299, no antialiasing, pixel corners aligned at the top left, as TensorFlow 1; (byte − 128) / 128"
REMEDY = f"download {WEIGHTS} (release fid_weights of mseitzer/pytorch-fid on GitHub) and give inception:PATH"

# Branches of the mixed blocks, a line for each: its layers as name:width:kernel, the kernel in rows × columns. A layer
# is padded to keep the size, or with /2 has stride 2 and no padding. Layers …a and …b take the same input.
GRID_35 = """
branch1x1:64:1x1
branch5x5_1:48:1x1 branch5x5_2:64:5x5
branch3x3dbl_1:64:1x1 branch3x3dbl_2:96:3x3 branch3x3dbl_3:96:3x3"""
FROM_35_TO_17 = """
branch3x3:384:3x3/2
branch3x3dbl_1:64:1x1 branch3x3dbl_2:96:3x3 branch3x3dbl_3:96:3x3/2"""
GRID_17 = """
branch1x1:192:1x1
branch7x7_1:{0}:1x1 branch7x7_2:{0}:1x7 branch7x7_3:192:7x1
branch7x7dbl_1:{0}:1x1 branch7x7dbl_2:{0}:7x1 branch7x7dbl_3:{0}:1x7 branch7x7dbl_4:{0}:7x1 branch7x7dbl_5:192:1x7"""
FROM_17_TO_8 = """
branch3x3_1:192:1x1 branch3x3_2:320:3x3/2
branch7x7x3_1:192:1x1 branch7x7x3_2:192:1x7 branch7x7x3_3:192:7x1 branch7x7x3_4:192:3x3/2"""
GRID_8 = """
branch1x1:320:1x1
branch3x3_1:384:1x1 branch3x3_2a:384:1x3 branch3x3_2b:384:3x1
branch3x3dbl_1:448:1x1 branch3x3dbl_2:384:3x3 branch3x3dbl_3a:384:1x3 branch3x3dbl_3b:384:3x1"""
# By name: branches, the pooling of the last branch, and the width of its convolution, 0 for none.
BLOCKS = {
    "Mixed_5b": (GRID_35, "average", 32),
    "Mixed_5c": (GRID_35, "average", 64),
    "Mixed_5d": (GRID_35, "average", 64),
    "Mixed_6a": (FROM_35_TO_17, "halving", 0),
    "Mixed_6b": (GRID_17.format(128), "average", 192),
    "Mixed_6c": (GRID_17.format(160), "average", 192),
    "Mixed_6d": (GRID_17.format(160), "average", 192),
    "Mixed_6e": (GRID_17.format(192), "average", 192),
    "Mixed_7a": (FROM_17_TO_8, "halving", 0),
    "Mixed_7b": (GRID_8, "average", 192),
    "Mixed_7c": (GRID_8, "maximum", 192),
}


class InceptionOutput(NamedTuple):
    """features (b, 2048): last average pool. spatial (b, 2023): 7 channels of 17 × 17, channels last, for sFID.

    logits (b, 1008): without the bias, from which the Inception Score is taken.
    """

    features: Tensor
    spatial: Tensor
    logits: Tensor


class Inception(nn.Module):
    """Images (b, 3, H, W) in [-1, 1] → `InceptionOutput`, in float32. Frozen; weights: by the published names."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):  # without values, which the weights give
            graph = _graph()
        for name, module in graph.items():
            self.add_module(name, module)
        self.load_state_dict(weights, assign=True)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> InceptionOutput:
        """Return the outputs; ValueError unless images are (b, 3, H, W)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Inception got images {tuple(images.shape)}, expected (b, 3, H, W)")
        with torch.autocast(images.device.type, enabled=False):
            x = ((images.float() + 1) * 127.5 - 128) / 128
            x = tensorflow_bilinear(x, SIDE)
            spatial = x
            for name, module in self.named_children():
                if name == "Mixed_6d":
                    assert isinstance(module, _Mixed)
                    spatial = module.first(x)[:, :N_SPATIAL]
                if name == "fc":
                    break
                x = max_pool2d(x, 3, 2) if name in ("Conv2d_3b_1x1", "Mixed_5b") else x
                x = module(x)
            features = x.mean((2, 3))
            logits = features @ self.get_parameter("fc.weight").mT
        return InceptionOutput(features, spatial.permute(0, 2, 3, 1).flatten(1), logits)

    @classmethod
    def from_weights(cls, source: str | Path) -> Self:
        """Return the network with the published weights, from a file, a folder or `hub:owner/name`.

        Raises:
            ValueError: as `read_weights`.
        """
        with torch.device("meta"):
            graph = nn.ModuleDict(_graph()).state_dict()
        counts = {name: torch.tensor(0) for name in graph if name.endswith("num_batches_tracked")}
        shapes = {name: tuple(values.shape) for name, values in graph.items() if name not in counts}
        return cls(counts | read_weights(source, shapes, "FID's Inception", REMEDY))


def tensorflow_bilinear(x: Tensor, size: int) -> Tensor:
    """Resize (b, c, h, w) to (b, c, size, size): output i is taken at i · h / size, clamped to the last sample."""
    for axis in (2, 3):
        n = x.shape[axis]
        position = torch.arange(size, dtype=torch.float64) * (n / size)
        low = position.long().clamp_max(n - 1)
        share, low = (position - low).to(x).view(-1, *([1] * (3 - axis))), low.to(x.device)
        a, b = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp_max(n - 1))
        x = a + (b - a) * share
    return x


class _Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: tuple[int, int], stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else 0
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        rectified: Tensor = self.bn(self.conv(x)).relu()
        return rectified


class _Mixed(nn.Module):
    """Parallel branches, the last of which pools; a branch may end in two layers …a and …b that take the same input."""

    def __init__(self, n_in: int, branches: str, pool: str, pool_width: int) -> None:
        super().__init__()
        self._pool, self._branches, self.n_out = pool, [], pool_width or n_in
        for line in branches.split("\n")[1:]:
            width = before = n_in
            for layer in line.split():
                name, n_out, shape = layer.split(":")
                rows, columns = map(int, shape.removesuffix("/2").split("x"))
                width = before if name.endswith("b") else width
                strides = shape.endswith("/2")
                self.add_module(name, _Convolution(width, int(n_out), (rows, columns), 1 + strides, not strides))
                before, width = width, int(n_out)
            names = [layer.split(":")[0] for layer in line.split()]
            self._branches.append(names)
            self.n_out += 2 * width if names[-1].endswith("b") else width
        if pool_width:
            self.branch_pool = _Convolution(n_in, pool_width, (1, 1))

    def first(self, x: Tensor) -> Tensor:
        """Return the output of the first branch."""
        return self._run(self._branches[0], x)

    def forward(self, x: Tensor) -> Tensor:
        pooled = {
            "average": lambda: avg_pool2d(x, 3, 1, 1, count_include_pad=False),
            "maximum": lambda: max_pool2d(x, 3, 1, 1),
            "halving": lambda: max_pool2d(x, 3, 2),
        }[self._pool]()
        last = self.branch_pool(pooled) if hasattr(self, "branch_pool") else pooled
        return torch.cat([*(self._run(names, x) for names in self._branches), last], 1)

    def _run(self, names: list[str], x: Tensor) -> Tensor:
        forked = names[-1].endswith("b")
        for name in names[:-2] if forked else names:
            x = self.get_submodule(name)(x)
        return torch.cat([self.get_submodule(name)(x) for name in names[-2:]], 1) if forked else x


def _graph() -> dict[str, nn.Module]:
    graph: dict[str, nn.Module] = {
        "Conv2d_1a_3x3": _Convolution(3, 32, (3, 3), 2, padded=False),
        "Conv2d_2a_3x3": _Convolution(32, 32, (3, 3), padded=False),
        "Conv2d_2b_3x3": _Convolution(32, 64, (3, 3)),
        "Conv2d_3b_1x1": _Convolution(64, 80, (1, 1)),
        "Conv2d_4a_3x3": _Convolution(80, 192, (3, 3), padded=False),
    }
    n_in = 192
    for name, (branches, pool, pool_width) in BLOCKS.items():
        graph[name] = block = _Mixed(n_in, branches, pool, pool_width)
        n_in = block.n_out
    return {**graph, "fc": nn.Linear(n_in, N_CLASSES)}
