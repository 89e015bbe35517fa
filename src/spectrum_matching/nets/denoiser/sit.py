"""SiT, a transformer whose layer norms are scaled, shifted and gated by time and class (adaLN-zero)."""

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from .transformer import (
    Attention,
    ClassEmbedding,
    PatchTransformer,
    Perceptron,
    fixed_positions,
    patchify,
    time_features,
    unpatchify,
)

N_TIME_FEATURES = 256
EPSILON = 1e-6


class SiT(PatchTransformer):
    """Noisy latents (b, channels, *grid), times (b,) and labels (b,) to a prediction (b, channels, *grid).

    Ma et al., 2024 (arXiv 2401.08740), whose network is DiT's (arXiv 2212.09748). `depth` blocks on patches of
    patch × patch positions, with fixed position embeddings. At initialisation it predicts 0. n_classes 0: no labels.
    time_scale: factor of t in [0, 1] before its sines and cosines; published SiT takes t itself (1), DiT the index of
    one of 1,000 steps (1000). qk_norm: see `Attention`; published without.

    Published networks end in twice the channels and drop the second half; this one ends in `channels`.

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
        time_scale: float = 1.0,
        qk_norm: bool = False,
    ) -> None:
        super().__init__(channels, grid, patch, width, depth, heads, n_classes, time_scale)
        self.register_buffer("positions", fixed_positions(grid[0] // patch, grid[1] // patch, width), persistent=False)
        self.time = nn.Sequential(nn.Linear(N_TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = ClassEmbedding(n_classes, width) if n_classes else None
        self.blocks = nn.ModuleList(_Block(width, heads, int(width * mlp_ratio), qk_norm) for _ in range(depth))
        self.modulation = nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, patch**2 * channels)
        self._initialise()

    def forward(
        self, noisy: Tensor, t: Tensor, labels: Tensor | None = None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the prediction and the tokens (b, n, width) after block `tap`, 1 … n_blocks, or None without a tap.

        t (b,) in [0, 1]: 0 is data, 1 noise. labels (b,): −1, or None for all, means no label.

        Raises:
            ValueError: for any other shape and, on the CPU, for labels out of range.
        """
        self._check_inputs(noisy, t, labels, tap)
        x = self.first(patchify(noisy, self.patch)) + self.positions
        condition = self.time(time_features(t * self.time_scale, N_TIME_FEATURES).to(noisy.dtype))
        if self.label is not None:
            condition = condition + self.label(labels, len(noisy))
        condition = F.silu(condition)
        tokens = None
        for depth, block in enumerate(self.blocks, start=1):
            x = self._run(block, x, condition)
            if depth == tap:
                tokens = x
        shift, scale = self.modulation(condition)[:, None].chunk(2, dim=-1)
        return unpatchify(self.last(_modulate(x, shift, scale)), self.grid, self.patch), tokens

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.endswith("modulation.weight") or name == "last.weight":
                nn.init.zeros_(weight)
            elif name in ("time.0.weight", "time.2.weight", "label.table.weight"):
                nn.init.normal_(weight, std=0.02)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, qk_norm: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, bias=True, qk_norm=qk_norm)
        self.perceptron = Perceptron(width, hidden, approximate="tanh")
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = x + gate * self.attention(_modulate(x, shift, scale))
        return x + gate2 * self.perceptron(_modulate(x, shift2, scale2))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON) * (1 + scale) + shift
