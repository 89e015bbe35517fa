"""Parts of transformers: attention, a perceptron, and embeddings of time and class."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Self-attention over tokens (b, n, width), by PyTorch's fused kernel in the input's dtype.

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
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(b, n, width))


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
