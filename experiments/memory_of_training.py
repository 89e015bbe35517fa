"""How much memory does training an autoencoder need, and what does gradient checkpointing save?

    python experiments/memory_of_training.py

Counts on paper (no weights, no data): what one image keeps for the backward pass in float32, and the float32 weights
with gradients, both moments of AdamW and averages. With checkpointing: what is outside of the blocks, the inputs of the
blocks, and the largest block, which is computed again. Writes experiments/results/memory_of_training.json. Not counted:
LPIPS, the discriminator, workspaces of convolutions, fragmentation.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spectrum_matching.comparison.cost import copies, weight_bytes
from spectrum_matching.comparison.memory import kept_for_backward
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.training.autoencoder_config import Optimizer

RESULTS = Path(__file__).parent / "results"
NAMES, SIZES = ("f8d4", "f16d16"), (256, 512)
GB = 1e9


def row_of(name: str, size: int) -> dict[str, Any]:
    """Return the gigabytes of one image, with and without checkpointing, and of all weights."""
    autoencoder = Autoencoder.from_preset(name).to("meta")
    images = torch.empty(1, 3, size, size, device="meta")

    def step() -> Tensor:
        return autoencoder.decode(autoencoder.encode(images).mean)

    plain = kept_for_backward(step)
    return {
        "network": name,
        "size": size,
        "gigabytes_of_an_image": plain / GB,
        "gigabytes_of_an_image_checkpointed": kept_with_checkpoints(autoencoder.model, step) / GB,
        "gigabytes_of_weights": weight_bytes(autoencoder) * copies(Optimizer(), 4) / GB,
    }


def kept_with_checkpoints(model: Any, step: Callable[[], Tensor]) -> int:
    """Return the bytes of one image at the peak of the backward pass."""
    inputs: dict[int, int] = {}
    blocks: list[int] = []

    def run(block: nn.Module, *arguments: Any) -> Any:
        for x in arguments:
            if isinstance(x, Tensor):
                inputs[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        blocks.append(kept_for_backward(lambda: block(*arguments)))
        return checkpoint(block, *arguments, use_reentrant=False)

    model.enable_gradient_checkpointing(run)
    return kept_for_backward(step) + sum(inputs.values()) + max(blocks)


def table(document: dict[str, Any]) -> str:
    """Format the rows as Markdown."""
    lines = ["| network | pixels on a side | an image, GB | with checkpointing, GB | weights, GB |", "|---" * 5 + "|"]
    for row in document["rows"]:
        network, size, *gigabytes = row.values()
        lines.append(f"| {network} | {size} | {' | '.join(f'{value:.1f}' for value in gigabytes)} |")
    return "\n".join(lines)


def main() -> None:
    """Count, save and print."""
    rows = [row_of(name, size) for name in NAMES for size in SIZES]
    document = {"question": "memory_of_training", "command": "python experiments/memory_of_training.py", "rows": rows}
    (RESULTS / "memory_of_training.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
