"""Parts of transformers that denoise: patches, attention, a perceptron, embeddings of position, time and class."""

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F


class PatchTransformer(ModelMixin, ConfigMixin):
    """The sizes, the first layer and the checks that the denoisers share.

    Subclasses name the arguments once more, since diffusers takes the configuration from their own signatures.

    `enable_gradient_checkpointing` computes the activations of blocks again in the backward pass, in place of keeping
    them.

    Raises:
        ValueError: for sizes that do not fit each other.
    """

    _supports_gradient_checkpointing = True

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        patch: int,
        width: int,
        depth: int,
        heads: int,
        n_classes: int,
        time_scale: float,
    ) -> None:
        super().__init__()
        if len(grid) != 2 or min(*grid, channels, patch, depth, heads, width) < 1:
            raise ValueError(
                f"channels {channels}, grid {tuple(grid)}, patch {patch}, width {width}, depth {depth} and heads "
                f"{heads}: expected (h, w) as the grid, and every size to be at least 1"
            )
        if grid[0] % patch or grid[1] % patch:
            raise ValueError(
                f"a grid of {grid[0]} × {grid[1]} is not divisible into patches of {patch}: choose another denoiser"
            )
        if width % heads or width % 4:
            raise ValueError(f"width {width} with {heads} heads: expected a multiple of the heads and of 4")
        if n_classes < 0:
            raise ValueError(f"n_classes is {n_classes}: expected the number of classes, or 0 for a network without")
        self.channels, self.grid, self.patch, self.width = channels, (grid[0], grid[1]), patch, width
        self.n_classes, self.n_blocks, self.time_scale = n_classes, depth, time_scale
        self.first = nn.Linear(patch**2 * channels, width)
        self.gradient_checkpointing = False  # what diffusers' switch sets

    def _run(self, block: nn.Module, *inputs: Tensor | None) -> Tensor:
        """Return what a block makes of its inputs."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    def _check_inputs(self, noisy: Tensor, t: Tensor, labels: Tensor | None, tap: int | None) -> None:
        """Check what the network is called with.

        Values of labels are checked on the CPU alone and not under torch.compile, since an accelerator would have to
        synchronise: there, a network without classes ignores labels, and an id out of range fails in the lookup.
        """
        (h, w), n_blocks, n_classes = self.grid, self.n_blocks, self.n_classes
        if noisy.ndim != 4 or tuple(noisy.shape[1:]) != (self.channels, h, w):
            raise ValueError(f"latents are {tuple(noisy.shape)}; this denoiser takes (b, {self.channels}, {h}, {w})")
        n = len(noisy)
        if t.shape != noisy.shape[:1]:
            raise ValueError(f"t is {tuple(t.shape)}; expected one time for each of {n} latents, ({n},)")
        if tap is not None and not 1 <= tap <= n_blocks:
            raise ValueError(f"tap {tap}: this denoiser has {n_blocks} blocks, so give 1 to {n_blocks}, or None")
        if labels is None:
            return
        if labels.shape != noisy.shape[:1]:
            raise ValueError(f"labels are {tuple(labels.shape)}; expected one for each of {n} latents")
        if labels.is_cpu and not torch.compiler.is_compiling():
            lowest, highest = (int(bound) for bound in labels.aminmax()) if n else (-1, -1)
            if lowest < -1 or highest >= n_classes:
                known = f"0 to {n_classes - 1}, or −1 for no label" if n_classes else "−1 or None: it knows no classes"
                raise ValueError(f"labels go from {lowest} to {highest}; this denoiser takes {known}")


class Attention(nn.Module):
    """Self-attention over tokens (b, n, width), by PyTorch's fused kernel: on the CPU in float32.

    bias: of the projection to queries, keys and values. qk_norm: RMS-normalise queries and keys of each head, and scale
    them (arXiv 2302.05442).
    """

    def __init__(self, width: int, heads: int, bias: bool, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.query_scale = nn.Parameter(torch.ones(width // heads)) if qk_norm else None
        self.key_scale = nn.Parameter(torch.ones(width // heads)) if qk_norm else None
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among tokens (b, n, width)."""
        b, n, width = x.shape
        query, key, value = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.query_scale is not None and self.key_scale is not None:
            query, key = _unit(query) * self.query_scale, _unit(key) * self.key_scale
            query, key = query.to(value.dtype), key.to(value.dtype)
        mixed = _attend(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(b, n, width))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value)
    # Backward through a few tokens takes PyTorch's bfloat16 kernel for CPUs 25 times as long as that for float32.
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(query.float(), key.float(), value.float()).to(value.dtype)


def _unit(x: Tensor) -> Tensor:
    return F.rms_norm(x.float(), x.shape[-1:], eps=1e-6)


class Perceptron(nn.Module):
    """Two linear layers with GELU between them, on each token (b, n, width) separately."""

    def __init__(self, width: int, hidden: int, approximate: str = "none") -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.activation = nn.GELU(approximate)
        self.last = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token (b, n, width)."""
        return self.last(self.activation(self.first(x)))


class ClassEmbedding(nn.Module):
    """Embed class ids (b,), −1 … n_classes − 1, as (b, width); −1 and None are the null class, which is row 0."""

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        # With the null class first, an id out of range is a row out of range; last, n_classes would pass for no label.
        self.table = nn.Embedding(n_classes + 1, width)

    def forward(self, labels: Tensor | None, batch_size: int) -> Tensor:
        """Embed class ids (b,), −1 or None for no class, as (b, width)."""
        if labels is None:
            return self.table.weight[:1].expand(batch_size, -1)
        return self.table(labels + 1)


def time_features(t: Tensor, width: int) -> Tensor:
    """Return cosines, then sines, of times (b,) as (b, width) in float32; width is even.

    Frequencies go from 1 down to nearly 1/10,000.
    """
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(10_000) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def patchify(field: Tensor, patch: int) -> Tensor:
    """Cut a field (b, c, h, w) into tokens (b, n, patch² · c), n = h · w / patch²; h and w are multiples of patch."""
    b, c, h, w = field.shape
    patches = field.view(b, c, h // patch, patch, w // patch, patch)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(b, h * w // patch**2, patch**2 * c)


def unpatchify(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """Invert `patchify`: join tokens (b, n, patch² · c) into a field (b, c, h, w), grid = (h, w)."""
    h, w = grid
    patches = tokens.view(len(tokens), h // patch, w // patch, patch, patch, -1)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, h, w)


def fixed_positions(rows: int, columns: int, width: int) -> Tensor:
    """Return sines and cosines of the column, then of the row, as (rows · columns, width) in float32.

    Source: MAE (arXiv 2111.06377), as in DiT. width is a multiple of 4; there are width / 4 frequencies, from 1 down to
    nearly 1/10,000 radian a token.
    """
    frequencies = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [index.reshape(-1, 1) * frequencies for index in (column, row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
