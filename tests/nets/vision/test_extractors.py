import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from spectrum_matching.nets.python_files import from_file
from spectrum_matching.nets.vision.extractors import NO_RESIZE, open_extractor


class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, images):
        return images.mean((2, 3)) * self.scale


def images(size=16):
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def saved(tmp_path, module):
    path = tmp_path / "features.pt"
    torch.jit.trace(module, torch.zeros(2, 3, 8, 8)).save(path)
    return str(path)


def script(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(f"import torch\n{body}")
    return f"python:{path}:factory"


def test_open_extractor_gives_features_of_torchscript_and_python(tmp_path):
    sources = [saved(tmp_path, Means()), script(tmp_path, "def factory(): return lambda x: x.mean((2, 3))")]
    for source in sources:
        torch.testing.assert_close(open_extractor(source)(images(8)), images(8).mean((2, 3)))


def test_open_extractor_puts_a_module_into_eval_mode(tmp_path):
    source = script(tmp_path, "def factory(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9))")
    assert torch.equal(open_extractor(source)(images(8)), images(8).flatten(1))


@pytest.mark.parametrize("last", ["x.mean((2, 3))", "x.view(len(x), -1)"])  # the usual layout alone allows this view
def test_extractor_runs_networks_with_channels_last_where_they_can(tmp_path, last):
    body = f"""
class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 5, 3)

    def forward(self, images):
        x = self.conv(images)
        return {last}

network = Network()
def factory(): return network
"""
    source = script(tmp_path, body)
    plain = from_file(source)
    expected = plain(images(8))
    extractor = open_extractor(source)
    for _ in range(2):
        torch.testing.assert_close(extractor(images(8)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ("x", r"returned torch.float32 \(4, 3, 8, 8\) for 4 images, expected floats \(4, d\)"),
        ("x.mean((2, 3))[:1]", r"returned torch.float32 \(1, 3\) for 4 images"),
        ("x.mean((2, 3)).long()", "returned torch.int64"),
        ("(x,)", "returned tuple for 4 images, expected floats"),
        ("x.mean((2, 3)) / 0", "values that are not finite"),
        ("x @ torch.zeros(5, 5)", r"failed on images \(4, 3, 8, 8\): "),
    ],
)
def test_extractor_refuses_what_is_no_feature_in_one_line(tmp_path, returned, complaint):
    features = open_extractor(script(tmp_path, f"def factory(): return lambda x: {returned}"))
    with pytest.raises(ValueError, match=complaint) as caught:
        features(images(8))
    assert "\n" not in str(caught.value)


def test_extractor_explains_a_torchscript_failure_in_one_line(tmp_path):
    features = open_extractor(saved(tmp_path, nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))))
    with pytest.raises(ValueError, match=r"failed on images \(1, 3, 16, 16\)") as caught:
        features(torch.zeros(1, 3, 16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_open_extractor_names_a_file_that_is_no_torchscript(tmp_path, content):
    path = tmp_path / "<b>.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"does not open as TorchScript \(.*zip archive.*\): save it again") as caught:
        open_extractor(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("/version", None, b"99\n", "Attempted to read a PyTorch file with version 99, but .* for reading is [0-9]+"),
        (".py", b"torch.flatten", b"ops.vision.flatten", "Unknown builtin op: vision::flatten"),
    ],
)
def test_open_extractor_says_why_torchscript_of_another_torch_does_not_open(tmp_path, name, old, new, why):
    path = Path(saved(tmp_path, nn.Flatten()))
    with zipfile.ZipFile(path) as archive:
        contents = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in contents.items():
            changed = (content.replace(old, new) if old else new) if each.endswith(name) else content
            archive.writestr(each, changed)
    with pytest.raises(ValueError, match=rf"features.pt does not open as TorchScript \({why}\): save it") as caught:
        open_extractor(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is here")
def test_open_extractor_names_a_device_that_is_not_here(tmp_path):
    path = saved(tmp_path, nn.Flatten())
    with pytest.raises(ValueError, match=r"device 'cuda' cannot be used \(.*\); use cpu"):
        open_extractor(path, "cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="the device is here")
def test_open_extractor_names_a_device_in_the_first_of_many_sentences(tmp_path):
    with pytest.raises(ValueError, match=r"device 'mps' cannot be used \([^()]* the 'MPS' backend\); use cpu$"):
        open_extractor(saved(tmp_path, nn.Flatten()), "mps")


def test_open_extractor_refuses_a_state_dict(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"does not open as TorchScript \(.*constants.pkl: file not found\)"):
        open_extractor(str(tmp_path / "state.pt"))


def test_open_extractor_refuses_a_factory_of_no_function(tmp_path):
    with pytest.raises(ValueError, match="returned int, expected a function of images"):
        open_extractor(script(tmp_path, "def factory(): return 3"))


def test_open_extractor_describes_a_torchscript_file(tmp_path):
    path = tmp_path / "mine.pt"
    torch.jit.script(Means()).save(path)
    extractor = open_extractor(str(path))
    torch.testing.assert_close(extractor(images()), images().mean((2, 3)))
    assert extractor.extract(images()).logits is None
    assert (extractor.name, extractor.resizer, len(extractor.digest)) == ("mine.pt", NO_RESIZE, 16)
    assert open_extractor(str(path)).digest == extractor.digest


def test_extractor_digest_covers_python_code_and_weights(tmp_path):
    torch.save({"scale": torch.ones(3)}, tmp_path / "w.pt")
    code = f"""
import torch
class Means(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.load({str(tmp_path / "w.pt")!r})["scale"])
    def forward(self, images):
        return images.mean((2, 3)) * self.scale
def factory():
    return Means()
"""
    path = tmp_path / "mine.py"
    path.write_text(code)
    spec = f"python:{path}:factory"
    digests = [open_extractor(spec).digest]
    torch.save({"scale": 2 * torch.ones(3)}, tmp_path / "w.pt")
    digests.append(open_extractor(spec).digest)
    path.write_text(code + "another = factory\n")
    digests.append(open_extractor(spec).digest)
    digests.append(open_extractor(f"python:{path}:another").digest)
    assert len(set(digests)) == 4


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224))
    model.eval().save_pretrained(folder)
    return folder, model


def test_open_extractor_dinov2_gives_the_class_token(dinov2):
    folder, model = dinov2
    extractor = open_extractor(f"dinov2:{folder}")
    pixels = nn.functional.interpolate(images(32), (224, 224), mode="bicubic", antialias=True) / 2 + 0.5
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = model((pixels.clamp(0, 1) - mean) / std).last_hidden_state[:, 0]
    torch.testing.assert_close(extractor(images(32)), expected, rtol=1e-4, atol=1e-4)
    assert extractor.name == "dinov2"
    assert "bicubic to 224, antialiased" in extractor.resizer


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("inception", r"download pt_inception-2015-12-05-6726825d.pth .* give inception:PATH"),
        ("inception:/nowhere.pth", r"no weights at /nowhere.pth: download .* and give inception:PATH"),
        ("dinov2:/nowhere", "/nowhere is not a folder with config.json .*; give dinov2:FOLDER"),
        ("dinov2", "the hub did not give it.*; give dinov2:FOLDER, a copy of facebook/dinov2-large"),
        ("clip", "no feature extractor 'clip': give inception:PATH, dinov2:FOLDER, shufflenet:PATH, a TorchScript"),
        ("python:/nowhere.py:factory", "no file /nowhere.py: give python:"),
    ],
)
def test_open_extractor_names_what_is_missing_with_the_remedy(spec, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        open_extractor(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model_type", "complaint"),
    [("bert", "holds a model of type bert: known"), ("dinov2", r"no model\*.safetensors in")],
)
def test_open_extractor_refuses_another_model_as_dinov2(tmp_path, model_type, complaint):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ValueError, match=complaint) as caught:
        open_extractor(f"dinov2:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_open_extractor_refuses_another_vision_encoder_as_dinov2(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=28, patch_size=14)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a model of type clip_vision_model, not dinov2; give dinov2:FOLDER"):
        open_extractor(f"dinov2:{tmp_path}")
