import pytest
import torch
from torch.nn import functional

from devices import Device
from spectrum_matching.nets.vision.inception import Inception, InceptionOutput, tensorflow_bilinear

# Layers by the names of the published state dict: (channels in, out, rows, columns).
LAYERS = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
    "Mixed_5b.branch5x5_2": (48, 64, 5, 5),
    "Mixed_5c.branch_pool": (256, 64, 1, 1),
    "Mixed_5d.branch1x1": (288, 64, 1, 1),
    "Mixed_6a.branch3x3": (288, 384, 3, 3),
    "Mixed_6a.branch3x3dbl_3": (96, 96, 3, 3),
    "Mixed_6b.branch7x7_2": (128, 128, 1, 7),
    "Mixed_6c.branch7x7dbl_4": (160, 160, 7, 1),
    "Mixed_6e.branch7x7dbl_5": (192, 192, 1, 7),
    "Mixed_7a.branch7x7x3_4": (192, 192, 3, 3),
    "Mixed_7b.branch3x3_2b": (384, 384, 3, 1),
    "Mixed_7c.branch3x3dbl_3a": (384, 384, 1, 3),
    "Mixed_7c.branch_pool": (2048, 192, 1, 1),
}
# The published 27,161,264 of torchvision's, without its auxiliary classifier, with 1008 classes in place of 1000.
N_PARAMETERS = 27_161_264 - 3_326_696 + 8 * 2049


@pytest.fixture(scope="module")
def weights():
    """Random weights under the published names, such that activations neither vanish nor grow."""
    from spectrum_matching.nets.vision import inception

    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, like in torch.nn.ModuleDict(inception._graph()).state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(like.shape, generator=generator)
        if name.endswith("conv.weight"):
            found[name] = noise * (2 / like[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            found[name] = 1 + 0.1 * noise.abs()
        else:
            found[name] = 0.05 * noise
    return found


@pytest.fixture(scope="module")
def saved(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def network(saved):
    return Inception.from_weights(saved)


def literal(state, images):
    """The graph written out from its description, without a module."""

    def conv(x, name, stride=1, padding=0):
        x = functional.conv2d(x, state[f"{name}.conv.weight"], None, stride, padding)
        bn = [state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return functional.relu(functional.batch_norm(x, *bn, False, 0.0, 0.001))

    def pool_branch(x, name, maximum=False):
        pooled = (
            functional.max_pool2d(x, 3, 1, 1) if maximum else functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        )
        return conv(pooled, f"{name}.branch_pool")

    def chain(x, name, *layers):
        for layer, stride, padding in layers:
            x = conv(x, f"{name}.{layer}", stride, padding)
        return x

    def dbl3(x, name, stride, padding):
        layers = ("branch3x3dbl_1", 1, 0), ("branch3x3dbl_2", 1, 1), ("branch3x3dbl_3", stride, padding)
        return chain(x, name, *layers)

    x = ((images + 1) * 127.5 - 128) / 128
    x = conv(x, "Conv2d_1a_3x3", 2)
    x = conv(conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3", padding=1)
    x = functional.max_pool2d(x, 3, 2)
    x = conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
    x = functional.max_pool2d(x, 3, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        fives = chain(x, name, ("branch5x5_1", 1, 0), ("branch5x5_2", 1, 2))
        x = torch.cat([conv(x, f"{name}.branch1x1"), fives, dbl3(x, name, 1, 1), pool_branch(x, name)], 1)
    x = torch.cat([conv(x, "Mixed_6a.branch3x3", 2), dbl3(x, "Mixed_6a", 2, 0), functional.max_pool2d(x, 3, 2)], 1)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        one = conv(x, f"{name}.branch1x1")
        if name == "Mixed_6d":
            spatial = one[:, :7]
        row, column = (0, 3), (3, 0)
        seven = chain(x, name, ("branch7x7_1", 1, 0), ("branch7x7_2", 1, row), ("branch7x7_3", 1, column))
        paddings = zip(range(1, 6), (0, column, row, column, row), strict=True)
        double = chain(x, name, *((f"branch7x7dbl_{i}", 1, padding) for i, padding in paddings))
        x = torch.cat([one, seven, double, pool_branch(x, name)], 1)
    three = chain(x, "Mixed_7a", ("branch3x3_1", 1, 0), ("branch3x3_2", 2, 0))
    layers = (("branch7x7x3_1", 1, 0), ("branch7x7x3_2", 1, (0, 3)), ("branch7x7x3_3", 1, (3, 0)))
    seven = chain(x, "Mixed_7a", *layers, ("branch7x7x3_4", 2, 0))
    x = torch.cat([three, seven, functional.max_pool2d(x, 3, 2)], 1)
    for name in ("Mixed_7b", "Mixed_7c"):
        parts = [conv(x, f"{name}.branch1x1")]
        three = conv(x, f"{name}.branch3x3_1")
        double = conv(conv(x, f"{name}.branch3x3dbl_1"), f"{name}.branch3x3dbl_2", padding=1)
        for fork, stem in ((three, "branch3x3_2"), (double, "branch3x3dbl_3")):
            parts += [conv(fork, f"{name}.{stem}a", padding=(0, 1)), conv(fork, f"{name}.{stem}b", padding=(1, 0))]
        x = torch.cat([*parts, pool_branch(x, name, maximum=name == "Mixed_7c")], 1)
    features = functional.adaptive_avg_pool2d(x, 1).flatten(1)
    return InceptionOutput(features, spatial.permute(0, 2, 3, 1).flatten(1), features @ state["fc.weight"].T)


def test_inception_weights_have_the_published_names_and_sizes(weights):
    assert {name: tuple(weights[f"{name}.conv.weight"].shape) for name in LAYERS} == {
        name: (n_out, n_in, rows, columns) for name, (n_in, n_out, rows, columns) in LAYERS.items()
    }
    assert tuple(weights["fc.weight"].shape) == (1008, 2048)
    assert sum(value.numel() for name, value in weights.items() if "running" not in name) == N_PARAMETERS
    assert len([name for name in weights if name.endswith("conv.weight")]) == 94


@pytest.mark.slow
def test_inception_equals_the_graph_written_out(weights, network):
    images = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found, expected = network(images), literal(weights, images)
    assert found.features.std() > 0.01
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)
    assert [part.shape[1] for part in found] == [2048, 2023, 1008]


@pytest.mark.slow
def test_inception_resizes_images_and_ignores_batching(network):
    images = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = network(images)
    resized = network(tensorflow_bilinear(images, 299))
    torch.testing.assert_close(together.features, resized.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(images[1:]).features, together.features[1:], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"Inception got images \(1, 1, 8, 8\)"):
        network(torch.zeros(1, 1, 8, 8))


def test_tensorflow_bilinear_aligns_first_and_repeats_last():
    x = torch.tensor([0.0, 1.0])[None, None, None].expand(1, 1, 2, 2)
    assert tensorflow_bilinear(x, 4)[0, 0].tolist() == [[0.0, 0.5, 1.0, 1.0]] * 4
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)
    expected = (torch.arange(299) * 64 / 299).clamp_max(63)
    torch.testing.assert_close(tensorflow_bilinear(ramp, 299)[0, 0, 7], expected)
    assert torch.equal(tensorflow_bilinear(ramp, 64), ramp)


@pytest.mark.slow
def test_from_weights_reads_safetensors(weights, network, tmp_path):
    from safetensors.torch import save_file

    save_file({**weights, "AuxLogits.fc.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    other = Inception.from_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in other.parameters())


@pytest.mark.slow
def test_from_weights_refuses_other_files_in_one_line(weights, tmp_path):
    path = tmp_path / "w.pth"

    def complaint(state):
        torch.save(state, path)
        with pytest.raises(ValueError, match=r"w\.pth") as caught:
            Inception.from_weights(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    wrong = {**weights, "fc.weight": torch.zeros(1000, 2048)}
    assert "fc.weight is (1000, 2048), FID's Inception has (1008, 2048)" in complaint(wrong)
    missing = {name: value for name, value in weights.items() if name != "Mixed_7c.branch_pool.bn.bias"}
    assert "lacks 1 of 472 tensors of FID's Inception, first Mixed_7c.branch_pool.bn.bias: download" in complaint(
        missing
    )
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="neither safetensors nor a plain state dict"):
        Inception.from_weights(path)
    with pytest.raises(ValueError, match=r"no weights at .*none.pth: download pt_inception-2015-12-05"):
        Inception.from_weights(tmp_path / "none.pth")


def test_tensorflow_bilinear_resizes_on_a_device_without_float64(generator):
    images = torch.rand(2, 3, 20, 24, generator=generator)
    with Device():
        there = tensorflow_bilinear(images.to("mps"), 29)
        assert torch.equal(there.cpu(), tensorflow_bilinear(images, 29))
