"""Two processes that wrap a model in DistributedDataParallel, against one process with the joined batch."""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from processes import run_in_two
from spectrum_matching.methods import esm_dsm, reconstruct


def model():
    """A small autoencoder that returns a pair (mean, logvar)."""
    torch.manual_seed(0)
    net = nn.Module()
    net.down, net.up = nn.Conv2d(3, 8, 4, 4), nn.ConvTranspose2d(4, 3, 4, 4)
    net.encode = lambda x: net.down(x).chunk(2, dim=1)
    net.decode = net.up.forward
    return net


def images():
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def gradient(wrapped, x):
    """The gradient of a step of ESM and DSM at posterior means, which it leaves in the weights."""
    method = esm_dsm(0.1, keep=(5,))
    result = reconstruct(wrapped, method, x, torch.Generator().manual_seed(2), sample=False)
    loss = (result.output - result.target).square().mean()
    (loss + method.weigh(method.encoding_losses(result.posterior, result.latents, result.images))).backward()
    return torch.cat([weight.grad.flatten() for weight in wrapped.parameters() if weight.grad is not None])


@pytest.mark.slow
def test_reconstruct_averages_gradients_over_processes(tmp_path):
    run_in_two(__file__, tmp_path)
    two = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    joined = gradient(model(), images())
    assert torch.equal(two[0]["within"], two[1]["within"])
    torch.testing.assert_close(two[0]["within"], joined, rtol=1e-4, atol=1e-6)
    # What goes wrong without the wrapper's forward: each process has a gradient of its own.
    assert (two[0]["around"] - two[1]["around"]).norm() > 0.1 * joined.norm()


def main(out):
    """What each process does."""
    torch.distributed.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    mine, (within, around) = images()[4 * rank : 4 * rank + 4], (DistributedDataParallel(model()) for _ in range(2))
    found = {"within": gradient(within, mine), "around": gradient(around.module, mine)}
    torch.save(found, out / f"{rank}.pt")
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads may wait for each other where one process ends before the other


if __name__ == "__main__":
    main(Path(sys.argv[1]))
