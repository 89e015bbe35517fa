import json

import pytest

from spectrum_matching.analysis.doctor import CHECKS
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.diagnosis import DIAGNOSIS

SOUND = """
import torch
from torch import nn

class Half(nn.Module):
    def encode(self, images):
        means = nn.functional.avg_pool2d(images, 2)
        return 2 * torch.cat([means, nn.functional.avg_pool2d(images * torch.tensor([-1.0, 1.0]).repeat({n}), 2)], 1)

    def decode(self, latents):
        means, slopes = (latents / 2).chunk(2, 1)
        up = lambda x: nn.functional.interpolate(x, scale_factor=2)
        pictures = up(means) + up(slopes) * torch.tensor([-1.0, 1.0]).repeat(means.shape[-1])
        return pictures{after}

def factory():
    return Half()
"""


def source(folder, after=""):
    file = folder / "half.py"
    file.write_text(SOUND.replace("{n}", "images.shape[-1] // 2").replace("{after}", after))
    return f"python:{file}:factory"


def test_doctor_exits_with_0_where_nothing_is_wrong(specmatch, tmp_path):
    status, out, err = specmatch("doctor", f"half={source(tmp_path)}")
    assert status == 0, out + err
    lines = out.splitlines()
    assert lines[0].startswith("half Half, f2, 6 channels, 0.0 M weights; 6 images of 64 pixels (embedded)")
    assert [line.split()[1] for line in lines[1:-1]] == [check.name for check in CHECKS]
    assert ", 0 look, 0 wrong, " in lines[-1]


def test_doctor_exits_with_1_and_prints_the_fix(specmatch, tmp_path):
    status, out, _ = specmatch("doctor", source(tmp_path, ".flip(1)"))
    assert status == 1
    found, evidence, fix = (line.strip() for line in out.split("wrong   ")[1].splitlines()[:3])
    assert found.endswith(("encoder takes blue, green, red.", "decoder returns blue, green, red."))
    assert "of the error" in evidence
    assert fix.startswith("fix: in ")


def test_doctor_is_strict_if_asked(specmatch, tmp_path):
    random = source(tmp_path, " + 0.01 * torch.randn(())")
    status, out, _ = specmatch("doctor", random)
    assert (status, "Decode draws random numbers." in out) == (0, True)
    assert specmatch("doctor", random, "--strict")[0] == 1


def test_doctor_prints_json_alone(specmatch, tmp_path):
    status, out, _ = specmatch("doctor", source(tmp_path, ".flip(1)"), "--json")
    assert status == 1
    assert json.loads(out)["format"] == DIAGNOSIS.format
    (tmp_path / "doctor.json").write_text(out)
    assert [outcome.check for outcome in DIAGNOSIS.read(tmp_path / "doctor.json").of("wrong")] == ["wiring"]


def test_doctor_says_which_weights_a_folder_lacks(specmatch, tmp_path):
    from safetensors.torch import load_file, save_file

    Autoencoder.from_preset("tiny").save_pretrained(tmp_path / "vae")
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_last.weight"] = tensors.pop("decoder.conv_out.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    status, out, _ = specmatch("doctor", tmp_path / "vae")
    assert status == 1
    assert "wrong   loaded          Not all weights loaded." in out
    assert "1 tensors are not in the files (decoder.conv_out.weight); 1 in the files" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nowhere/vae.safetensors",), "no such file"),
        (("latents:somewhere",), "no network to examine"),
        (("python:nowhere.py:factory",), "no file nowhere.py"),
        (("{}", "--data", "nowhere"), "nowhere"),
        (("{}", "--size", "31"), "31"),
        (("{}", "--device", "abacus"), "abacus"),
    ],
)
def test_doctor_exits_with_2_where_it_cannot_run(specmatch, tmp_path, arguments, named):
    status, out, err = specmatch("doctor", *(word.format(source(tmp_path)) for word in arguments))
    assert (status, out) == (2, "")
    assert named in err
    assert err.splitlines()[-1].startswith("specmatch doctor: ")
