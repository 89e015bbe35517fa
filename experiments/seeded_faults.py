"""Which faults does `specmatch doctor` find, and does it leave sound autoencoders alone?

    python experiments/seeded_faults.py

Seeds each fault of `FAULTS` into the tiny autoencoder of Stable Diffusion 1 (examples/tae_family.py, weights in
`data/`), examines it on coloured crops of the embedded photographs, and examines five sound latent spaces on the images
that the command takes. Writes experiments/results/seeded_faults.json and prints the table of docs/doctor.md.
"""

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import dropout

from spectrum_matching.analysis.doctor import examine
from spectrum_matching.data import open_images
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.loading import load
from spectrum_matching.records.diagnosis import Diagnosis
from spectrum_matching.records.provenance import commit

RESULT = Path(__file__).parent / "results" / "seeded_faults.json"
SOUND = {
    **{f"tiny {name}": f"python:examples/tae_family.py:{name}" for name in ("taesd", "taesdxl", "taesd3", "taef1")},
    "tiny taef2": "python:examples/taef2_autoencoder.py:taef2",
}
SIDE, N_IMAGES = 48, 4


class Fault(NamedTuple):
    """What is done to a sound network, the check that has to find it, and a part of the sentence that names it."""

    seed: Callable[[Any], Any]
    check: str
    named: str


class Wired:
    """A network behind code of a user's own, which may be wrong at four places; with what it declares."""

    def __init__(self, net: Any, **declared: Any) -> None:
        self.net, self.places = net, {}
        for name, value in declared.items():
            if name in ("images_in", "latents_out", "latents_in", "images_out"):
                self.places[name] = value
            else:
                setattr(self, name, value)

    def encode(self, images: Tensor) -> Any:
        return self._at("latents_out", self.net.encode(self._at("images_in", images)).latents)

    def decode(self, latents: Tensor) -> Tensor:
        return self._at("images_out", self.net.decode(self._at("latents_in", latents)).sample)

    def _at(self, place: str, x: Tensor) -> Any:
        return self.places.get(place, lambda x: x)(x)


def wired(**declared: Any) -> Callable[[Any], Wired]:
    """Return the fault of code with these mistakes."""
    return lambda net: Wired(net, **declared)


def changed(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    """Return the fault of a network changed in place."""

    def seed(net: Any) -> Any:
        with torch.no_grad():
            change(net)
        return net

    return seed


def reset(module: nn.Module) -> None:
    """Give a module's layers the weights of new ones, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()


def saved(edit: Callable[[dict[str, Tensor]], object]) -> Callable[[Any], Any]:
    """Return the fault of a file that was edited: what `load` gives of it."""

    def seed(net: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            net.save_pretrained(folder)
            file = Path(folder) / "diffusion_pytorch_model.safetensors"
            tensors = load_file(file)
            edit(tensors)
            save_file(tensors, file, metadata={"format": "pt"})
            return load(folder, incomplete=True)

    return seed


def renamed(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if name.startswith("decoder.layers.3.")]:
        tensors[name.replace("layers", "blocks")] = tensors.pop(name)


def halve_layers(net: Any) -> None:
    """A pair of convolutions in a block works 10⁶ times larger in between: the same function, beyond float16."""
    first, _, second, *_ = net.decoder.layers[3].conv
    first.weight.mul_(1e6), first.bias.mul_(1e6)
    second.weight.div_(1e6)


def with_decoder_of(other: str) -> Callable[[Any], Any]:
    def seed(net: Any) -> Any:
        net.decoder = load(SOUND[other]).model.decoder
        return net

    return seed


def only_even(latents: Tensor) -> Tensor:
    if latents.shape[-1] % 2 or latents.shape[-2] % 2:
        raise RuntimeError("Sizes of tensors must match except in dimension 1")
    return latents


def packed_out_of_order(net: Any) -> Wired:
    """Statistics of 2 × 2 packed latents, saved position by position in place of channel by channel."""
    latents = net.encode(crops()).latents
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3)) * torch.tensor([1.0, 4.0, 0.25, 1.0])
    places = {"latents_out": lambda z: z * SPREAD, "latents_in": lambda z: z / SPREAD}
    space = LatentSpace("packed", tuple((mean * SPREAD.flatten()).tolist() * 4), tuple(std.tolist() * 4), patch=2)
    return Wired(net, latent_space=space, **places)


SPREAD = torch.tensor([1.0, 4.0, 0.25, 1.0]).view(1, 4, 1, 1)


class Normed(Wired):
    """Latents packed and normalised by a batch norm whose statistics nobody copied, as in FLUX.2."""

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        self.bn = nn.BatchNorm2d(16, affine=False)
        std = (self.bn.running_var + self.bn.eps).sqrt()
        self.latent_space = LatentSpace("packed", tuple(self.bn.running_mean.tolist()), tuple(std.tolist()), patch=2)


def mean_and_logvar(scale: float, logvar: float) -> dict[str, Callable[[Tensor], Any]]:
    return {
        "latents_out": lambda z: SimpleNamespace(mean=z * scale, logvar=torch.full_like(z, logvar)),
        "latents_in": lambda z: z / scale,
    }


def set_scale(scale: float) -> Callable[[Any], object]:
    return lambda net: net.register_to_config(scaling_factor=scale)


def pad_by_reflection(net: Any) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "reflect"


FAULTS = {
    "a tensor missing in the file": Fault(
        saved(lambda tensors: tensors.pop("decoder.layers.3.conv.0.weight")), "loaded", "Not all weights loaded"
    ),
    "a block renamed in the file": Fault(saved(renamed), "loaded", "Not all weights loaded"),
    "tensors left over in the file": Fault(
        saved(lambda tensors: tensors.update({"encoder.quant.weight": torch.zeros(1)})), "loaded", "were not used"
    ),
    "NaN in one weight": Fault(
        changed(lambda net: net.encoder.layers[4].conv[0].weight[0, 0, 0, 0].fill_(torch.nan)), "finite-weights", "NaN"
    ),
    "all weights new": Fault(changed(reset), "initial-weights", "The network is untrained"),
    "a decoder block new": Fault(
        changed(lambda net: reset(net.decoder.layers[3])), "initial-weights", "Some layers that run are untrained"
    ),
    "blue, green, red at the encoder": Fault(
        wired(images_in=lambda x: x.flip(1)), "wiring", "The encoder takes blue, green, red"
    ),
    "blue, green, red at the decoder": Fault(
        wired(images_out=lambda x: x.flip(1)), "wiring", "The decoder returns blue, green, red"
    ),
    "[0, 1] not declared": Fault(
        wired(images_in=lambda x: 2 * x - 1, images_out=lambda x: x / 2 + 0.5),
        "wiring",
        "takes images in [0, 1], the decoder returns [0, 1]",
    ),
    "[0, 255] not declared": Fault(
        wired(images_in=lambda x: x / 127.5 - 1, images_out=lambda x: (x + 1) * 127.5),
        "wiring",
        "takes images in [0, 255], the decoder returns [0, 255]",
    ),
    "the decoder returns [0, 1]": Fault(
        wired(images_out=lambda x: x / 2 + 0.5), "wiring", "the decoder returns [0, 1]"
    ),
    "pictures mirrored": Fault(wired(images_out=lambda x: x.flip(-1)), "wiring", "mirrored"),
    "height and width of latents exchanged": Fault(
        wired(latents_out=lambda z: z.mT), "wiring", "takes latents with height and width exchanged"
    ),
    "height and width of pictures exchanged": Fault(
        wired(images_out=lambda x: x.mT), "wiring", "come back with height and width exchanged"
    ),
    "negatives": Fault(wired(images_out=lambda x: -x), "wiring", "negatives"),
    "a scale at the encoder alone": Fault(
        wired(latents_out=lambda z: z / 4), "wiring", "takes latents 4 times as large"
    ),
    "a decoder of normalised latents": Fault(
        wired(scaling_factor=0.5, shift_factor=3.0, latents_out=lambda z: 2 * z + 3), "wiring", "normalised as declared"
    ),
    "the decoder of another model": Fault(with_decoder_of("tiny taesdxl"), "reconstruction", ""),
    "a decoder that ignores its latents": Fault(
        wired(latents_in=torch.zeros_like), "reconstruction", "ignores its latents"
    ),
    "pictures saturated": Fault(wired(images_out=lambda x: (8 * x).clamp(-1, 1)), "reconstruction", "saturated"),
    "padding mode lost": Fault(changed(pad_by_reflection), "padding", "were trained with zeros"),
    "scaling factor 4 times too large": Fault(changed(set_scale(6.0)), "scale", "too large"),
    "scaling factor inverted": Fault(changed(set_scale(0.63)), "scale", "Divided in place of multiplied"),
    "shift not declared": Fault(
        wired(scaling_factor=1.6, latents_out=lambda z: z + 4, latents_in=lambda z: z - 4), "scale", "are off"
    ),
    "packed statistics out of order": Fault(packed_out_of_order, "packing", "another order"),
    "batch-norm statistics missing": Fault(Normed, "batch-norm", "those of a new layer"),
    "a channel dead": Fault(
        changed(lambda net: (net.encoder.layers[-1].weight[2].zero_(), net.encoder.layers[-1].bias[2].zero_())),
        "channels",
        "Some channels are dead",
    ),
    "an encoder that ignores images": Fault(wired(images_in=torch.zeros_like), "channels", "ignores the images"),
    "posterior collapsed": Fault(wired(**mean_and_logvar(1e-3, 0.0)), "posterior", "collapsed in all channels"),
    "log-variance exploded": Fault(wired(**mean_and_logvar(1.0, 20.0)), "posterior", "exploded"),
    "float16 overflow": Fault(changed(halve_layers), "half-precision", "overflows in float16"),
    "random encoder": Fault(
        wired(latents_out=lambda z: z + 0.05 * torch.randn_like(z)), "determinism", "Encode draws random numbers"
    ),
    "dropout left on": Fault(wired(latents_in=lambda z: dropout(z, 0.02)), "determinism", "Decode draws"),
    "statistics over the batch": Fault(
        wired(latents_out=lambda z: z - 0.1 * z.mean((0, 2, 3), keepdim=True)), "batches", "rest of the batch"
    ),
    "odd sizes crash": Fault(wired(latents_in=only_even), "sizes", "fails at a size"),
    "tiles without overlap": Fault(
        changed(lambda net: setattr(net, "tile_overlap_factor", 0.0)), "tiling", "Tiles leave seams"
    ),
}


def crops() -> Tensor:
    """Return coloured crops of the embedded photographs, (4, 3, 48, 48)."""
    images = open_images("embedded", SIDE, split="held_out")
    rows = (images[index].image for index in range(len(images)))
    coloured = (row for row in rows if (row[0] - row[2]).abs().mean() > 0.05)
    return torch.stack([next(coloured) for _ in range(N_IMAGES)])


def diagnose(fault: Fault, net: Any, images: Tensor) -> Diagnosis:
    """Seed a fault into a copy of a sound network, and examine it."""
    faulty = fault.seed(copy.deepcopy(net))
    names: dict[str, Any] = {}
    if hasattr(faulty, "missing"):
        faulty, names = faulty.model, {"missing": faulty.missing, "unexpected": faulty.unexpected}
    return examine(faulty, images, **names)


def row(name: str, diagnosis: Diagnosis) -> dict[str, Any]:
    """Return what was found of a fault, and whether it was the right thing."""
    fault = FAULTS[name]
    found = [outcome for outcome in diagnosis.outcomes if outcome.level in ("look", "wrong")]
    seen = next((outcome for outcome in found if outcome.check == fault.check), None)
    return {
        "name": name,
        "check": fault.check,
        "level": seen.level if seen else "missed",
        "verdict": seen.verdict if seen else "",
        "named": bool(seen and fault.named in seen.verdict),
        "others": [f"{outcome.check}: {outcome.verdict}" for outcome in found if outcome is not seen],
    }


def table(document: dict[str, Any]) -> str:
    """Format the faults as Markdown."""
    lines = ["| fault | found by | as | what it says |", "|---|---|---|---|"]
    lines += [f"| {r['name']} | `{r['check']}` | {r['level']} | {r['verdict']} |" for r in document["faults"]]
    return "\n".join(lines)


def main() -> None:
    """Seed, examine, save and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    net, images = load(SOUND["tiny taesd"]).model, crops()
    faults = []
    for name, fault in FAULTS.items():
        faults.append(row(name, diagnose(fault, net, images)))
        print(faults[-1], file=sys.stderr, flush=True)
    embedded = open_images("embedded", 64, split="held_out")
    sound = {}
    for name, source in SOUND.items():
        outcomes = examine(Autoencoder.from_pretrained(source), embedded, name=name).outcomes
        sound[name] = [f"{o.check}: {o.verdict}" for o in outcomes if o.level in ("look", "wrong")]
    document = {
        "question": "seeded_faults",
        "command": "python experiments/seeded_faults.py",
        "commit": commit(),
        "torch": torch.__version__,
        "n_faults": len(faults),
        "n_named": sum(fault["named"] for fault in faults),
        "faults": faults,
        "sound": sound,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))


if __name__ == "__main__":
    main()
