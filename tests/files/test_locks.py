import errno
import fcntl
import json
import os
import signal
import stat

import pytest

from processes import start, statuses
from spectrum_matching.files import locks
from spectrum_matching.files.locks import exclusive, lock_of


def holding(out, held, then="pass", waiting=False):
    """Code that takes the lock of `out`, says so by a file, and does something before it lets go."""
    return f"""
        import os, time
        from pathlib import Path
        from spectrum_matching.files.locks import exclusive
        with exclusive(Path({str(out)!r}), waiting={waiting}):
            Path({str(held)!r}).touch()
            {then}
    """


def wait_for(path):
    while not path.exists():
        pass


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `out` until the file `go` is there."""
    then = f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)"
    process = start(holding(tmp_path / "out", tmp_path / "held", then))
    wait_for(tmp_path / "held")
    yield process
    process.kill()
    process.join()


def refused(path):
    with pytest.raises(ValueError, match="is being written by") as caught, exclusive(path):
        pass
    return str(caught.value)


def test_exclusive_refuses_a_second_process_and_names_the_first(tmp_path, holder):
    record = json.loads(lock_of(tmp_path / "out").read_text())
    assert (record["process"], record["host"]) == (holder.pid, os.uname().nodename)
    who = f"process {holder.pid}, started {record['started'][:19]}"
    said = f"{tmp_path / 'out'} is being written by {who}; wait for it or choose another --out"
    assert refused(tmp_path / "out") == said
    with exclusive(tmp_path / "other"):
        pass


def test_exclusive_is_of_a_place_not_of_a_name(tmp_path, holder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for name in ("out", "x/../out", "link"):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert f"process {holder.pid}" in refused(locks.Path(name))


def test_exclusive_waits_where_asked_to(tmp_path, holder):
    waits = start(holding(tmp_path / "out", tmp_path / "second", waiting=True))
    waits.join(0.3)
    assert waits.is_alive()
    assert not (tmp_path / "second").exists()
    (tmp_path / "go").touch()
    assert statuses(holder, waits) == [0, 0]
    assert (tmp_path / "second").exists()


def test_exclusive_frees_the_lock_of_a_killed_process_at_once(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert lock_of(tmp_path / "out").exists()
    with exclusive(tmp_path / "out"):
        assert json.loads(lock_of(tmp_path / "out").read_text())["process"] == os.getpid()
    assert not lock_of(tmp_path / "out").exists()


def test_exclusive_ends_with_its_process_though_a_forked_reader_lives_on(tmp_path):
    then = f"""
            if os.fork() == 0:
                Path({str(tmp_path / "child")!r}).write_text(str(os.getpid()))
                time.sleep(60)
            while not os.path.exists({str(tmp_path / "child")!r}): time.sleep(0.01)
            os.kill(os.getpid(), 9)"""
    process = start(holding(tmp_path / "out", tmp_path / "held", then.strip()))
    assert statuses(process) == [-signal.SIGKILL]
    child = int((tmp_path / "child").read_text())
    try:
        os.kill(child, 0)
        with exclusive(tmp_path / "out"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_exclusive_lets_one_in_at_a_time(tmp_path):
    code = f"""
        import os, time
        from pathlib import Path
        from spectrum_matching.files.locks import exclusive
        inside = Path({str(tmp_path / "inside")!r})
        for _ in range(200):
            with exclusive(Path({str(tmp_path / "out")!r}), waiting=True):
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another is inside
                inside.unlink()
    """
    assert statuses(*(start(code) for _ in range(3))) == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_exclusive_releases_after_an_error(tmp_path):
    def fail():
        with exclusive(tmp_path / "new" / "out"):
            assert (tmp_path / "new" / ".out.lock").exists()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_exclusive_follows_no_link_and_opens_files_alone(tmp_path, kind):
    lock, victim = lock_of(tmp_path / "out"), tmp_path / "victim"
    victim.write_text("mine")
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(victim if kind == "link" else tmp_path / "absent")
    with pytest.raises(ValueError, match=r"\.out\.lock"), exclusive(tmp_path / "out"):
        pass
    assert victim.read_text() == "mine"
    assert not (tmp_path / "absent").exists()


def test_exclusive_lies_within_a_folder_whose_parent_is_not_writable(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with exclusive(tmp_path / "out"):
        assert (tmp_path / "out" / ".lock").exists()
        assert stat.S_ISREG((tmp_path / "out" / ".lock").lstat().st_mode)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_exclusive_warns_once_where_there_are_no_locks(tmp_path, monkeypatch, caplog, code):
    def unsupported(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with exclusive(tmp_path / "out"):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        f"this file system has no locks: let no two commands write {tmp_path / 'out'} at once"
    ]
    assert list(tmp_path.iterdir()) == []
