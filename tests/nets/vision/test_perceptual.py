"""With random weights in the published layouts: the trunk's real weights are too large to ship."""

from pathlib import Path

import pytest
import torch
import torchmetrics
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import lpips as theirs

from spectrum_matching.nets.vision.perceptual import LPIPS

HEADS = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/vgg.pth"  # the published ones
WIDTHS = [(64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)]


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    channels, n = 3, 0
    for stage in WIDTHS:
        for width in stage:
            state[f"features.{n}.weight"] = numbers(n, width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
            state[f"features.{n}.bias"] = 0.1 * numbers(n + 1, width)
            channels, n = width, n + 2
        n += 1
    return state


@pytest.fixture(scope="module")
def heads() -> dict[str, Tensor]:
    return torch.load(HEADS, map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, trunk: dict[str, Tensor], heads: dict[str, Tensor]) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(trunk | {"classifier.0.weight": torch.zeros(2, 2)}, folder / "vgg16.pth")
    torch.save(heads, folder / "vgg.pth")
    return folder


@pytest.fixture(scope="module")
def lpips(folder: Path) -> LPIPS:
    return LPIPS.from_weights(folder)


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    a = (0.5 * numbers(100, 3, 3, 32, 48)).clamp(-1, 1)
    return a, (a + 0.2 * numbers(101, 3, 3, 32, 48)).clamp(-1, 1)


def restated(a: Tensor, b: Tensor, trunk: dict[str, Tensor], heads: dict[str, Tensor]) -> Tensor:
    """The definition, literally: unit-normalise, subtract, square, weigh, average, sum."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, y = (a - shift) / scale, (b - shift) / scale
    total, n = torch.zeros(len(a)), 0
    for k, stage in enumerate(WIDTHS):
        if k:
            x, y = F.max_pool2d(x, 2), F.max_pool2d(y, 2)
            n += 1
        for _ in stage:
            weight, bias = trunk[f"features.{n}.weight"], trunk[f"features.{n}.bias"]
            x, y = (F.relu(F.conv2d(z, weight, bias, padding=1)) for z in (x, y))
            n += 2
        u, v = (z / (z.norm(dim=1, keepdim=True) + 1e-10) for z in (x, y))
        total = total + F.conv2d((u - v) ** 2, heads[f"lin{k}.model.1.weight"]).mean(dim=(1, 2, 3))
    return total


def test_lpips_equals_the_definition(
    lpips: LPIPS, pair: tuple[Tensor, Tensor], trunk: dict[str, Tensor], heads: dict[str, Tensor]
) -> None:
    expected = restated(*pair, trunk, heads)
    assert expected.min() > 0.01
    torch.testing.assert_close(lpips(*pair), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_lpips_equals_torchmetrics(
    trunk: dict[str, Tensor], pair: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def features(net: str, pretrained: bool) -> torch.nn.Sequential:
        sequential = LPIPS.from_weights(tmp_path / "trunk").features
        assert (net, pretrained) == ("vgg16", False)
        return sequential

    (tmp_path / "trunk").mkdir()
    save_file(trunk, tmp_path / "trunk" / "vgg16.safetensors")
    (tmp_path / "trunk" / "vgg.pth").symlink_to(HEADS)
    monkeypatch.setattr(theirs, "_get_tv_model_features", features)
    other = theirs._LPIPS(net="vgg", pnet_rand=True)
    assert "net.slice2.5.weight" in other.state_dict()
    torch.save(other.state_dict(), tmp_path / "lpips.pt")
    ours = LPIPS.from_weights(tmp_path / "lpips.pt")
    torch.testing.assert_close(ours(*pair), other(*pair).flatten(), rtol=1e-5, atol=1e-7)


def test_lpips_is_symmetric_and_zero_for_equal_images(lpips: LPIPS, pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    assert torch.equal(lpips(a, b), lpips(b, a))
    assert torch.equal(lpips(a, a), torch.zeros(3))
    torch.testing.assert_close(lpips(a, b)[1:2], lpips(a[1:2], b[1:2]))


def test_lpips_gradient_equals_a_finite_difference(folder: Path, pair: tuple[Tensor, Tensor]) -> None:
    lpips = LPIPS.from_weights(folder).double()
    a, b = (x[:1].double() for x in pair)
    direction = numbers(7, *a.shape).double()
    (gradient,) = torch.autograd.grad(lpips(a.requires_grad_(), b).sum(), a)
    with torch.no_grad():
        step = 1e-7 * direction  # small enough to cross no kink of the ReLUs
        slope = (lpips(a + step, b) - lpips(a - step, b)) / 2e-7
    torch.testing.assert_close((gradient * direction).sum(), slope.squeeze(), rtol=1e-5, atol=0)


def test_lpips_is_frozen(lpips: LPIPS, pair: tuple[Tensor, Tensor]) -> None:
    assert not any(p.requires_grad for p in lpips.parameters())
    assert not lpips(*pair).requires_grad


@pytest.mark.parametrize("autocast", [False, True])
def test_lpips_is_finite_for_images_without_features(
    trunk: dict[str, Tensor], heads: dict[str, Tensor], pair: tuple[Tensor, Tensor], autocast: bool
) -> None:
    weights = {name: torch.zeros_like(w) if name.endswith("bias") else w for name, w in trunk.items()}
    weights |= {f"lin{k}": heads[f"lin{k}.model.1.weight"].flatten() for k in range(5)}
    lpips = LPIPS(weights)
    empty = lpips.shift.expand(3, 3, 32, 48).clone().requires_grad_()  # every feature of it is 0
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        distance = lpips(empty, pair[0])
        same = lpips(empty, empty.detach())
    assert distance.dtype == torch.float32
    assert (distance > 0).all()
    assert not same.any()
    (gradient,) = torch.autograd.grad((distance + same).sum(), empty)
    assert gradient.isfinite().all()


def test_lpips_bf16_is_near_float32(lpips: LPIPS, pair: tuple[Tensor, Tensor]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        mixed = lpips(*pair)
    torch.testing.assert_close(mixed, lpips(*pair), rtol=0.02, atol=0)


def test_lpips_refuses_other_shapes(lpips: LPIPS) -> None:
    for a, b in [((1, 3, 32, 32), (2, 3, 32, 32)), ((1, 1, 32, 32),) * 2, ((1, 3, 32, 15),) * 2, ((3, 32, 32),) * 2]:
        with pytest.raises(ValueError, match=r"LPIPS got .* sides of at least 16"):
            lpips(torch.zeros(a), torch.zeros(b))


def test_from_weights_names_missing_tensors_with_the_remedy(
    tmp_path: Path, folder: Path, trunk: dict[str, Tensor], heads: dict[str, Tensor]
) -> None:
    with pytest.raises(ValueError, match=r"no weights at .*: put torchvision's vgg16-397923af.pth and vgg.pth"):
        LPIPS.from_weights(tmp_path)
    with pytest.raises(ValueError, match=r"lacks 5 of 31 .*first lin0: put .* and vgg.pth"):
        LPIPS.from_weights(folder / "vgg16.pth")
    with pytest.raises(ValueError, match=r"lacks 26 of 31 .*first features.0.weight: put torchvision's vgg16"):
        LPIPS.from_weights(folder / "vgg.pth")
    save_file({k: w for k, w in (trunk | heads).items() if k != "features.17.bias"}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"lacks 1 of 31 .*first features.17.bias"):
        LPIPS.from_weights(tmp_path)


def test_from_weights_refuses_another_network_and_contradictions(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "vgg16.pth").symlink_to(folder / "vgg16.pth")
    (tmp_path / "alex.pth").symlink_to(HEADS.with_name("alex.pth"))
    with pytest.raises(ValueError, match=r"lin1 is \(1, 192, 1, 1\), LPIPS on VGG16 has \(1, 128, 1, 1\)"):
        LPIPS.from_weights(tmp_path)
    (tmp_path / "vgg.pth").symlink_to(HEADS)
    with pytest.raises(ValueError, match="disagree on lin0"):
        LPIPS.from_weights(tmp_path)


def test_from_weights_unpickles_tensors_alone(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return open, (str(tmp_path / "sprung"), "w")

    torch.save({"features.0.weight": Trap()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="neither safetensors nor a plain state dict"):
        LPIPS.from_weights(tmp_path / "w.pth")
    assert not (tmp_path / "sprung").exists()


def test_from_weights_refuses_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights at .*absent.pth"):
        LPIPS.from_weights(tmp_path / "absent.pth")
