import pytest
import torch
from torch import nn

from spectrum_matching.nets.vision.extractors import NO_RESIZE, open_extractor


class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, images):
        return images.mean((2, 3)) * self.scale


def images(size=16):
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_torchscript_file_says_what_it_is(tmp_path):
    path = tmp_path / "mine.pt"
    torch.jit.script(Means()).save(path)
    extractor = open_extractor(str(path))
    torch.testing.assert_close(extractor(images()), images().mean((2, 3)))
    assert extractor.extract(images()).logits is None
    assert (extractor.name, extractor.resizer, len(extractor.digest)) == ("mine.pt", NO_RESIZE, 16)
    assert open_extractor(str(path)).digest == extractor.digest


def test_python_counts_with_its_code_and_its_weights(tmp_path):
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
    path.write_text(code + "# other code\n")
    digests.append(open_extractor(spec).digest)
    assert len(set(digests)) == 3


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224))
    model.eval().save_pretrained(folder)
    return folder, model


def test_dinov2_gives_the_class_token_of_normalised_antialiased_images(dinov2):
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
        ("inception:/nowhere.pth", "no file /nowhere.pth with Inception's weights"),
        ("dinov2:/nowhere", "no folder with config.json and model.safetensors: give dinov2:FOLDER"),
        ("dinov2", "facebook/dinov2-large.*as dinov2:FOLDER"),
        ("clip", "no feature extractor 'clip': give inception:PATH, dinov2:FOLDER, a TorchScript file"),
        ("python:/nowhere.py:factory", "no feature extractor"),
    ],
)
def test_what_is_not_there_is_named_with_its_remedy(spec, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        open_extractor(spec)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_no_dinov2(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds no Dinov2Model of transformers") as caught:
        open_extractor(f"dinov2:{tmp_path}")
    assert "\n" not in str(caught.value)
