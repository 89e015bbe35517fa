"""U-ViT, a transformer with time and class as tokens and long skip connections between its two halves."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from .transformer import Attention, ClassEmbedding, PatchTransformer, Perceptron, patchify, time_features, unpatchify


class UViT(PatchTransformer):
    """Noisy latents (b, channels, *grid), times (b,) and labels (b,) to a prediction (b, channels, *grid).

    Bao et al., 2023 (arXiv 2209.12152). depth / 2 blocks, one in the middle, and depth / 2 blocks with a skip
    connection from their mirror image in the first half: depth + 1 in all; depth is even. Positions are learned.
    n_classes 0: no class token. time_scale: factor of t in [0, 1] before its sines and cosines; 999 is published for
    the variance-preserving process in continuous time. conv: a 3 × 3 convolution at the end, as published except for H
    on latents.

    Raises:
        ValueError: for sizes that do not fit each other.
    """

    @register_to_config
    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        patch: int,
        width: int,
        depth: int,
        heads: int,
        n_classes: int = 0,
        mlp_ratio: float = 4.0,
        time_scale: float = 999.0,
        conv: bool = True,
    ) -> None:
        super().__init__(channels, grid, patch, width, depth, heads, n_classes, time_scale)
        if depth % 2:
            raise ValueError(f"depth is {depth}; expected an even number: half before the middle block, half after it")
        self.n_blocks = depth + 1
        self.n_extra = 2 if n_classes else 1
        self.label = ClassEmbedding(n_classes, width) if n_classes else None
        self.positions = nn.Parameter(torch.zeros(1, self.n_extra + grid[0] * grid[1] // patch**2, width))
        hidden = int(width * mlp_ratio)
        self.blocks = nn.ModuleList(_Block(width, heads, hidden, skip=i > depth // 2) for i in range(self.n_blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, patch**2 * channels)
        self.final = nn.Conv2d(channels, channels, 3, padding=1) if conv else nn.Identity()
        self._initialise()

    def forward(
        self, noisy: Tensor, t: Tensor, labels: Tensor | None = None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the prediction and the patches' tokens (b, n, width) after block `tap`, 1 … n_blocks, or None.

        t (b,) in [0, 1]: 0 is data, 1 noise. labels (b,): −1, or None for all, means no label.

        Raises:
            ValueError: for any other shape and, on the CPU, for labels out of range.
        """
        self._check_inputs(noisy, t, labels, tap)
        extra = [time_features(t * self.time_scale, self.width).to(noisy.dtype)]
        if self.label is not None:
            extra.append(self.label(labels, len(noisy)))
        x = torch.cat([torch.stack(extra, dim=1), self.first(patchify(noisy, self.patch))], dim=1) + self.positions
        half = self.n_blocks // 2
        skips: list[Tensor] = []
        tokens = None
        for i, block in enumerate(self.blocks):
            x = self._run(block, x, skips.pop() if i > half else None)
            if i < half:
                skips.append(x)
            if i + 1 == tap:
                tokens = x[:, self.n_extra :]
        x = self.last(self.norm(x)[:, self.n_extra :])
        return self.final(unpatchify(x, self.grid, self.patch)), tokens

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            # The patches' layer stands for a convolution, which the publication initialises as PyTorch does.
            if isinstance(module, nn.Linear) and module is not self.first:
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, skip: bool) -> None:
        super().__init__()
        self.merge = nn.Linear(2 * width, width) if skip else None
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, bias=False)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = Perceptron(width, hidden)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        if self.merge is not None and skip is not None:
            x = self.merge(torch.cat([x, skip], dim=-1))
        x = x + self.attention(self.attention_norm(x))
        return x + self.perceptron(self.perceptron_norm(x))
