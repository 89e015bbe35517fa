"""Processes that tests start: one that has everything imported and may be killed, and two of torchrun."""

import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

IMPORTED = [
    "spectrum_matching.cli.cache",
    "spectrum_matching.cli.evaluate",
    "spectrum_matching.cli.main",
    "spectrum_matching.cli.sample",
    "spectrum_matching.training.run_autoencoder",
    "spectrum_matching.training.run_diffusion",
    "tyro",
]


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
    """Run a file as a program in two processes of torchrun."""
    done = torchrun(file, *arguments)
    assert done.returncode == 0, done.stderr
