"""One matrix on each axis: blur, resize and DCT all have this form, so any chain of them folds into two matrices."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

FLOAT64 = torch.empty(0, dtype=torch.float64, device="cpu")
"""Passed as `like` when one constant is built from another."""


class Constant(Protocol):
    """A tensor that depends on sizes alone, looked up by the device and dtype of `like`."""

    def __call__(self, *args: object, like: Tensor) -> Tensor:
        """Return the constant for these arguments."""


class _Shelf:
    """Holds the constants as attributes, which is what torch.compile can look up by name while it traces."""


_shelf = _Shelf()
_serial = itertools.count()


def constant(build: Callable[..., Tensor]) -> Constant:
    """Cache `build(*args)`, computed once on the CPU in float64, for each device and dtype.

    Callers must not write into it, and public functions not return it. Of constants that depend on a float, which may
    be drawn anew at each step, only the latest are kept.
    """

    def built(device: torch.device, dtype: torch.dtype, *args: object) -> Tensor:
        # A first call under inference_mode would leave a tensor that no later backward may use,
        # and one under a default device would build in float32 where there is no float64.
        with torch.inference_mode(False), torch.device("cpu"):
            return build(*args).to(device, dtype)

    latest = functools.lru_cache(maxsize=64)(built)

    @functools.cache
    def shelve(device: torch.device, dtype: torch.dtype, *args: object) -> str:
        name = f"{build.__name__}_{next(_serial)}"
        setattr(_shelf, name, built(device, dtype, *args))
        return name

    # torch.compile calls it once, while tracing, instead of looking inside.
    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def place(device: torch.device, dtype: torch.dtype, *args: object) -> str:
        return shelve(device, dtype, *args)

    def lookup(*args: object, like: Tensor) -> Tensor:
        # A size may be symbolic under torch.compile; a range has a length only if it is a number.
        fixed = [len(range(a)) if isinstance(a, int) and not isinstance(a, bool) else a for a in args]
        if not torch.compiler.is_compiling() and any(isinstance(a, float) for a in fixed):
            return latest(like.device, like.dtype, *fixed)
        matrix: Tensor = getattr(_shelf, place(like.device, like.dtype, *fixed))
        return matrix

    return functools.wraps(build)(lookup)


def in_working_precision(x: Shaped[Tensor, "*shape"], n_dims: int = 2) -> Float[Tensor, "*shape"]:
    """Return `x` in float32, or in float64 if it is that already.

    Raises:
        ValueError: unless `x` is a floating-point tensor with at least `n_dims` axes, the last ones not empty.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"expected a tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise ValueError(f"expected a floating-point tensor, got {x.dtype}; convert it first, such as by .float()")
    if x.ndim < n_dims or 0 in x.shape[-n_dims:]:
        axes = ", ".join("bchw"[4 - n_dims :])
        raise ValueError(f"expected a tensor of shape (..., {axes}) with no empty axis, got {tuple(x.shape)}")
    return x if x.dtype == torch.float64 else x.float()


def require_alike(one: Tensor, other: Tensor, *, width: bool = True) -> None:
    """Raise ValueError unless two fields (b, c, h, w) have one batch and grid, and one c if `width`.

    Unlike shapes would broadcast to a number that means nothing.
    """
    shapes = [tuple(x.shape) if width else (*x.shape[:1], *x.shape[2:]) for x in (one, other)]
    if one.ndim != 4 or shapes[0] != shapes[1]:
        expected = f"expected two fields (b, c, h, w) of one batch and grid{' and width' if width else ''}"
        raise ValueError(f"{expected}, got {tuple(one.shape)} and {tuple(other.shape)}")


def apply_separable(
    x: Float[Tensor, "*batch h w"], rows: Float[Tensor, "u h"], columns: Float[Tensor, "v w"]
) -> Float[Tensor, "*batch u v"]:
    """Return rows · x · columnsᵀ over the last two axes, in float32 or wider: (…, h, w) → (…, h', w').

    rows: (h', h). columns: (w', w).
    """
    with torch.autocast(x.device.type, enabled=False):
        return (rows @ x) @ columns.mT
