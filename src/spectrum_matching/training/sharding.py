"""Weights divided over processes, with their gradients, moments and averages: PyTorch's FSDP2, and back."""

from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from .optimization import TrainingState


def shard(state: TrainingState, networks: list[nn.Module], accelerator: Accelerator) -> None:
    """Divide these networks of a state over all processes, in place; whole states are loaded before.

    Blocks, the members of module lists, are gathered one by one when they run. All processes must call it; one alone
    keeps everything.
    """
    if accelerator.num_processes == 1:
        return
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for network in networks:
        before = list(network.parameters())
        for part in network.modules():
            for block in part if isinstance(part, nn.ModuleList) else ():
                fully_shard(block, mesh=mesh)
        # By default it stays gathered after a preview, and would not see the next update.
        fully_shard(network, mesh=mesh, reshard_after_forward=True)
        after = dict(zip(before, network.parameters(), strict=True))
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["params"] = [after.get(p, p) for p in group["params"]]
            for p in before:
                if p in optimizer.state:
                    moments = optimizer.state.pop(p)
                    optimizer.state[after[p]] = {name: _as(after[p], value) for name, value in moments.items()}
    if state.ema is not None:
        state.ema.foreach = False  # copies of lists of divided tensors are not implemented
        weights = list(state.exported.parameters())
        state.ema.shadow_params = [_as(p, value) for p, value in zip(weights, state.ema.shadow_params, strict=True)]


def whole_network(network: nn.Module) -> nn.Module:
    """Return a denoiser on the CPU with all of the weights, itself where these are not divided; in all processes."""
    if not any(isinstance(p, DTensor) for p in network.parameters()):
        return network
    kind: Any = next(base for base in type(network).__mro__ if base.__module__.startswith(__package__.split(".")[0]))
    whole: nn.Module = kind.from_config(network.config)
    whole.load_state_dict(gathered(network.state_dict()))
    return whole


def gathered(value: Any) -> Any:
    """Return a nested state in which divided tensors are whole and on the CPU; all processes must call it."""
    if isinstance(value, dict):
        return {key: gathered(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gathered(inner) for inner in value)
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _as(weight: Tensor, value: Tensor) -> Tensor:
    """Divide a value of a weight as the weight is; one of another shape, such as a count of steps, stays whole."""
    if not isinstance(weight, DTensor) or value.shape != weight.shape:
        return value
    return distribute_tensor(value.detach(), weight.device_mesh, weight.placements)
