"""Checks of the weights: which loaded, which are finite, and which are still those of a new network."""

import math

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ...records.diagnosis import Outcome
from .examination import Examination, fine, listed, look, skipped, wrong

MIN_WEIGHTS = 256
"""Layers of fewer weights are not judged: their largest lies too far from the bound of a uniform distribution."""

ROUNDING = 1 / 256
"""A weight saved as bfloat16 is rounded by at most this share."""


def loaded(case: Examination) -> Outcome:
    """Compare the names of the tensors in the files with those of the network."""
    lacking = f"{len(case.missing)} tensors are not in the files ({listed(case.missing)})"
    spare = f"{len(case.unexpected)} in the files are not the network’s ({listed(case.unexpected)})"
    if case.missing:
        evidence = lacking + (f"; {spare}" if case.unexpected else "")
        fix = (
            "rename the tensors in the files, or correct the layers in config.json"
            if case.unexpected
            else ("save the whole network again with save_pretrained, or download its files again")
        )
        return wrong("Not all weights loaded.", f"{evidence}.", fix)
    if case.unexpected:
        return look(
            "Some weights in the files were not used.",
            f"{spare}.",
            "compare the number of layers in config.json with these names; delete the tensors if they are of no use",
        )
    return fine("Nothing is missing or left over, as far as the loader tells.")


def finite_weights(case: Examination) -> Outcome:
    """Look for NaN and infinity among the weights and buffers."""
    tensors = dict(case.model.state_dict())
    bad = [name.partition(".")[2] for name, x in tensors.items() if x.is_floating_point() and not x.isfinite().all()]
    if bad:
        return wrong(
            "Some weights are NaN or infinite.",
            f"{len(bad)} of {len(tensors)} tensors: {listed(bad)}.",
            "take an earlier checkpoint; if these were saved as float16, save them as float32 or bfloat16",
        )
    return fine(f"All {len(tensors)} tensors are finite.")


RELOAD = "load these layers too: load_state_dict(state, strict=True) names the tensors that do not fit"


def initial_weights(case: Examination) -> Outcome:
    """Look for layers that run and still have the weights that PyTorch gives to a new layer, or none at all."""
    layers = {name: layer for name, layer in case.layers.items() if name in case.peaks}
    judged = {name: layer.weight for name, layer in layers.items() if isinstance(layer, nn.Linear | _ConvNd)}
    judged = {name: weight for name, weight in judged.items() if weight.numel() >= MIN_WEIGHTS}
    initial = [name for name, weight in judged.items() if is_initial(weight)]
    norms = [name for name, layer in layers.items() if _is_new_norm(layer)]
    if initial:
        everything = len(initial) == len(judged)
        return wrong(
            "The network is untrained." if everything else "Some layers that run are untrained.",
            f"{len(initial)} of {len(judged)} layers have weights like those of a new layer (uniform up to the bound "
            f"that PyTorch draws from, or zero): {listed(initial)}.",
            f"{'load trained weights' if everything else RELOAD}; after a few updates weights still look like this",
        )
    if norms and len(norms) < len([layer for layer in layers.values() if isinstance(layer, NORMS)]):
        return look(
            "Some normalisation layers have the weights of a new one.",
            f"{len(norms)} have weight 1 and bias 0 everywhere, while others of the network do not: {listed(norms)}.",
            RELOAD,
        )
    if not judged:
        return skipped("no layer that runs is large enough to tell a new one from a trained one")
    return fine(f"None of {len(judged)} layers has the weights of a new one.")


def batch_norm(case: Examination) -> Outcome:
    """Look for batch norms whose running statistics were never written."""
    norms = {
        name: (layer.running_mean, layer.running_var)
        for name, layer in case.layers.items()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None
    }
    if not norms:
        return skipped("there are no batch-norm statistics")
    new = [name for name, (mean, variance) in norms.items() if not mean.any() and bool((variance == 1).all())]
    if new:
        return wrong(
            "Batch-norm statistics are those of a new layer.",
            f"{len(new)} of {len(norms)} have running_mean 0 and running_var 1 everywhere: {listed(new)}.",
            "copy running_mean and running_var from the trained checkpoint: they are buffers, so that "
            "model.parameters() leaves them out and model.state_dict() has them",
        )
    return fine(f"All {len(norms)} batch norms have statistics of their own.")


NORMS = (nn.GroupNorm, nn.LayerNorm, _BatchNorm)


def _is_new_norm(layer: nn.Module) -> bool:
    if not isinstance(layer, NORMS) or layer.weight is None or layer.bias is None:
        return False
    return bool((layer.weight == 1).all() and (layer.bias == 0).all())


def is_initial(weight: Tensor) -> bool:
    """Return whether a weight (out, in, …) is as drawn for a new layer: zero, or uniform up to a known bound.

    The bounds are those of `nn.Linear` and convolutions (Kaiming with a = √5), of Xavier, and of Kaiming for ReLU. Of n
    uniform numbers the largest lies within 20/n of the bound but for a chance of e⁻²⁰; one step of training moves
    some beyond it. Mean and mean square have to be those of a uniform distribution, to five standard errors.
    """
    magnitudes = weight.detach().cpu().double().abs().flatten()
    largest, n = float(magnitudes.max()), len(magnitudes)
    if largest == 0:
        return True
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    for bound in (1 / math.sqrt(fan_in), math.sqrt(6 / (fan_in + fan_out)), math.sqrt(6 / fan_in)):
        if not (1 - 20 / n) * (1 - ROUNDING) <= largest / bound <= 1 + ROUNDING:
            continue
        shares = magnitudes / bound
        mean, square = float(shares.mean()), float(shares.square().mean())
        if abs(mean - 1 / 2) < 5 * math.sqrt(1 / 12 / n) + ROUNDING and (
            abs(square - 1 / 3) < 5 * math.sqrt(4 / 45 / n) + ROUNDING
        ):
            return True
    return False
