"""The manifest of a folder, SHA256SUMS: what its files were when they were written, in the format of `sha256sum -c`.

Folders that others wrote have none, or one of theirs, and are taken as they are. Files that are added later are
not checked; one that the manifest names has to be there, unchanged.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .os_errors import explain_read_error
from .regular import open_regular

MANIFEST = "SHA256SUMS"
HEADER = "# {} files, as specmatch wrote them"  # `sha256sum -c` passes over comments
REMEDY = f"copy the folder again, or delete {MANIFEST} if you changed it yourself"
THREADS = min(8, os.cpu_count() or 1)


class Compared(NamedTuple):
    """How many files were compared with their checksums, and their bytes."""

    n_files: int
    n_bytes: int


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file, 64 hexadecimal digits."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder's files, those of folders in it included."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    lines = [HEADER.format(len(paths))]
    lines += [f"{digest}  {path.relative_to(folder).as_posix()}" for path, digest in _digests(paths)]
    (folder / MANIFEST).write_text("\n".join(lines) + "\n", encoding="utf-8")


def verify_folder(folder: Path, remedy: str = REMEDY) -> Compared | None:
    """Compare the files of a folder with its manifest; return None where there is none of ours.

    Raises:
        ValueError: naming the first file that is missing, cannot be read or is not what was written, and the remedy.
    """
    manifest = folder / MANIFEST
    if not manifest.exists() or (listed := _read(manifest, remedy)) is None:
        return None
    expected = {folder / name: digest for name, digest in listed.items()}
    return compare_files(expected, remedy, f"its SHA-256 is not that of {MANIFEST}")


def verify_own_folder(folder: Path, remedy: str = REMEDY) -> Compared:
    """Compare the files of a folder that specmatch wrote with its manifest.

    Raises:
        ValueError: as `verify_folder` does, and where there is no manifest of ours.
    """
    compared = verify_folder(folder, remedy)
    if compared is None:
        raise ValueError(f"{folder} is damaged: it has no {MANIFEST} that specmatch wrote; {remedy}")
    return compared


def compare_files(expected: Mapping[Path, str], remedy: str, why: str) -> Compared:
    """Compare files with their SHA-256, in threads.

    Raises:
        ValueError: naming the first that is missing, cannot be read or differs; why: says with what it was compared.
    """
    for path, digest in _digests(expected, remedy):
        if digest != expected[path]:
            raise ValueError(f"{path} is damaged: {why}; {remedy}")
    return Compared(len(expected), sum(path.stat().st_size for path in expected))


def are_unchanged(expected: Mapping[Path, str]) -> list[bool]:
    """Return whether each file is there and has its SHA-256."""

    def is_unchanged(path: Path) -> bool:
        try:
            return sha256_of(path) == expected[path]
        except OSError:
            return False

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(is_unchanged, expected))


def _digests(paths: Iterable[Path], remedy: str = "") -> list[tuple[Path, str]]:
    paths = list(paths)

    def digest(path: Path) -> str:
        try:
            return sha256_of(path)
        except FileNotFoundError as error:
            raise ValueError(f"{path} is missing; {remedy}") from error
        except OSError as error:
            raise ValueError(f"cannot read {path}: {explain_read_error(error)}") from error

    with ThreadPoolExecutor(THREADS) as pool:  # hashing lets other threads run
        return list(zip(paths, pool.map(digest, paths), strict=True))


def _read(manifest: Path, remedy: str) -> dict[str, str] | None:
    """Return the SHA-256 of files by name; None for a list that others wrote, which has no header."""
    try:
        header, *lines = manifest.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"cannot read {manifest}: {explain_read_error(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{manifest} is damaged: it is not text; {remedy}") from error
    if re.fullmatch("[0-9a-fA-F]{64} [ *].+", header):
        return None
    entries = [re.fullmatch("([0-9a-f]{64})  ([^\0]+)", line) for line in lines[:-1]]
    if lines[-1:] != [""] or header != HEADER.format(len(entries)) or not all(entries):
        raise ValueError(f"{manifest} is damaged: it is not the list of files that was written; {remedy}")
    return {entry[2]: entry[1] for entry in entries if entry}
