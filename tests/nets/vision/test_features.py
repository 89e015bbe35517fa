import pytest
import torch
from torch import nn

from spectrum_matching.nets.vision.features import open_features


class Means(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


def saved(tmp_path, module):
    path = tmp_path / "features.pt"
    torch.jit.trace(module, torch.zeros(2, 3, 8, 8)).save(path)
    return str(path)


def script(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(f"import torch\n{body}")
    return f"python:{path}:factory"


def images():
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_torchscript_files_and_python_factories_give_their_features(tmp_path):
    sources = [saved(tmp_path, Means()), script(tmp_path, "def factory(): return lambda x: x.mean((2, 3))")]
    for source in sources:
        torch.testing.assert_close(open_features(source)(images()), images().mean((2, 3)))


def test_a_factory_s_module_is_put_into_eval_mode(tmp_path):
    source = script(tmp_path, "def factory(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9))")
    assert torch.equal(open_features(source)(images()), images().flatten(1))


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ("x", r"returned torch.float32 \(4, 3, 8, 8\) for 4 images, expected floats \(4, d\)"),
        ("x.mean((2, 3))[:1]", r"returned torch.float32 \(1, 3\) for 4 images"),
        ("x.mean((2, 3)).long()", "returned torch.int64"),
        ("(x,)", "returned tuple, expected a tensor"),
        ("x.mean((2, 3)) / 0", "values that are not finite"),
        ("x @ torch.zeros(5, 5)", r"failed on images \(4, 3, 8, 8\): "),
    ],
)
def test_what_is_no_feature_is_refused_in_one_line(tmp_path, returned, complaint):
    features = open_features(script(tmp_path, f"def factory(): return lambda x: {returned}"))
    with pytest.raises(ValueError, match=complaint) as caught:
        features(images())
    assert "\n" not in str(caught.value)


def test_torchscript_s_own_failure_is_one_line(tmp_path):
    features = open_features(saved(tmp_path, nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))))
    with pytest.raises(ValueError, match=r"failed on images \(1, 3, 16, 16\)") as caught:
        features(torch.zeros(1, 3, 16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_a_file_that_is_not_torchscript_is_named(tmp_path, content):
    path = tmp_path / "<b>.pt"
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="is no TorchScript file that can be read") as caught:
        open_features(str(path))
    assert "\n" not in str(caught.value)


def test_a_state_dict_is_no_torchscript(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="is no TorchScript file"):
        open_features(str(tmp_path / "state.pt"))


def test_a_factory_must_return_a_function(tmp_path):
    with pytest.raises(ValueError, match="returned int, expected a function of images"):
        open_features(script(tmp_path, "def factory(): return 3"))
