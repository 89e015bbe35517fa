import multiprocessing
import os
import re
import signal
import stat
import time

import pytest

from spectrum_matching.files import atomic
from spectrum_matching.files.atomic import (
    HOST,
    explain_write_errors,
    open_atomically,
    remove,
    require_creatable,
    require_writable,
    write_folder_atomically,
    write_text_atomically,
)

ERRORS = [OSError("full"), RuntimeError("torch's"), KeyboardInterrupt()]


def writer(text):
    return lambda folder: (folder / "state").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def in_process(work, *arguments):
    """Run a function in a process of its own; return the process, which has ended."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(30)
    return process


@pytest.mark.parametrize("error", ERRORS)
def test_write_folder_atomically_keeps_old_folder_on_error(tmp_path, error):
    def fail(folder):
        (folder / "state").write_text("half")
        raise error

    write_folder_atomically(tmp_path / "export", writer("whole"))
    with pytest.raises(type(error)):
        write_folder_atomically(tmp_path / "export", fail)
    assert names(tmp_path) == ["export"]
    assert (tmp_path / "export" / "state").read_text() == "whole"


def test_write_folder_atomically_replaces_all_of_a_folder(tmp_path):
    write_folder_atomically(tmp_path / "new" / "export", lambda folder: (folder / "old").mkdir())
    write_folder_atomically(tmp_path / "new" / "export", writer("new"))
    assert names(tmp_path / "new" / "export") == ["SHA256SUMS", "state"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_write_folder_atomically_gives_files_the_permissions_of_new_ones(tmp_path, mask):
    def write(folder):
        (folder / "weights").touch(0o600)  # as safetensors leaves it
        (folder / "config.json").write_text("{}")

    before = os.umask(mask)
    try:
        write_folder_atomically(tmp_path / "export", write)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "export").iterdir()} == {0o666 & ~mask}


def test_write_text_atomically_replaces_the_text(tmp_path):
    target = tmp_path / "run.yaml"
    for text in ("one", "ü\n"):
        write_text_atomically(target, text)
        assert target.read_text(encoding="utf-8") == text
    assert names(tmp_path) == ["run.yaml"]


@pytest.mark.parametrize("error", ERRORS)
def test_open_atomically_keeps_old_file_on_error(tmp_path, error):
    target = tmp_path / "samples.npz"
    target.write_bytes(b"whole")

    def fail():
        with open_atomically(target) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == ["samples.npz"]
    assert target.read_bytes() == b"whole"


def test_open_atomically_hides_the_file_until_it_is_complete(tmp_path):
    with open_atomically(tmp_path / "a.bin") as stream:
        stream.write(b"half")
        (partial,) = names(tmp_path)
        assert partial.startswith(".a.bin.")
    assert names(tmp_path) == ["a.bin"]


def test_open_atomically_gives_files_the_permissions_of_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        write_text_atomically(tmp_path / "a", "")
    finally:
        os.umask(previous)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_atomic_writes_flush_files_and_folders_to_the_disk(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda f: flushed.append(os.readlink(f"/proc/self/fd/{f}")) or fsync(f))
    write_text_atomically(tmp_path / "a", "text")
    assert [path.rpartition("/")[2].split(".")[:2] for path in flushed] == [["", "a"], [tmp_path.name]]
    flushed.clear()
    write_folder_atomically(tmp_path / "b", writer("x"))
    names = [path.rpartition("/")[2].split(".")[:2] for path in flushed]
    assert sorted(names[:2]) == [["SHA256SUMS"], ["state"]]
    assert names[2:] == [["", "b"], [tmp_path.name]]


def killed_while_writing(folder):
    with open_atomically(folder / "file") as stream:
        stream.write(b"half")
        write_folder_atomically(folder / "export", lambda _: os.kill(os.getpid(), signal.SIGKILL))


def test_atomic_writes_delete_leftovers_of_killed_processes(tmp_path):
    for _ in range(2):
        assert in_process(killed_while_writing, tmp_path).exitcode == -signal.SIGKILL
        assert len(names(tmp_path)) == 2
        assert all(name.startswith(".") for name in names(tmp_path))
    write_text_atomically(tmp_path / "other", "text")
    assert names(tmp_path) == ["other"]


def test_atomic_writes_keep_what_living_processes_and_other_machines_write(tmp_path):
    living = f".a.written.{HOST}-{os.getppid()}-00000000-1.partial"
    elsewhere = ".a.written.00000000-1-00000000-1.partial"
    for name in (living, elsewhere, ".other.partial"):
        (tmp_path / name).write_text("half")
    write_text_atomically(tmp_path / "a", "text")
    assert names(tmp_path) == sorted([living, elsewhere, ".other.partial", "a"])
    yesterday = time.time() - atomic.ABANDONED - 1
    os.utime(tmp_path / elsewhere, (yesterday, yesterday))
    write_text_atomically(tmp_path / "a", "text")
    assert names(tmp_path) == sorted([living, ".other.partial", "a"])


def write_many(folder, letter):
    for _ in range(100):
        write_text_atomically(folder / "a", letter * 100_000)


def test_open_atomically_survives_two_processes_that_write_one_file(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_many, args=(tmp_path, letter)) for letter in "xy"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() in ("x" * 100_000, "y" * 100_000)


def test_remove_deletes_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove(tmp_path / "a")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", ERRORS[:2])
def test_explain_write_errors_names_target_reason_and_remedy(error):
    with pytest.raises(ValueError, match=rf"^cannot write the export: {error}; fix this, then rerun"):  # noqa: SIM117
        with explain_write_errors("the export"):
            raise error


def test_require_creatable_refuses_files_and_links_that_lead_nowhere(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "real").mkdir()
    (tmp_path / "good").symlink_to("real")
    for name, why in (
        ("file", "is a file, expected a folder"),
        ("link", "is a link that leads nowhere, expected a folder"),
        ("file/a/b", f"cannot be written, since {tmp_path / 'file'} is not a folder"),
        ("link/a/b", f"cannot be written, since {tmp_path / 'link'} is not a folder"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"out: {tmp_path / name} {why}")):
            require_creatable(tmp_path / name)
    require_creatable(tmp_path / "good" / "a")
    require_creatable(tmp_path / "new" / "a")
    assert not (tmp_path / "new").exists()


def test_require_writable_gives_the_remedy_of_a_name_that_is_taken(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"link that leads nowhere has this name: remove it, or choose another --out$"):
        require_writable(tmp_path / "link")


def test_require_writable_creates_the_folder_or_names_it(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert names(tmp_path / "a") == ["b"]
    assert names(tmp_path / "a" / "b") == []
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write into .*file/c: Not a directory; .*, or choose another --out"):
        require_writable(tmp_path / "file" / "c")


def test_atomic_writes_follow_no_link(tmp_path):
    victim, target = tmp_path / "victim", tmp_path / "out" / "a"
    target.parent.mkdir()
    victim.write_text("mine")
    target.symlink_to(victim)
    write_text_atomically(target, "ours")
    assert (victim.read_text(), target.read_text(), target.is_symlink()) == ("mine", "ours", False)
    expected = next(atomic._numbers) + 1  # were the next temporary name known, a link could wait under it
    partial = f".b.written.{HOST}-{os.getpid()}-{atomic.PROCESS}-{expected}.partial"
    (target.parent / partial).symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_text_atomically(target.parent / "b", "ours")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("kind", ["folder", "nothing", "file"])
def test_write_folder_atomically_refuses_links_and_files(tmp_path, kind):
    export, elsewhere = tmp_path / "export", tmp_path / "elsewhere"
    if kind == "file":
        export.write_text("mine")
    else:
        export.symlink_to(elsewhere)
    if kind == "folder":
        elsewhere.mkdir()
        (elsewhere / "thesis.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"export is a (link|file), not a folder: remove it"):
        write_folder_atomically(export, writer("ours"))
    assert sorted(tmp_path.rglob("*")) == before


def test_write_folder_atomically_keeps_what_others_put_there(tmp_path):
    export = tmp_path / "export"
    write_folder_atomically(export, writer("first"))
    (export / "README.md").write_text("model card")
    (export / "plots").mkdir()
    (export / "plots" / "a.png").write_bytes(b"png")
    (export / "link").symlink_to("absent")
    write_folder_atomically(export, writer("second"), keep_others=True)
    assert names(export) == ["README.md", "SHA256SUMS", "link", "plots", "state"]
    assert (export / "state").read_text() == "second"
    assert (export / "plots" / "a.png").read_bytes() == b"png"
    write_folder_atomically(export, writer("third"))
    assert names(export) == ["SHA256SUMS", "state"]


def test_write_folder_atomically_adds_nothing_where_asked_not_to(tmp_path):
    write_folder_atomically(tmp_path / "theirs", writer("x"), manifest=False)
    assert names(tmp_path / "theirs") == ["state"]


def test_write_folder_atomically_flushes_many_files_at_once(tmp_path, monkeypatch):
    flushes, syncs, fsync = [], [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda f: flushes.append(f) or fsync(f))
    monkeypatch.setattr(os, "sync", lambda: syncs.append(1))
    for n, expected in ((atomic.MANY - 1, 0), (atomic.MANY, 1)):
        flushes.clear()
        write_folder_atomically(
            tmp_path / f"{n}", lambda folder, n=n: [(folder / f"{i}").touch() for i in range(n)], manifest=False
        )
        assert len(syncs) == expected
        assert (len(flushes) > n) == (not expected)


def killed_between_the_renames(folder):
    rename = os.rename

    def rename_once(source, target):
        rename(source, target)
        os.kill(os.getpid(), signal.SIGKILL)

    os.rename = rename_once
    write_folder_atomically(folder / "export", writer("second"), keep_others=True)


def test_write_folder_atomically_brings_back_what_a_kill_left_aside(tmp_path):
    write_folder_atomically(tmp_path / "export", writer("first"))
    (tmp_path / "export" / "README.md").write_text("model card")
    assert in_process(killed_between_the_renames, tmp_path).exitcode == -signal.SIGKILL
    assert "export" not in names(tmp_path)
    write_folder_atomically(tmp_path / "export", writer("third"), keep_others=True)
    assert names(tmp_path) == ["export"]
    assert names(tmp_path / "export") == ["README.md", "SHA256SUMS", "state"]
