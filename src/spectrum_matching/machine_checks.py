"""What must hold of the machine before a verb does any work."""

import torch


def chosen_device(name: str) -> torch.device:
    """ "auto": an accelerator of CUDA's where there is one. ValueError for a device that cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({why}); cpu always can") from error
