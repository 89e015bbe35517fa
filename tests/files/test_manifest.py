import random
import subprocess

import pytest

from spectrum_matching.files.atomic import write_folder_atomically
from spectrum_matching.files.manifest import MANIFEST, verify_folder


def fill(folder):
    (folder / "weights").write_bytes(bytes(range(256)) * 40)
    (folder / "config.json").write_text('{"a": 1}\n')
    (folder / "inner").mkdir()
    (folder / "inner" / "empty file").touch()


@pytest.fixture
def folder(tmp_path):
    write_folder_atomically(tmp_path / "export", fill)
    return tmp_path / "export"


def test_verify_folder_counts_files_and_bytes(folder):
    assert verify_folder(folder) == (3, 256 * 40 + 9)


def test_manifest_is_read_by_sha256sum(folder):
    command = ["sha256sum", "--check", "--strict", MANIFEST]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout.count(b": OK") == 3
    (folder / "weights").write_bytes(b"other")
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 1


def test_verify_folder_notices_every_flipped_bit(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    assert {path.name for path in files} == {"weights", "config.json", MANIFEST}
    choose = random.Random(0)
    for path in files:
        content = path.read_bytes()
        bits = range(8 * len(content)) if path.name != "weights" else choose.sample(range(8 * len(content)), 60)
        for bit in bits:
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(ValueError, match=r"is (damaged|missing)"):
                verify_folder(folder)
        path.write_bytes(content)
    assert verify_folder(folder)


@pytest.mark.parametrize("name", ["weights", "config.json", MANIFEST])
def test_verify_folder_notices_every_cut(folder, name):
    content = (folder / name).read_bytes()
    for length in {0, 1, len(content) // 2, len(content) - 1} | {i + 1 for i, c in enumerate(content) if c == 10}:
        if length < len(content):
            (folder / name).write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"is (damaged|missing)"):
                verify_folder(folder)


def test_verify_folder_names_what_is_missing_and_the_remedy(folder):
    (folder / "weights").unlink()
    with pytest.raises(ValueError, match=rf"weights is missing; copy the folder again, or delete {MANIFEST} if"):
        verify_folder(folder)


def test_verify_folder_takes_files_that_a_user_adds(folder):
    (folder / "README.md").write_text("# A model\n")
    assert verify_folder(folder) == (3, 256 * 40 + 9)


@pytest.mark.parametrize("listed", [None, "0" * 64 + "  weights\n", "0" * 64 + " *not there\n"])
def test_verify_folder_takes_folders_of_others_as_they_are(folder, listed):
    (folder / MANIFEST).unlink()
    if listed:
        (folder / MANIFEST).write_text(listed)
    assert verify_folder(folder) is None


def test_write_folder_atomically_writes_the_manifest_of_the_new_files(folder):
    write_folder_atomically(folder, lambda path: (path / "other").write_text("new"))
    assert verify_folder(folder) == (1, 3)
