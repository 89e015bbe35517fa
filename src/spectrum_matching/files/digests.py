"""Digests of weights, files and data."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn


def joint_digest(*digests: str) -> str:
    """One for several."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def lines_digest(lines: Iterable[str]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over lines of text, such as names and byte counts of files."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def weights_digest(model: nn.Module) -> str:
    """16 hexadecimal digits of SHA-256 over names, dtypes and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def digest_of(files: Iterable[Path], module: nn.Module | None = None) -> str:
    """16 hexadecimal digits of SHA-256 over the bytes of files, then over the weights of a module."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    for name, value in sorted(module.state_dict().items()) if module is not None else ():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
