"""How much memory does training an autoencoder need, and what does gradient checkpointing save?

    python experiments/memory_of_training.py
    python experiments/memory_of_training.py --measure   # minutes; what is measured is not measured again

Counts on paper (no weights, no data): what one image keeps for the backward pass in float32, and the float32 weights
with gradients, both moments of AdamW and averages. With checkpointing: the most that there is while a block is computed
again: what was kept before it, inputs of blocks or outside of them, what it keeps itself, the gradient of its result,
and those of later weights. Not counted: LPIPS, the discriminator, workspaces of convolutions, fragmentation.

Measures an update of the trainer on the CPU, each case in a process of its own: the largest resident memory during the
update beyond what there was before it, when weights, moments and averages are there already. Beside it stands what the
count expects. Writes experiments/results/memory_of_training.json.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spectrum_matching.comparison.cost import copies, weight_bytes
from spectrum_matching.comparison.memory import kept_for_backward, n_bytes
from spectrum_matching.data.images import ImageBatch
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.training.autoencoder_config import AutoencoderRun, MethodChoice, Network, Optimizer
from spectrum_matching.training.train_autoencoder import (
    AutoencoderState,
    build_state,
    open_autoencoder,
    train_autoencoder,
)

RESULTS = Path(__file__).parent / "results"
NAMES, SIZES = ("f8d4", "f16d16"), (256, 512)
GB = 1e9
ONE = {"batch_size": 1, "accumulation": 1, "gradient_checkpointing": False, "method": "autoencoder"}
TWO = ONE | {"batch_size": 2}
CASES = [
    {"network": network, "size": size, **changes}
    for network, size, changes in (
        ("tiny", 64, ONE | {"batch_size": 16}),
        ("f8d4", 128, ONE),
        ("f8d4", 256, ONE),
        ("f8d4", 256, ONE | {"gradient_checkpointing": True}),
        ("f8d4", 128, ONE | {"method": "dsm"}),
        ("f8d4", 128, TWO),
        ("f8d4", 128, TWO | {"accumulation": 2}),
        ("f8d4", 128, TWO | {"gradient_checkpointing": True}),
    )
]
"""What is measured."""


def row_of(name: str, size: int) -> dict[str, Any]:
    """Return the gigabytes of one image, with and without checkpointing, and of all weights."""
    weights = weight_bytes(on_paper(name))
    return {
        "network": name,
        "size": size,
        "gigabytes_of_an_image": kept(name, size) / GB,
        "gigabytes_of_an_image_checkpointed": kept(name, size, checkpointed=True) / GB,
        "gigabytes_of_weights": weights * copies(Optimizer(), 4) / GB,
    }


def on_paper(name: str) -> Autoencoder:
    """Return the autoencoder of a preset without its weights."""
    with torch.device("meta"):
        autoencoder = Autoencoder.from_preset(name)
    autoencoder.model.to("meta")
    return autoencoder


@cache
def kept(name: str, size: int, n: int = 1, *, checkpointed: bool = False) -> int:
    """Return the bytes that `n` images keep at the peak of the backward pass."""
    autoencoder = on_paper(name)
    images = torch.empty(n, 3, size, size, device="meta")

    def step() -> Tensor:
        return autoencoder.decode(autoencoder.encode(images).mean)

    return kept_with_checkpoints(autoencoder.model, step) if checkpointed else kept_for_backward(step)


def kept_with_checkpoints(model: Any, step: Callable[[], Tensor]) -> int:
    """Return the bytes that a step keeps at the peak of the backward pass, when some block is computed again."""
    kept: dict[int, Tensor] = {}
    left = set(model.parameters())
    peaks: list[int] = []
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, _: left.difference_update(module.parameters(recurse=False)))

    def run(block: nn.Module, *arguments: Any) -> Any:
        kept.update({x.untyped_storage()._cdata: x for x in arguments if isinstance(x, Tensor)})
        within: dict[int, Tensor] = {}
        kept_for_backward(lambda: block(*arguments), kept=within)
        # By then what later layers keep is freed, and their weights have gradients.
        before = n_bytes(kept | within) + sum(4 * parameter.numel() for parameter in left)
        result = checkpoint(block, *arguments, use_reentrant=False)
        peaks.append(before + result.untyped_storage().nbytes())
        return result

    model.enable_gradient_checkpointing(run)
    return max(kept_for_backward(step, kept=kept), *peaks)


def expected(case: dict[str, Any]) -> int:
    """Return the bytes that an update takes beyond weights, moments and averages, on paper.

    Without checkpointing, gradients take the place of what the backward pass frees, and count only where they are kept
    from one micro-batch to the next.
    """
    images = case["batch_size"] // case["accumulation"]
    n = kept(case["network"], case["size"], images, checkpointed=case["gradient_checkpointing"])
    gradients = weight_bytes(on_paper(case["network"]))
    return n + gradients * (case["accumulation"] > 1)


def measured(case: dict[str, Any]) -> dict[str, Any]:
    """Return a case with the gigabytes and seconds of an update in a process of its own."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return {**case, **json.loads(done.stdout)}


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Return the gigabytes and seconds of an update, in this process."""
    size = case["size"]
    run = AutoencoderRun(
        steps=1,
        batch_size=case["batch_size"],
        accumulation=case["accumulation"],
        gradient_checkpointing=case["gradient_checkpointing"],
        network=Network(preset=case["network"]),
        method=MethodChoice(case["method"]).resolved(),
    )
    run = replace(run, data=replace(run.data, size=size))
    accelerator = Accelerator(cpu=True)
    state = build_state(run, open_autoencoder(run), run.method.build(), accelerator.device)
    fill_moments(state)
    images = torch.rand(case["batch_size"], 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = ImageBatch(images, torch.full((len(images),), -1))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = memory("VmRSS")
    (record,) = train_autoencoder(run, state, iter([batch]), accelerator)
    return {"gigabytes_measured": (memory("VmHWM") - before) / GB, "seconds": record.seconds}


def fill_moments(state: AutoencoderState) -> None:
    """Give the optimizer the moments that it has after its first update, without changing a weight."""
    for group in state.optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)


def memory(name: str) -> int:
    """Return a number of bytes that Linux keeps of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def table(document: dict[str, Any]) -> str:
    """Format the rows as Markdown."""
    lines = ["| network | pixels on a side | an image, GB | with checkpointing, GB | weights, GB |", "|---" * 5 + "|"]
    for row in document["rows"]:
        network, size, *gigabytes = row.values()
        lines.append(f"| {network} | {size} | {' | '.join(f'{value:.1f}' for value in gigabytes)} |")
    lines += ["", "| network | pixels on a side | an update of | expected, GB | measured, GB | difference |"]
    lines += ["|---" * 6 + "|"]
    for row in document["measured"]:
        expected, found = row["gigabytes_expected"], row["gigabytes_measured"]
        cells = row["network"], row["size"], update_of(row), f"{expected:.2f}", f"{found:.2f}"
        lines.append(f"| {' | '.join(map(str, cells))} | {found / expected - 1:+.0%} |".replace("%", " %"))
    return "\n".join(lines)


def update_of(row: dict[str, Any]) -> str:
    """Say in words what an update is of."""
    n = row["batch_size"]
    words = ["1 image" if n == 1 else f"{n} images"]
    words += [f"in {row['accumulation']} micro-batches"] * (row["accumulation"] > 1)
    words += ["with checkpointing"] * row["gradient_checkpointing"] + ["by DSM"] * (row["method"] == "dsm")
    return " ".join(words)


def main() -> None:
    """Count, measure what is asked for, save and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--case", type=json.loads)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case)))
        return
    path = RESULTS / "memory_of_training.json"
    known = json.loads(path.read_text()).get("measured", []) if path.exists() else []
    found = [row for case in CASES for row in known if case.items() <= row.items()]
    rows = [row_of(name, size) for name in NAMES for size in SIZES]
    question = {"question": "memory_of_training", "command": "python experiments/memory_of_training.py --measure"}
    for case in CASES if arguments.measure else [None]:
        if case and not any(case.items() <= row.items() for row in found):
            found.append(measured(case))
            print(found[-1], file=sys.stderr)
        beside = [{**row, "gigabytes_expected": expected(row) / GB} for row in found]
        document = question | {"rows": rows, "measured": beside}
        path.write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
