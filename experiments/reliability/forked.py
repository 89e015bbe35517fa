"""Run a verb of specmatch, or any function, in a forked child of this process, which has imported everything once.

A child starts in milliseconds, is alone with its file descriptors, and can be killed: at the n-th operation on files
below a folder, or after some seconds. It dies without cleaning up, as after SIGKILL from outside.
"""

import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

OPERATIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
"""Audit events that change a folder; `open` for writing is one more. Renaming over a file is `os.rename`."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "200"}
PR_SET_PDEATHSIG = 1
MEMORY = 16 << 30  # bytes of address space: what asks for more fails in the child, not in the machine


Command = Callable[[], Any]


@dataclass(frozen=True)
class Result:
    """How a child ended. code: None where a signal ended it. value: what the function returned, as JSON."""

    code: int | None
    signal: int | None
    output: str
    seconds: float
    timed_out: bool = False
    operations: int = 0
    value: Any = None

    @property
    def lines(self) -> list[str]:
        """Lines of the output that are not empty."""
        return [line for line in self.output.splitlines() if line.strip()]

    @property
    def last(self) -> str:
        """The last lines of the output, for a report."""
        return "\n".join(self.lines[-12:])[-1500:]


def preload() -> None:
    """Import what the verbs import, so that children need not."""
    os.environ.update(ENVIRONMENT)
    import gc
    import pkgutil
    from importlib import import_module

    import diffusers
    import torch

    import spectrum_matching

    for module in pkgutil.walk_packages(spectrum_matching.__path__, "spectrum_matching."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    _ = diffusers.AutoencoderKL
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page


def run_verb(arguments: Sequence[str], **options: Any) -> Result:
    """Run `specmatch ARGUMENTS` in a child and wait for its end; options as in `Child`."""
    return run(verb(arguments), **options)


def run(function: Command, **options: Any) -> Result:
    """Call a function in a child and wait for its end; options as in `Child`."""
    return Child(function, **options).wait()


def call_verb(arguments: Sequence[str], seconds: int = 20) -> Result:
    """Run `specmatch ARGUMENTS` in this process, which has to be a child: cheaper, where many are run in turn."""
    from spectrum_matching.cli.main import main

    output, started, code = io.StringIO(), time.monotonic(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            with alarm(seconds):
                main(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Hang:
            return Result(None, None, output.getvalue(), seconds, timed_out=True)
        except BaseException:
            traceback.print_exc(file=output)
            code = 1
    return Result(code, None, output.getvalue(), time.monotonic() - started)


class Hang(BaseException):
    """An input took longer than it may."""


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise Hang in the block after so many seconds."""

    def ring(number: int, frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again and again, in case that something catches it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def verb(arguments: Sequence[str]) -> Command:
    """Return a function that runs `specmatch ARGUMENTS`."""
    from spectrum_matching.cli.main import main

    return lambda: main(list(arguments))


class Child:
    """A running child. `wait` returns its result.

    kill_operation: SIGKILL before the n-th operation, from 1, on files below the folder `watched`. kill_after: SIGKILL
    after so many seconds. start_after: seconds of sleep before the function is called. timeout: seconds after which a
    child counts as hanging. folder: the working directory.
    """

    def __init__(
        self,
        function: Command,
        *,
        watched: Path | None = None,
        kill_operation: int | None = None,
        kill_after: float | None = None,
        start_after: float = 0.0,
        timeout: float = 60.0,
        folder: Path | None = None,
    ) -> None:
        self.kill_after, self.timeout = kill_after, timeout
        self.output, self.value, self.count = (TemporaryFile() for _ in range(3))  # noqa: SIM115 - closed by wait
        sys.stdout.flush()
        sys.stderr.flush()
        self.started = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            self._run(function, watched, kill_operation, start_after, folder)

    def _run(
        self,
        function: Command,
        watched: Path | None,
        kill_operation: int | None,
        start_after: float,
        folder: Path | None,
    ) -> None:
        """Live the child's life; never return."""
        code = 1
        try:
            os.setsid()
            with contextlib.suppress(AttributeError):  # Linux: do not outlive the campaign
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self.output.fileno(), 1)
            os.dup2(self.output.fileno(), 2)
            sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            if folder is not None:
                os.chdir(folder)
            if watched is not None:
                sys.addaudithook(_counter(os.path.abspath(watched), kill_operation, self.count))
            time.sleep(start_after)
            value = function()
            with contextlib.suppress(TypeError):
                os.pwrite(self.value.fileno(), json.dumps(value).encode(), 0)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code & 255)

    def wait(self) -> Result:
        """Wait for the end, killing the child when its time has come."""
        timed_out, pause = False, 0.001
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            now = time.monotonic() - self.started
            timed_out = now > self.timeout
            if timed_out or (self.kill_after is not None and now >= self.kill_after):
                # It may not have made its own group yet.
                for kill in (os.killpg, os.kill):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        kill(self.pid, signal.SIGKILL)
                _, status = os.waitpid(self.pid, 0)
                break
            left = float("inf") if self.kill_after is None else max(self.kill_after - now, 0.0)
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, 0.02)
        seconds = time.monotonic() - self.started
        output, value, count = (_read(file) for file in (self.output, self.value, self.count))
        code = os.waitstatus_to_exitcode(status)
        return Result(
            code if code >= 0 else None,
            -code if code < 0 else None,
            output.decode(errors="replace"),
            seconds,
            timed_out,
            int(count or 0),
            json.loads(value) if value else None,
        )


def _counter(folder: str, kill_operation: int | None, count: IO[bytes]) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that counts operations below the folder, and kills before one of them."""
    done, descriptor = 0, count.fileno()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        is_write = event == "open" and len(arguments) > 2 and bool((arguments[2] or 0) & WRITING)
        if not (is_write or event in OPERATIONS) or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if os.path.abspath(os.fsdecode(arguments[0])).startswith(folder):
            done += 1
            os.pwrite(descriptor, b"%08d" % done, 0)
            if done == kill_operation:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _read(file: IO[bytes]) -> bytes:
    with file:
        file.seek(0)
        return file.read()
