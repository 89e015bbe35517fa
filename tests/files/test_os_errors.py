import errno
import os
import subprocess

import pytest
import safetensors.torch
import torch

from spectrum_matching.files.atomic import explain_write_errors, open_atomically, write_folder_atomically
from spectrum_matching.files.os_errors import explain_read_error, explain_write_error, system_error


def error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on the disk"),
        (errno.EDQUOT, "make room: the quota is used up"),
        (errno.EROFS, "the disk is read-only: choose another place"),
        (errno.EACCES, "check the permissions"),
        (errno.EPERM, "check the permissions"),
        (errno.EEXIST, "a file or a link that leads nowhere has this name: remove it"),
        (errno.ENOTDIR, "part of the path is a file: check the path"),
        (errno.ENOENT, "its folder has been deleted or was never there: check the path"),
    ],
)
def test_explain_write_error_gives_reason_and_remedy(number, remedy):
    assert explain_write_error(error(number)) == f"{os.strerror(number)}; {remedy}"


def test_explain_write_error_advises_nothing_where_nothing_is_known():
    assert explain_write_error(error(errno.EINTR)) == os.strerror(errno.EINTR)
    assert explain_write_error(error(errno.EINTR), "fix this") == f"{os.strerror(errno.EINTR)}; fix this"
    assert explain_write_error(RuntimeError("two\nlines")) == "two lines"


def test_explain_read_error_of_a_missing_file():
    assert explain_read_error(error(errno.ENOENT)) == "No such file or directory; check the path"


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def save_by_torch(folder):
    with (folder / "a").open("wb") as stream:
        torch.save(torch.zeros(50_000), stream)


WRITERS = {
    "python": lambda folder: (folder / "a").write_bytes(bytes(100_000)),
    "torch": save_by_torch,
    "safetensors": lambda folder: safetensors.torch.save_file({"a": torch.zeros(50_000)}, folder / "a"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_explain_write_errors_recognises_a_full_disk_behind_every_library(full_disk, writer):
    said = r"^cannot write the export: No space left on device; make room on the disk, then rerun the same command"
    with pytest.raises(ValueError, match=said), explain_write_errors("the export"):
        write_folder_atomically(full_disk / "export", WRITERS[writer])
    assert not any(full_disk.iterdir())


def test_open_atomically_names_the_file_of_a_full_disk(full_disk):
    with pytest.raises(OSError, match="No space left") as caught, open_atomically(full_disk / "a") as stream:
        stream.write(bytes(100_000))
    assert caught.value.filename == str(full_disk / "a")


def test_system_error_finds_none_where_there_is_none():
    assert system_error(ValueError("no")) is None
