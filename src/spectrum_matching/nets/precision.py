"""Precision of a network's matrix products, and the scale that keeps gradients of fp16 from vanishing."""

import logging
from functools import cache
from typing import Literal

import torch

log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16", "fp16"]

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which networks run; weights and losses are float32 in any."""
    return torch.autocast(device.type, HALF.get(precision), enabled=precision in HALF)


def loss_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler | None:
    """Return what scales the loss of fp16, whose smallest number is 6e-8; None for a precision that needs none.

    Its scale begins at 65,536, is halved by a gradient that is not finite and doubled by 2,000 finite ones in a row.
    """
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None


def require_precision(precision: Precision, device: torch.device) -> None:
    """Check that a device computes in this precision; warn of a CPU that has no instructions for it.

    There torch multiplies bf16 matrices one product at a time, an order of magnitude slower than fp32. Warns once in a
    process.

    Raises:
        ValueError: for bf16 on a GPU that only emulates it.
    """
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise ValueError(f"precision is bf16, which {name} does not have: use fp16, whose loss is scaled, or fp32")
    supported = {"bf16": "_is_mkldnn_bf16_supported", "fp16": "_is_mkldnn_fp16_supported"}
    if device.type == "cpu" and precision in HALF and not getattr(torch.ops.mkldnn, supported[precision])():
        _warn_once(f"precision is {precision}, which this CPU only emulates, many times slower: use fp32")


@cache  # training and sampling of one command both ask
def _warn_once(message: str) -> None:
    log.warning("%s", message)
