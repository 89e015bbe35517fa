"""Processes that tests start: one that has everything imported and may be killed, and two of torchrun."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

IMPORTED = [
    "spectrum_matching.cli.cache",
    "spectrum_matching.cli.main",
    "spectrum_matching.cli.sample",
    "spectrum_matching.training.run_autoencoder",
    "spectrum_matching.training.run_diffusion",
    "tyro",
]


def start(code, kill_at=0, limit=0):
    """Start Python code in a process that has everything imported already; return the process.

    kill_at: the flush to the disk, from 1, at which it kills itself. limit: bytes that a file can hold. 0: none.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=_run, args=(textwrap.dedent(code), kill_at, limit))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # another number of threads gives other roundings
        process.start()
    return process


def _run(code, kill_at, limit):
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


def run_in_two(file, *arguments):
    """Run a file as a program in two processes of torchrun, on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*command, file, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
