"""Which machine, which versions, which code: what every number here is printed with."""

import platform
from pathlib import Path

import torch

from spectrum_matching.records.provenance import commit


def describe() -> dict[str, str | int]:
    """Plain facts, in print order."""
    cpu = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = (line.split(":", 1) for line in facts.read_text().splitlines() if line.startswith("model name"))
        cpu = next((value.strip() for _, value in lines), cpu)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    card: dict[str, str | int] = {}
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        card = {"cuda": torch.version.cuda or "", "cudnn": torch.backends.cudnn.version() or 0, "memory": memory}
    return {
        "device": device,
        **card,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
    }
