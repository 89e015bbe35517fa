"""Digests of files, weights and data: 16 hexadecimal digits of SHA-256."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LENGTH = 16
CHUNK = 1 << 24  # bytes


def digest_files(files: Iterable[Path]) -> str:
    """Return the digest of the bytes of files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:LENGTH]


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of names, dtypes, shapes and values; their order does not matter."""
    digest = hashlib.sha256()
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:LENGTH]


def digest_weights(module: nn.Module) -> str:
    """Return the digest of a module's parameters and buffers."""
    return digest_tensors(module.state_dict())


def digest_lines(lines: Iterable[str]) -> str:
    """Return the digest of lines of text, such as other digests, or names and byte counts of files."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:LENGTH]


def n_bytes(path: Path) -> int:
    """Return the length of a file, -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def digest_json(values: Mapping[str, Any]) -> str:
    """Return the digest of plain values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:LENGTH]
