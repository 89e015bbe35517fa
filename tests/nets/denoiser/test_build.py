import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from spectrum_matching.nets.denoiser.build import SIZES, build_denoiser, open_denoiser
from spectrum_matching.nets.denoiser.sit import SiT
from spectrum_matching.nets.denoiser.uvit import UViT

DOCS = Path(__file__).parents[3] / "docs" / "denoisers.md"
NETWORKS = {"SiT": SiT, "UViT": UViT}
NAMES = ["SiT-micro/2", "UViT-micro/2"]
# In millions, as their papers print them; UViT-S and S-deep without classes, the others with 1,000.
PUBLISHED = {
    "SiT-S": 33,
    "SiT-B": 130,
    "SiT-L": 458,
    "SiT-XL": 675,
    "UViT-S": 44,
    "UViT-S-deep": 58,
    "UViT-M": 131,
    "UViT-L": 287,
    "UViT-H": 501,
}
# Of the official modules, at patch 2, on 32 × 32 × 4 with 1,000 classes and a null class.
OFFICIAL = {
    "SiT-S": 32_865_056,
    "SiT-B": 130_315_808,
    "SiT-L": 457_840_672,
    "SiT-XL": 674_834_720,
    "UViT-S": 44_772_516,
    "UViT-S-deep": 58_425_508,
    "UViT-M": 130_891_940,
    "UViT-L": 286_763_172,
    "UViT-H": 500_832_016,
}


def build(name, n_classes=3, grid=(8, 12), **overrides):
    """A denoiser none of whose weights are special: new ones predict 0, or hardly heed the class."""
    network = build_denoiser(name, 4, grid, n_classes, **overrides)
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.08, generator=generator)
    return network


@pytest.fixture
def inputs(generator):
    noisy, t = torch.randn(3, 4, 8, 12, generator=generator), torch.tensor([0.0, 0.3, 1.0])
    return noisy, t, torch.tensor([2, -1, 0])


def n_parameters(name, patch, n_classes=1000):
    family, size = name.split("-", 1)
    with torch.device("meta"):
        network = NETWORKS[family](channels=4, grid=(32, 32), patch=patch, n_classes=n_classes, **SIZES[family][size])
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_build_denoiser_has_the_published_number_of_parameters(name):
    family, size = name.split("-", 1)
    counts = [n_parameters(name, patch) for patch in (1, 2, 4)]
    # SiT's official modules predict twice the channels and drop half: 2² · 4 rows more, each of the width and a bias.
    dropped = 16 * (SIZES[family][size]["width"] + 1) if family == "SiT" else 0
    assert counts[1] + dropped == OFFICIAL[name]
    printed = n_parameters(name, 2, n_classes=0 if name.startswith("UViT-S") else 1000)
    assert round(printed / 1e6) == PUBLISHED[name]
    row = re.search(rf"^\| `{name}` \|.*$", DOCS.read_text(), re.MULTILINE)[0]
    documented = [int(cell.replace(",", "")) for cell in re.findall(r"\d[\d,]{6,}", row)]
    assert documented == [OFFICIAL[name], *counts]
    assert f"{PUBLISHED[name]} M" in row


@pytest.mark.parametrize("name", NAMES)
def test_build_denoiser_depends_on_the_seed_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (build_denoiser(name, 4, (8, 8), 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["first.weight"], other["first.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_open_denoiser_reads_what_save_pretrained_wrote(name, inputs, tmp_path):
    network = build(name, time_scale=7.0)
    network.save_pretrained(tmp_path)
    before = torch.get_rng_state()
    opened = open_denoiser(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(opened) is type(network)
    assert opened.state_dict().keys() == network.state_dict().keys()
    for key, weight in network.state_dict().items():
        assert torch.equal(opened.state_dict()[key], weight)
    assert torch.equal(opened(*inputs)[0], network(*inputs)[0])
    assert (opened.grid, opened.n_classes, opened.time_scale) == ((8, 12), 3, 7.0)


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_takes_minus_one_for_no_label(name, inputs):
    network, (noisy, t, labels) = build(name), inputs
    none, minus, given = (network(noisy, t, which)[0] for which in (None, torch.full((3,), -1), labels))
    assert torch.equal(none, minus)
    assert [torch.allclose(none[i], given[i], rtol=0.01) for i in range(3)] == [False, True, False]
    assert not torch.allclose(network(noisy, t, labels.roll(1))[0], given, rtol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_tap_is_the_block_s_output(name, inputs):
    network = build(name)
    behind = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, given, tokens: behind.append(tokens))
    prediction, nothing = network(*inputs)
    assert nothing is None
    for tap in range(1, network.n_blocks + 1):
        behind.clear()
        tapped, tokens = network(*inputs, tap=tap)
        assert torch.equal(tapped, prediction)
        assert torch.equal(tokens, behind[tap - 1][:, -24:])
        assert tokens.shape == (3, 24, network.width)


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_treats_latents_of_a_batch_independently(name, inputs):
    network = build(name)
    together, tokens = network(*inputs, tap=2)
    for i in range(3):
        alone, own = network(*(x[i : i + 1] for x in inputs), tap=2)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(own[0], tokens[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_without_positions_is_permutation_equivariant(name, inputs):
    network, (noisy, t, labels) = build(name, **({"conv": False} if name.startswith("UViT") else {})), inputs
    moved = [torch.roll(noisy, (2, 4), (2, 3)), torch.roll(network(noisy, t, labels)[0], (2, 4), (2, 3))]
    assert not torch.allclose(network(moved[0], t, labels)[0], moved[1], atol=1e-2)
    with torch.no_grad():
        network.positions.zero_()
    expected = torch.roll(network(noisy, t, labels)[0], (2, 4), (2, 3))
    torch.testing.assert_close(network(moved[0], t, labels)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_depends_on_scaled_time(name, inputs):
    noisy, t, labels = inputs
    prediction, _ = build(name, time_scale=8.0)(noisy, t, labels)
    assert torch.equal(build(name, time_scale=1.0)(noisy, 8 * t, labels)[0], prediction)
    assert not torch.allclose(build(name, time_scale=8.0)(noisy, t.flip(0), labels)[0][0], prediction[0], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_gradients_reach_every_weight(name, inputs):
    network = build(name)
    network(inputs[0], inputs[1], torch.tensor([-1, 0, 2]))[0].square().mean().backward()
    assert [key for key, weight in network.named_parameters() if not weight.grad.any()] == []
    rows = network.label.table.weight.grad.any(dim=1)
    assert rows.tolist() == [True, True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("tap", [None, 2])
@pytest.mark.parametrize("name", NAMES)
def test_denoiser_compiles_as_one_graph(name, inputs, tap):
    network = build(name, depth=2)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for labels in (inputs[2], None):
        found, expected = compiled(*inputs[:2], labels, tap=tap), network(*inputs[:2], labels, tap=tap)
        assert torch.equal(found[0], expected[0])
        assert tap is None or torch.equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("name", "overrides"), [("SiT-micro/2", {}), ("SiT-micro/2", {"qk_norm": True}), ("UViT-micro/2", {})]
)
def test_denoiser_bfloat16_is_near_float32(name, overrides, inputs):
    network = build(name, **overrides)
    exact, _ = network(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = network(*inputs)
    rough.float().square().mean().backward()
    assert torch.nn.functional.cosine_similarity(rough.flatten().float(), exact.flatten(), dim=0) > 0.999
    assert all(weight.grad.isfinite().all() for weight in network.parameters())
    whole, _ = network.bfloat16()(inputs[0].bfloat16(), *inputs[1:])
    assert whole.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(whole.flatten().float(), exact.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_refuses_inputs_that_do_not_fit(name, inputs):
    network, (noisy, t, labels) = build(name), inputs
    last = network.n_blocks
    for change, message in [
        ({"noisy": noisy.transpose(2, 3)}, r"latents are \(3, 4, 12, 8\); this denoiser takes \(b, 4, 8, 12\)"),
        ({"noisy": noisy[:, :3]}, r"latents are \(3, 3, 8, 12\); this denoiser takes \(b, 4, 8, 12\)"),
        ({"t": torch.tensor(0.5)}, r"t is \(\); expected one time for each of 3 latents"),
        ({"labels": labels[:1]}, r"labels are \(1,\); expected one for each of 3 latents"),
        ({"labels": labels + 1}, "labels go from 0 to 3; this denoiser takes 0 to 2, or −1 for no label"),
        ({"labels": labels - 1}, "labels go from -2 to 1; this denoiser takes 0 to 2"),
        ({"tap": 0}, f"tap 0: this denoiser has {last} blocks, so give 1 to {last}"),
        ({"tap": last + 1}, f"tap {last + 1}: this denoiser has {last} blocks, so give 1 to {last}"),
    ]:
        with pytest.raises(ValueError, match=message):
            network(**{"noisy": noisy, "t": t, "labels": labels, **change})


@pytest.mark.parametrize("name", NAMES)
def test_denoiser_without_classes_refuses_labels(name, inputs):
    network, (noisy, t, labels) = build(name, n_classes=0), inputs
    assert torch.equal(network(noisy, t)[0], network(noisy, t, torch.full((3,), -1))[0])
    with pytest.raises(ValueError, match="labels go from -1 to 2; this denoiser takes −1 or None: it knows no classes"):
        network(noisy, t, labels)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_denoiser_refuses_labels_out_of_range(name, inputs):
    compiled = torch.compile(build(name, depth=2), backend="eager", fullgraph=True)
    for labels in (inputs[2] + 1, inputs[2] - 1):
        with pytest.raises(IndexError, match="out of range"):
            compiled(*inputs[:2], labels)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("SiT-Q/2", {}, "no denoiser 'SiT-Q/2': near it are SiT-"),
        ("U-ViT-S/2", {}, "near it are UViT-S/2"),
        ("SiT-S", {}, "near it are SiT-S/"),
        ("SiT-S/0", {}, "near it are SiT-S/"),
        ("SiT-S/3", {}, "a grid of 8 × 12 is not divisible into patches of 3"),
        ("SiT-S/2", {"witdh": 8}, "SiT-S/2 has no setting 'witdh': its settings are depth, heads"),
        ("SiT-S/2", {"patch": 4}, "no setting 'patch'"),
        ("SiT-S/2", {"heads": 5}, "width 384 with 5 heads"),
        ("SiT-S/2", {"depth": 0}, "every size to be at least 1"),
        ("UViT-S/2", {"width": 6, "heads": 2}, "expected a multiple of the heads and of 4"),
        ("SiT-S/2", {"n_classes": -1}, "n_classes is -1"),
        ("SiT-S/2", {"grid": (8,)}, r"expected \(h, w\) as the grid"),
    ],
)
def test_build_denoiser_refuses_impossible_settings(name, overrides, message):
    with pytest.raises(ValueError, match=message) as refusal:
        build_denoiser(name, **{"channels": 4, "grid": (8, 12), **overrides})
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    build("SiT-micro/2").save_pretrained(folder)
    return folder


def configure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def truncate(folder):
    path = folder / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def pickle(folder):
    path = folder / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no config.json in .*: give the folder to which a denoiser was exported"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged: it is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json is damaged: it is not a JSON object"),
        (lambda folder: configure(folder, _class_name="AutoencoderKL"), "holds AutoencoderKL, which is no denoiser"),
        (lambda folder: configure(folder, width=64), "weights in .* do not load"),
        (lambda folder: configure(folder, depth=5), "lack .* tensors of SiT, first blocks.4"),
        (lambda folder: configure(folder, depth=3), "SiT has none of .* tensors in .*, first blocks.3"),
        (lambda folder: configure(folder, patch=5), "a grid of 8 × 12 is not divisible into patches of 5"),
        (truncate, "weights in .* do not load"),
        (pickle, "no diffusion_pytorch_model.* pickled weights .* are not opened"),
    ],
)
def test_open_denoiser_refuses_a_damaged_folder(damage, message, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    damage(folder)
    with pytest.raises(ValueError, match=message) as refusal:
        open_denoiser(folder)
    assert "\n" not in str(refusal.value)
