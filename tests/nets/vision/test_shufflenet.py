import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from spectrum_matching.files.digests import digest_files
from spectrum_matching.latents.encode import vision_encoder
from spectrum_matching.nets.vision.encoders import CPU_BATCH, IMAGENET_MEAN, IMAGENET_STD, canonical, open_vision
from spectrum_matching.nets.vision.extractors import open_extractor
from spectrum_matching.nets.vision.shufflenet import STAGES, ShuffleNet
from spectrum_matching.nets.vision.weights import read_weights
from spectrum_matching.training.autoencoder_config import MethodChoice

DATA = Path(__file__).parents[3].parent / "shared" / "data"
WEIGHTS = Path(os.environ.get("SPECMATCH_SHUFFLENET", DATA / "shufflenetv2_05" / "shufflenetv2_backbone.pth"))
PHOTOGRAPHS = DATA / "bsds500" / "val"


@pytest.fixture(scope="module")
def state():
    """Random weights in the file's format."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in ShuffleNet().state_dict().items():
        if tensor.ndim == 4:
            state[name] = torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        else:
            state[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
    return state


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "backbone.pth"
    torch.save(state, path)
    return path


def pictures(n=2, size=224, seed=1):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def convolved(x, state, convolution, norm, stride=1, groups=1, relu=True):
    """A convolution and a batch norm by their formulas."""
    weight = state[f"{convolution}.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    mean, var, scale, shift = (
        state[f"{norm}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    x = (x - mean) / (var + 1e-5).sqrt() * scale + shift
    return x.relu() if relu else x


def main_branch(x, state, name, stride):
    x = convolved(x, state, f"{name}.0", f"{name}.1")
    x = convolved(x, state, f"{name}.3", f"{name}.4", stride, x.shape[1], relu=False)
    return convolved(x, state, f"{name}.5", f"{name}.6")


def literal(images, state):
    """The network as its authors write it: pairs of channels are split by a shuffle before each unit."""
    x = convolved((images.flip(1) + 1) / 2, state, "first_conv.0", "first_conv.1", 2)
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, (n, _) in STAGES.items():
        c, name = x.shape[1], f"{stage}.0.branch_proj"
        side = convolved(x, state, f"{name}.0", f"{name}.1", 2, c, relu=False)
        side = convolved(side, state, f"{name}.2", f"{name}.3")
        x = torch.cat([side, main_branch(x, state, f"{stage}.0.branch_main", 2)], 1)
        for k in range(1, n):
            b, c, h, w = x.shape
            kept, passed = x.reshape(b, c // 2, 2, h, w).permute(2, 0, 1, 3, 4)
            x = torch.cat([kept, main_branch(passed, state, f"{stage}.{k}.branch_main", 1)], 1)
    return x


def test_shufflenet_equals_the_literal_network(file, state):
    network = ShuffleNet.from_weights(str(file))
    images = pictures(size=96)
    found, expected = network(images), literal(images, state)
    assert found.shape == (2, 192, 3, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    assert not found.requires_grad
    assert not any(module.training for module in network.modules())


def test_shufflenet_has_the_tensors_of_the_file(state):
    assert len(state) == 330
    assert state["stage4.0.branch_main.5.weight"].shape == (96, 96, 1, 1)
    assert state["stage2.0.branch_proj.0.weight"].shape == (24, 1, 3, 3)
    assert "stage3.7.branch_main.6.running_var" in state
    assert "stage3.8.branch_main.0.weight" not in state


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"stage3.2.branch_main.0.weight": None}, r"lacks 1 of 330 tensors of ShuffleNetV2 x 0.5"),
        ({"stage3.8.branch_main.0.weight": torch.ones(1)}, r"has 1 tensors that .* has not, first stage3.8"),
        ({"first_conv.0.weight": torch.ones(48, 3, 3, 3)}, r"is \(48, 3, 3, 3\), .* another network"),
    ],
)
def test_shufflenet_refuses_other_weights_in_one_line(state, tmp_path, change, complaint):
    other = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=complaint) as caught:
        open_vision(f"shufflenet:{tmp_path / 'other.pth'}")
    assert "\n" not in str(caught.value)
    assert "FastestDet" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "size", "complaint"),
    [
        ("shufflenet", None, "shufflenet needs weights: give shufflenet:PATH"),
        ("shufflenet:", None, "needs weights: give shufflenet:PATH"),
        ("shufflenet:/nowhere.pth", None, "no weights at /nowhere.pth: give shufflenet:PATH"),
        ("shufflenet:FILE", 100, "has patches of 32 pixels, which size 100 does not fit: give size 96 or 128"),
        ("shufflenet:FILE", 32, "give size 64"),
    ],
)
def test_open_vision_names_what_is_wrong_with_a_shufflenet(file, spec, size, complaint):
    with pytest.raises(ValueError, match=complaint):
        open_vision(spec.replace("FILE", str(file)), size=size)


def test_open_vision_gives_the_shufflenet_s_tokens(file):
    encoder, network = open_vision(f"shufflenet:{file}"), ShuffleNet.from_weights(str(file))
    assert (encoder.width, encoder.grid(512), encoder.digest) == (192, (7, 7), digest_files([file]))
    torch.testing.assert_close(encoder(pictures()).field, network(pictures()))
    small = F.interpolate(pictures(size=64), (224, 224), mode="bilinear", align_corners=False)
    torch.testing.assert_close(encoder(pictures(size=64)).field, network(small), rtol=1e-3, atol=1e-3)
    assert open_vision(f"shufflenet:{file}", size=448)(pictures()).grid == (14, 14)


def test_canonical_resolves_the_shufflenet_s_file(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert canonical("shufflenet:backbone.pth") == f"shufflenet:{file.resolve()}"
    assert canonical("shufflenet:nothing.pth") == "shufflenet:nothing.pth"


def test_open_extractor_pools_the_shufflenet_s_tokens(file):
    extractor, encoder = open_extractor(f"shufflenet:{file}"), open_vision(f"shufflenet:{file}")
    torch.testing.assert_close(extractor(pictures()), encoder(pictures()).tokens.mean(1))
    assert extractor.digest == encoder.digest
    with pytest.raises(ValueError, match="needs weights: give shufflenet:PATH"):
        open_extractor("shufflenet")


def test_shufflenet_serves_targets_and_va_vae(file):
    spec = f"shufflenet:{file}"
    targets = vision_encoder(spec, open_vision(spec), 64, torch.device("cpu"))
    assert targets.encode(pictures(size=64))["mean"].shape == (2, 192, 7, 7)
    method = MethodChoice("va_vae", encoder=spec).build(channels=4)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    loss = next(term.loss for term in method.terms if term.name == "features")(None, latents, pictures(size=64))
    assert 0 < loss.item() < 2.5


@pytest.mark.skipif(not (WEIGHTS.is_file() and PHOTOGRAPHS.is_dir()), reason="needs ShuffleNetV2's weights and BSDS500")
def test_shufflenet_sees_photographs_as_in_training():
    """Inputs of every batch norm have the mean that it kept; those of images in another range or order do not."""
    photographs = []
    for path in sorted(PHOTOGRAPHS.glob("*.jpg"))[::10]:
        with Image.open(path) as image:
            left, top = (image.width - 320) // 2, (image.height - 320) // 2
            photographs.append(
                np.array(image.convert("RGB").crop((left, top, left + 320, top + 320)).resize((224, 224)))
            )
    images = torch.from_numpy(np.stack(photographs)).permute(0, 3, 1, 2) / 127.5 - 1
    network = ShuffleNet()  # opened, it has its batch norms in the convolutions
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(read_weights(str(WEIGHTS), shapes, "ShuffleNetV2", "", others="refuse"))

    def misfit(x):
        found = []

        def compare(norm, inputs):
            alive = norm.running_var > 1e-6
            gap = inputs[0].mean((0, 2, 3)) - norm.running_mean
            found.append(float((gap[alive].square() / norm.running_var[alive]).mean()))

        hooks = [m.register_forward_pre_hook(compare) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        network(x)
        for hook in hooks:
            hook.remove()
        return found

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    right, red_first, normalised = map(misfit, (images, images.flip(1), 2 * ((images + 1) / 2 - mean) / std - 1))
    assert right[0] < 0.05 < red_first[0]
    assert max(right) < 0.5
    assert min(normalised[0], max(normalised)) > 1


@pytest.mark.parametrize("n", [0, CPU_BATCH, CPU_BATCH + 1])
def test_tokens_do_not_depend_on_the_images_beside(file, n):
    encoder = open_vision(f"shufflenet:{file}", size=64)
    images = pictures(n, 32)
    tokens = encoder(images).tokens
    assert tokens.shape == (n, 4, 192)
    for image, own in zip(images, tokens, strict=True):
        torch.testing.assert_close(own, encoder(image[None]).tokens[0])
