"""What the backward pass of a network keeps on a GPU, counted on paper: on meta tensors, as autocast would have it."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

IN_HALF = {torch.conv2d, torch.conv_transpose2d, F.linear, torch.matmul, torch.bmm, F.scaled_dot_product_attention}
IN_FLOAT32 = {F.group_norm, F.layer_norm, F.rms_norm, F.softmax, torch.group_norm, torch.layer_norm, torch.softmax}
"""Functions that CUDA's autocast runs in half precision, and in float32, as far as our networks call them."""


def kept_for_backward(call: Callable[[], Any], *, half: bool = False, kept: dict[int, Tensor] | None = None) -> int:
    """Return the bytes that a call on meta tensors keeps for its backward pass, beside weights.

    half: as under autocast on a GPU; attention is a fused kernel, which keeps no matrix of weights. kept: takes the
    tensors, by the address of their storage, while the call runs.
    """
    kept = {} if kept is None else kept
    mode = _OnGPU()

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage()._cdata
        if not isinstance(tensor, nn.Parameter) and place not in mode.weights:
            kept[place] = tensor  # holding it, so that no other takes its place
        return tensor

    with mode if half else nullcontext(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = call()
    n = n_bytes(kept)
    del result
    return n


def n_bytes(kept: dict[int, Tensor]) -> int:
    """Return the bytes of the storages that `kept_for_backward` found."""
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


class _OnGPU(TorchFunctionMode):
    """Casts as CUDA's autocast does. weights: casts of parameters, by the address of their storage."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        dtype = torch.bfloat16 if func in IN_HALF else torch.float32 if func in IN_FLOAT32 else None
        if dtype is not None:
            args = tuple(self._cast(value, dtype) for value in args)
            kwargs = {name: self._cast(value, dtype) for name, value in kwargs.items()}
        if func is F.scaled_dot_product_attention:
            return _FusedAttention.apply(*args[:3])
        return func(*args, **kwargs)

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        cast = value.to(dtype)
        if isinstance(value, nn.Parameter):
            self.weights[cast.untyped_storage()._cdata] = cast
        return cast


class _FusedAttention(torch.autograd.Function):
    """Attention that keeps what flash attention does: its inputs, its result, and a number for each row."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, result, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return result
