"""Processes of one launch by torchrun or `accelerate launch`: how many there are, and what one decides for all."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .files.locks import exclusive

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

T = TypeVar("T")

RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LOCAL_RANKS = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")
"""Variables of launchers, in the order in which accelerate reads them."""

MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=7)  # one process may end hours after another, without communicating in between
ALONE = ("cpu", "mps")  # devices on which accelerate joins processes only where it is told to use the CPU


def usable_device(device: "torch.device | str") -> "torch.device":
    """Return a device by name, with its index.

    Raises:
        ValueError: when it cannot be used here.
    """
    import torch

    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = re.split(r"\.?\s*(?:\n|$)|\.\s", str(error), maxsplit=1)[0]  # the first sentence of torch's many
        raise ValueError(f"device {str(device)!r} cannot be used ({reason}); use cpu") from error


class AgreedError(ValueError):
    """An error that all processes of a launch raise alike, so that one of them shows it."""


@contextmanager
def agreed() -> Iterator[None]:
    """Turn a ValueError of the block, which all processes raise alike, into an AgreedError."""
    try:
        yield
    except ValueError as error:
        raise AgreedError(str(error)) from error


class Launch(NamedTuple):
    """Place of this process in its launch: its number among how many, and its number on its machine."""

    rank: int
    size: int
    local_rank: int


def launch() -> Launch:
    """Return the place of this process, as the environment gives it; without a launcher, the only one.

    Raises:
        ValueError: for variables that contradict each other, or do not say where the processes meet.
    """
    size, rank, local_rank = (_number(names) for names in (SIZES, RANKS, LOCAL_RANKS))
    if size is None or size[1] == 1:
        if rank is not None and rank[1] > 0:
            says = f"{size[0]} is 1" if size else f"{SIZES[0]} is not set"
            raise ValueError(f"{rank[0]} is {rank[1]}, but {says}: launch by torchrun, or unset both")
        return Launch(0, 1, 0)
    if size[1] < 1:
        raise ValueError(f"{size[0]} is {size[1]}, expected at least 1: launch by torchrun, or unset it")
    missing = [names[0] for names, found in ((RANKS, rank), (LOCAL_RANKS, local_rank)) if found is None]
    missing += [name for name in MEETING_POINT if not os.environ.get(name)]
    if rank is None or local_rank is None or missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(
            f"{size[0]} is {size[1]}, but {', '.join(missing)} {verb} not set: launch by torchrun, or unset {size[0]}"
        )
    if rank[1] >= size[1] or local_rank[1] > rank[1]:
        raise ValueError(
            f"{rank[0]} is {rank[1]} and {local_rank[0]} {local_rank[1]} of {size[1]} processes: launch by torchrun, "
            f"or unset {size[0]}"
        )
    return Launch(rank[1], size[1], local_rank[1])


def is_main_process() -> bool:
    """Return whether this process is the first, or the only one, of its launch."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def open_accelerator(**options: Any) -> "Accelerator":
    """Return the `Accelerator` of this process, joined with all others of its launch, on a CPU as well.

    options: of `Accelerator`.

    Raises:
        ValueError: where the processes that the environment promises cannot work together.
    """
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs

    place = launch()
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if place.size > 1:
        # Another launcher's names: torch and accelerate read these.
        os.environ |= {"RANK": str(place.rank), "WORLD_SIZE": str(place.size), "LOCAL_RANK": str(place.local_rank)}
        if device is not None and device.type not in ALONE and place.local_rank >= torch.accelerator.device_count():
            raise ValueError(
                f"process {place.local_rank + 1} of this machine has no {device.type} device of its own, of "
                f"{torch.accelerator.device_count()}: launch one for each, or hide them (CUDA_VISIBLE_DEVICES=)"
            )
    on_cpu = place.size > 1 and (device is None or device.type in ALONE)
    handlers = [InitProcessGroupKwargs(timeout=PATIENCE)]
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=handlers, **options)
    if accelerator.num_processes != place.size:
        raise ValueError(
            f"the environment says {place.size} processes, but {accelerator.num_processes} joined: launch by torchrun"
        )
    return accelerator


def in_main(accelerator: "Accelerator", work: Callable[[], Any]) -> Any:
    """Call `work` in the main process, and return its result, plain values, in all of them.

    All processes must call it.

    Raises:
        AgreedError: in all of several processes, with the text of the ValueError that `work` raised.
    """
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return work()
    told: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            told[0] = work()
        except ValueError as error:
            told[1] = str(error)
    result, why = broadcast_object_list(told)
    if why is not None:
        raise AgreedError(why)
    return result


def in_all(accelerator: "Accelerator", work: Callable[[], T]) -> T:
    """Call `work` in every process, and return its result there.

    All processes must call it, and `work` may not wait for other processes.

    Raises:
        AgreedError: in all of several processes, with the text of a ValueError that `work` raised in any of them.
    """
    from accelerate.utils import gather_object

    if accelerator.num_processes == 1:
        return work()
    why: str | None = None
    try:
        result = work()
    except ValueError as error:
        why = str(error)
    reasons = [reason for reason in gather_object([why]) if reason is not None]
    if reasons:
        raise AgreedError(reasons[0])
    return result


def require_alike(accelerator: "Accelerator", mine: Mapping[str, object]) -> None:
    """Check that all processes of a launch have the same data and networks; otherwise they would share other work.

    mine: what this process has, by name. All processes must call it.

    Raises:
        AgreedError: in all of them, naming what the first that differs from the main process has of its own.
    """
    from accelerate.utils import gather_object

    if accelerator.num_processes == 1:
        return
    first, *others = gather_object([{name: str(value) for name, value in mine.items()}])
    for number, theirs in enumerate(others, 1):
        differing = [
            f"{name} ({known} and {theirs.get(name)})" for name, known in first.items() if theirs.get(name) != known
        ]
        if differing:
            raise AgreedError(
                f"processes 0 and {number} of the launch do not start alike: {', '.join(differing)}; let all machines "
                f"see the same data and the same out"
            )


@contextmanager
def exclusive_output(accelerator: "Accelerator", path: Path) -> Iterator[None]:
    """Keep other commands from writing the output `path` until the block ends; the main process holds the lock.

    All processes must call it.

    Raises:
        ValueError: in all processes, naming who writes it already.
    """
    with ExitStack() as stack:

        def take() -> None:
            stack.enter_context(exclusive(path))

        in_main(accelerator, take)
        yield


def _number(names: tuple[str, ...]) -> tuple[str, int] | None:
    """Return the first of these variables that is set, with its value."""
    for name in names:
        if text := os.environ.get(name):
            if not text.isascii() or not text.isdecimal():
                raise ValueError(f"{name} is {text!r}, expected a number: launch by torchrun, or unset it")
            return name, int(text)
    return None
