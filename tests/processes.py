"""Processes that tests start: one that has everything imported and may be killed, and two of a launch."""

import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

IMPORTED = [
    *(f"spectrum_matching.cli.{name}" for name in ("cache", "evaluate", "main", "options", "sample", "study")),
    *("spectrum_matching.cli.train_ae", "spectrum_matching.cli.train_diffusion"),
    *("spectrum_matching.training.run_autoencoder", "spectrum_matching.training.run_diffusion"),
    *("matplotlib.backends.backend_svg", "matplotlib.figure", "torchmetrics.functional.image", "typeguard", "tyro"),
]
"""What commands import, also late: two seconds that each process would spend again."""


def start(code, kill_at=0, limit=0, **variables):
    """Start Python code in a process that has everything imported already; return the process.

    kill_at: the flush to the disk, from 1, at which it kills itself. limit: bytes that a file can hold. 0: none.
    variables: of its environment.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=_run, args=(textwrap.dedent(code), kill_at, limit, variables))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # another number of threads gives other roundings
        process.start()
    return process


def _run(code, kill_at, limit, variables):
    os.environ |= variables
    flush, count = os.fsync, [0]

    def fsync(descriptor):
        count[0] += 1
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    exec(code, {})


def start_two(code, **options):
    """Start Python code in two processes with the environment that torchrun gives; return the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(code, **options, **world, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]


def statuses(*processes):
    """Wait until processes have ended; return their exit statuses."""
    for process in processes:
        process.join(600)
    return [process.exitcode for process in processes]


def launched(launcher, *words):
    """Run a launcher's module with these words, as a user does, and return what it did."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", launcher, *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        timeout=900,
    )


def torchrun(*words):
    """Run a Python program, `FILE …` or `-m MODULE …`, in two processes of plain torchrun."""
    return launched("torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words)


def run_in_two(file, *arguments):
    """Run a file as a program in two processes with the environment that torchrun gives."""
    with TemporaryDirectory() as folder:
        code = f"""
            import os, runpy, sys
            os.dup2(os.open({folder!r} + "/" + os.environ["RANK"], os.O_WRONLY | os.O_CREAT), 2)
            sys.argv = {[str(file), *map(str, arguments)]!r}
            runpy.run_path({str(file)!r}, run_name="__main__")
        """
        found = statuses(*start_two(code))
        assert found == [0, 0], "\n".join(path.read_text() for path in sorted(Path(folder).iterdir()))
