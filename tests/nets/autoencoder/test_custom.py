"""A user's own autoencoder: what it may return, what is found out about it, and what each mistake is answered with."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.optim.swa_utils import AveragedModel

from random_of_tests import images
from spectrum_matching.files.digests import digest_weights
from spectrum_matching.latent_space import LatentSpace, SpectralGain
from spectrum_matching.nets.autoencoder import Autoencoder

FILE = """
from dataclasses import dataclass
import torch
from beside import FACTOR

@dataclass
class Mine:
    '''Blocks of pixels as channels: nothing is lost.'''
    multiple: int = FACTOR

    def encode(self, images):
        return torch.nn.functional.pixel_unshuffle(images, FACTOR)

    def decode(self, latents):
        return torch.nn.functional.pixel_shuffle(latents, FACTOR)

def mine():
    return Mine()

def needs_more(x):
    return Mine()

def unlucky():
    raise OSError("no weights in /weights\\nand more")

not_a_function = 3
"""

GAINED = LatentSpace(gain=SpectralGain(((1.0, 2.0),), frequencies=(0.1, 0.5)))


class Blocks:
    """Means of 4 × 4 pixels and back; the pieces are replaced in the tests."""

    def encode(self, images: Tensor) -> Any:
        return interpolate(images, scale_factor=0.25, mode="area")

    def decode(self, latents: Tensor) -> Any:
        return interpolate(latents, scale_factor=4.0)


def blocks(**attributes: Any) -> Any:
    model = Blocks()
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("FACTOR = 6\n")
    return tmp_path / "mine.py"


def test_from_file_gives_an_autoencoder(file: Path) -> None:
    autoencoder = Autoencoder.from_pretrained(f"python:{file}:mine")
    assert (autoencoder.kind, autoencoder.factor, autoencoder.channels) == ("Mine", 6, 108)
    assert (autoencoder.multiple, autoencoder.is_stochastic) == (6, False)
    assert autoencoder.latent_space == LatentSpace()
    x = images(2, 3, 12, 18)
    assert torch.equal(autoencoder.decode(autoencoder.encode(x).mean), x)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("python:{folder}/absent.py:mine", "no file {folder}/absent.py: give python:"),
        ("python:{folder}:mine", "no file {folder}: give python:"),
        ("python:{folder}/mine.py", "names no function: give python:path/to/file.py:factory"),
        ("python:mine", "python:mine names no function"),
        ("{folder}/mine.py:mine", "mine.py:mine names a function in a file: give python:{folder}/mine.py:mine"),
        ("python:{folder}/mine.py:yours", "{folder}/mine.py has no function 'yours'"),
        ("python:{folder}/mine.py:not_a_function", "{folder}/mine.py has no function 'not_a_function'"),
        ("python:{folder}/mine.py:needs_more", "needs_more() in {folder}/mine.py fails (TypeError: "),
        ("python:{folder}/mine.py:unlucky", "unlucky() in {folder}/mine.py fails (OSError: no weights in /weights)"),
        ("python:{folder}/wrong.py:f", "{folder}/wrong.py fails to import (SyntaxError: "),
        (
            "python:{folder}/lost.py:f",
            "{folder}/lost.py fails to import (ModuleNotFoundError: No module named 'lost_at",
        ),
        ("python:{folder}/script.py:f", "{folder}/script.py fails to import (SystemExit: "),
        ("python:{folder}/mine.txt:f", "{folder}/mine.txt is no Python file"),
        ("python:{folder}/mine.py:int", "{folder}/mine.py has no function 'int'"),
        (
            "python:{folder}/other.py:dict",
            "dict has no encode(): an autoencoder has encode(images) and decode(latents)",
        ),
    ],
)
def test_from_file_explains_what_fails_in_one_line(file: Path, source: str, message: str) -> None:
    folder = file.parent
    (folder / "wrong.py").write_text("def f(:\n")
    (folder / "lost.py").write_text("import lost_at_sea\n")
    (folder / "script.py").write_text("import sys\nsys.exit('usage: script')\n")
    (folder / "mine.txt").write_text("def f(): ...\n")
    (folder / "other.py").write_text("dict = dict\n")
    with pytest.raises(ValueError, match=re.escape(message.format(folder=folder))) as caught:
        Autoencoder.from_pretrained(source.format(folder=folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["latent", "latents", "latent_dist"])
def test_custom_encode_may_return_diffusers_outputs(name: str) -> None:
    def encode(x: Tensor) -> Any:
        mean = Blocks().encode(x)
        found = SimpleNamespace(mean=mean, logvar=torch.zeros_like(mean)) if name == "latent_dist" else mean
        return SimpleNamespace(**{name: found})

    model = blocks(encode=encode, decode=lambda z: SimpleNamespace(sample=Blocks().decode(z)))
    autoencoder, x = Autoencoder(model), images(1, 3, 8, 8)
    assert autoencoder.is_stochastic == (name == "latent_dist")
    posterior = autoencoder.encode(x)
    assert torch.equal(posterior.mean, Blocks().encode(x))
    assert (posterior.logvar == (0 if name == "latent_dist" else -30)).all()
    assert autoencoder.decode(posterior.mean).shape == x.shape


def test_custom_mean_and_logvar_make_a_posterior() -> None:
    model = blocks(encode=lambda x: SimpleNamespace(mean=Blocks().encode(x), logvar=-Blocks().encode(x).abs()))
    posterior = Autoencoder(model).encode(images(1, 3, 8, 8))
    draws = [posterior.sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], posterior.mean)
    one_for_all = blocks(encode=lambda x: SimpleNamespace(mean=Blocks().encode(x), logvar=torch.tensor(-2.0)))
    assert (Autoencoder(one_for_all).encode(images(1, 3, 8, 8)).logvar == -2).all()


def test_custom_encode_may_return_pairs_and_dicts() -> None:
    mean = Blocks().encode(images(1, 3, 8, 8))
    for wrap in (tuple, lambda moments: dict(zip(("mu", "log_var"), moments, strict=True))):
        encode = partial(lambda wrap, x: wrap((Blocks().encode(x), -Blocks().encode(x).abs())), wrap)
        model = blocks(encode=encode, decode=lambda z: (Blocks().decode(z), None))
        autoencoder = Autoencoder(model)
        assert autoencoder.is_stochastic
        posterior = autoencoder.encode(images(1, 3, 8, 8))
        assert torch.equal(posterior.mean, mean)
        assert torch.equal(posterior.logvar, -mean.abs())


@pytest.mark.parametrize("wrap", [nn.DataParallel, AveragedModel, lambda m: torch.compile(m, backend="eager")])
def test_custom_wrappers_are_passed_over(wrap: Callable[[nn.Module], nn.Module]) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(3, 5, 4, stride=4)

        def encode(self, x: Tensor) -> Tensor:
            return self.down(x)

        def decode(self, z: Tensor) -> Tensor:
            return Blocks().decode(z[:, :3])

    model = Network()
    autoencoder, x = Autoencoder(wrap(model)), images(1, 3, 8, 8)
    assert (autoencoder.kind, autoencoder.channels, autoencoder.factor) == ("Network", 5, 4)
    assert torch.equal(autoencoder.encode(x).mean, model.down(x))


def test_custom_image_channels_are_said_or_given() -> None:
    for autoencoder in (Autoencoder(blocks(image_channels=5)), Autoencoder(Blocks(), image_channels=5)):
        assert (autoencoder.image_channels, autoencoder.channels) == (5, 5)
        assert autoencoder.decode(autoencoder.encode(images(1, 5, 8, 8)).mean).shape == (1, 5, 8, 8)


def test_custom_half_precision_gives_float32() -> None:
    model = blocks(encode=lambda x: Blocks().encode(x).bfloat16(), decode=lambda z: Blocks().decode(z.float()))
    assert Autoencoder(model).encode(images(1, 3, 8, 8)).mean.dtype == torch.float32


def test_custom_image_range_zero_to_one_is_rescaled() -> None:
    seen: list[Tensor] = []

    def encode(x: Tensor) -> Tensor:
        seen.append(x)
        return Blocks().encode(x)

    autoencoder, x = Autoencoder(blocks(image_range=(0, 1), encode=encode)), images(1, 3, 8, 8)
    assert (seen[0] == 0.5).all()  # the trial's grey, in its own range
    latents = autoencoder.encode(x).mean
    torch.testing.assert_close(seen[-1], (x + 1) / 2)
    torch.testing.assert_close(autoencoder.decode(latents), Blocks().decode(latents) * 2 - 1)


def test_custom_latent_space_or_factors_declare_the_scale() -> None:
    space = LatentSpace("per channel", (0.0, 1.0, 2.0), (1.0, 2.0, 3.0))
    assert Autoencoder(blocks(latent_space=space)).latent_space == space
    both = Autoencoder(blocks(scaling_factor=0.5, shift_factor=0.25))
    assert both.latent_space == LatentSpace("shift and scale", (0.25,), (2.0,))
    assert Autoencoder(blocks(scaling_factor=0.5)).latent_space == LatentSpace("scale", (0.0,), (2.0,))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"encode": None}, "Blocks has no encode()"),
        ({"decode": 3}, "Blocks has no decode()"),
        ({"image_range": (0, 255)}, "Blocks.image_range is (0, 255), expected (-1, 1) or (0, 1)"),
        ({"image_range": "unit"}, "Blocks.image_range is 'unit', expected (-1, 1) or (0, 1)"),
        ({"multiple": 0.5}, "Blocks.multiple is 0.5, expected a whole number of pixels"),
        ({"image_channels": "RGB"}, "Blocks.image_channels is 'RGB', expected a whole number, such as 3 for RGB"),
        ({"latent_space": {}}, "Blocks.latent_space is a dict, expected a LatentSpace"),
        ({"latent_space": GAINED}, "Blocks.latent_space has a gain or a rotation: diffusion takes one, source.flatten"),
        ({"scaling_factor": 0}, "Blocks declares scaling 0"),
        ({"scaling_factor": [1, 2]}, "Blocks declares scaling [1, 2]"),
        ({"shift_factor": torch.ones(4)}, "shift tensor([1., 1., 1., 1.]), expected two numbers"),
        ({"shift_factor": torch.ones(1, 2, 1, 1)}, "shift tensor([[[[1.]], [[1.]]]]), expected two numbers"),
        (
            {"encode": lambda x: 1 / 0},
            "Blocks.encode fails on (2, 3, 64, 64); if it needs other sizes, set `multiple`, other",
        ),
        ({"encode": lambda x: [x]}, "Blocks.encode gave list, expected latents (b, c, h, w)"),
        ({"encode": lambda x: x.long()}, "Blocks.encode gave torch.int64, expected latents (b, c, h, w)"),
        ({"encode": lambda x: x[0]}, "Blocks.encode gave latents (3, 64, 64) for images (2, 3, 64, 64)"),
        ({"encode": lambda x: x[:1]}, "Blocks.encode gave latents (1, 3, 64, 64) for images (2, 3, 64, 64)"),
        ({"encode": lambda x: x[..., ::2]}, "Blocks.encode gave latents (2, 3, 64, 32) for images (2, 3, 64, 64)"),
        ({"encode": lambda x: x[..., :0, :0]}, "Blocks.encode gave latents (2, 3, 0, 0)"),
        ({"encode": lambda x: x[:, :, :7, :7]}, "Blocks.encode gave 7 positions for 64 pixels, not a whole factor"),
        ({"decode": lambda z: z}, "Blocks.decode gave images (2, 3, 16, 16), expected (2, 3, 64, 64)"),
        ({"decode": lambda z: None}, "Blocks.decode gave NoneType, expected images (b, 3, H, W)"),
        ({"decode": lambda z: z @ z[0, 0, 0]}, "Blocks.decode gave images (2, 3, 16)"),
        ({"decode": lambda z: z[9]}, "Blocks.decode fails on (2, 3, 16, 16) (IndexError"),
        ({"encode": lambda x: Blocks().encode(x) * torch.nan}, "Blocks.encode gave values that are not finite"),
        (
            {"encode": lambda x: (Blocks().encode(x), Blocks().encode(x) * torch.nan)},
            "Blocks.encode gave values that are not finite",
        ),
        ({"decode": lambda z: Blocks().decode(z) / 0}, "Blocks.decode gave values that are not finite"),
        (
            {"encode": lambda x: SimpleNamespace(mean=x, logvar=x[:, :2])},
            "Blocks.encode gave a mean of (2, 3, 64, 64) with a logvar of (2, 2, 64, 64)",
        ),
    ],
)
def test_adapter_of_names_what_does_not_fit_in_one_line(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Autoencoder(blocks(**attributes))
    assert "\n" not in str(caught.value)


def test_encode_refuses_latents_that_do_not_follow_the_image() -> None:
    model = blocks(encode=lambda x: interpolate(x, (16, 16)))
    autoencoder = Autoencoder(model)
    with pytest.raises(ValueError, match=r"Blocks.encode gave \(1, 3, 16, 16\), expected \(1, 3, 32, 32\)"):
        autoencoder.encode(images(1, 3, 128, 128))
    with pytest.raises(ValueError, match="H and W multiples of 4"):
        autoencoder.encode(images(1, 3, 30, 30))


def test_adapter_of_leaves_modes_statistics_and_generators_unchanged() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)

        def encode(self, x: Tensor) -> Tensor:
            return self.drop(self.norm(Blocks().encode(x)))

        def decode(self, z: Tensor) -> Tensor:
            return Blocks().decode(z + torch.randn(z.shape))

    model = Network().train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    autoencoder = Autoencoder(model)
    assert autoencoder.model is model
    assert (model.training, model.drop.training, model.norm.training) == (True, True, False)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_digest_covers_code_factory_folder_and_tensors(tmp_path: Path) -> None:
    def digest(name: str = "mine", folder: str = "") -> str:
        return Autoencoder.from_pretrained(f"python:{tmp_path}/own.py:{name}{folder}").digest

    (tmp_path / "beside.py").write_text("FACTOR = 4\n")
    file, folder = tmp_path / "own.py", tmp_path / "weights"
    code = FILE + "other = mine\n\ndef opened(folder):\n    return Mine()\n"
    file.write_text(code)
    folder.mkdir()
    (folder / "scale.json").write_text("1.0")
    digests = [digest(), digest("other"), digest("opened", f"@{folder}")]
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_text("compiled")
    (folder / "README.md").write_text("edited")
    assert digests == [digest(), digest("other"), digest("opened", f"@{folder}")]
    (folder / "scale.json").write_text("0.5")
    digests.append(digest("opened", f"@{folder}"))
    file.write_text(f"{code}# and more\n")
    digests.append(digest())
    digests += [Autoencoder(blocks(basis=[torch.full((2,), value)])).digest for value in (1.0, 2.0)]
    assert len(set(digests)) == len(digests)


def test_digest_of_a_module_is_that_of_its_weights() -> None:
    class Network(Blocks, nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(2, 2)

    autoencoder = Autoencoder(Network())
    assert autoencoder.digest == digest_weights(autoencoder)


def test_modules_of_finds_networks_in_lists_and_dictionaries() -> None:
    layers = [nn.Linear(2, n) for n in (1, 2, 3)]
    model = blocks(nets=[layers[0], {"a.b": layers[1]}], more=(layers[2], "no network"))
    model.nets.append(model.nets)
    autoencoder = Autoencoder(model)
    assert {id(p) for p in autoencoder.parameters()} == {id(p) for layer in layers for p in layer.parameters()}


def test_modules_of_finds_networks_inside_a_plain_object() -> None:
    convolution = nn.Conv2d(3, 3, 4, stride=4)
    model = blocks(network=convolution)
    model.encode = lambda x: convolution(x)
    autoencoder = Autoencoder(model)
    assert sum(p.numel() for p in autoencoder.parameters()) == sum(p.numel() for p in convolution.parameters())
    autoencoder.double()
    assert convolution.weight.dtype == torch.float64
    assert autoencoder.encode(images(1, 3, 8, 8)).mean.dtype == torch.float64


def test_custom_deterministic_posterior_has_no_variance() -> None:
    class Certain(Blocks):
        def encode(self, images: Tensor) -> Any:
            mean = super().encode(images)
            return DiagonalGaussianDistribution(torch.cat([mean, torch.zeros_like(mean)], 1), deterministic=True)

    autoencoder = Autoencoder(Certain())
    assert not autoencoder.is_stochastic
    posterior = autoencoder.encode(images(1, 3, 8, 8))
    assert (posterior.logvar == -30).all()
    assert torch.equal(posterior.mean, Blocks().encode(images(1, 3, 8, 8)))


def test_adapter_of_packed_latents_raises_the_multiple() -> None:
    autoencoder = Autoencoder(blocks(latent_space=LatentSpace("packed", (0.0,) * 12, (1.0,) * 12, patch=2)))
    assert (autoencoder.factor, autoencoder.multiple) == (4, 8)
    with pytest.raises(ValueError, match="expected 1 or 3, one for each channel"):
        Autoencoder(blocks(latent_space=LatentSpace("per channel", (0.0,) * 5, (1.0,) * 5)))
