import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch

from spectrum_matching.diffusion import Path as DiffusionPath
from spectrum_matching.latent_space import LatentSpace, SpectralGain
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.sampling.model import Card, open_decoder, open_model, read_card, write_model

CPU = torch.device("cpu")
CARD = Card(
    run="one [run]",
    step=7,
    averaged=True,
    path=DiffusionPath("vp", "noise"),
    shape=(8, 8, 8),
    classes=("a cat", "ein Hund"),
    class_counts=(3, 0),
    learned_none=True,
    latent_space=LatentSpace("per channel", tuple(0.1 * c for c in range(8)), tuple(1 + 0.1 * c for c in range(8))),
    autoencoder="",
    data="latents",
    data_digest="abc",
)


@pytest.fixture
def denoiser():
    """One whose prediction is not 0, as that of a new one is."""
    net = build_denoiser("SiT-micro/4", 8, (8, 8), 2, width=32, depth=2, heads=2)
    net.last.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    return net


def test_open_model_returns_what_was_written(denoiser, small_autoencoder, tmp_path):
    card = replace(CARD, autoencoder=str(small_autoencoder))
    write_model(tmp_path / "run" / "export", denoiser, card)
    (tmp_path / "run" / "run.yaml").write_text(f"steps: {card.step}\n")
    assert read_card(tmp_path / "run" / "export") == card
    for folder in (tmp_path / "run", tmp_path / "run" / "export"):
        model = open_model(folder, CPU)
        assert (model.card, model.decoder.name) == (card, card.autoencoder)
        noisy, t, labels = torch.randn(3, 8, 8, 8), torch.rand(3), torch.tensor([0, 1, -1])
        assert torch.equal(model.denoiser(noisy, t, labels)[0], denoiser(noisy, t, labels)[0])
        assert not any(p.requires_grad for net in (model.denoiser, model.decoder.autoencoder) for p in net.parameters())


def test_decode_undoes_the_scale_of_latents(denoiser, small_autoencoder, tmp_path):
    write_model(tmp_path / "m", denoiser, replace(CARD, autoencoder=str(small_autoencoder)))
    raw = torch.randn(2, 8, 8, 8)
    with torch.no_grad():
        expected = Autoencoder.from_pretrained(small_autoencoder).decode(raw).clamp(-1, 1)
    torch.testing.assert_close(open_model(tmp_path / "m", CPU).decode(CARD.latent_space.to_unit(raw)), expected)


def test_decode_undoes_a_gain_that_the_card_holds(denoiser, small_autoencoder, tmp_path):
    gain = SpectralGain(((0.5, 3.0),), frequencies=(1 / 16, 0.7))
    space = replace(CARD.latent_space, rotation=tuple(map(tuple, torch.eye(8).flip(0).tolist())), gain=gain)
    write_model(tmp_path / "m", denoiser, replace(CARD, autoencoder=str(small_autoencoder), latent_space=space))
    model = open_model(tmp_path / "m", CPU)
    assert model.card.latent_space == space
    raw = torch.randn(2, 8, 8, 8)
    with torch.no_grad():
        expected = Autoencoder.from_pretrained(small_autoencoder).decode(raw).clamp(-1, 1)
    torch.testing.assert_close(model.decode(space.to_unit(raw)), expected, rtol=1e-4, atol=1e-4)


def test_read_card_without_a_gain_has_none(denoiser, tmp_path):
    write_model(tmp_path / "m", denoiser, CARD)
    card = json.loads((tmp_path / "m" / "specmatch.json").read_text())
    del card["latent_space"]["gain"], card["latent_space"]["rotation"]
    (tmp_path / "m" / "specmatch.json").write_text(json.dumps(card))
    assert read_card(tmp_path / "m") == CARD


def test_decode_of_pixels_clamps_alone(tmp_path, small_autoencoder):
    net = build_denoiser("SiT-micro/4", 3, (8, 8), 0, width=32, depth=2, heads=2)
    unconditional = replace(CARD, shape=(3, 8, 8), classes=(), class_counts=(), latent_space=LatentSpace())
    write_model(tmp_path / "m", net, replace(unconditional, is_pixels=True))
    model = open_model(tmp_path / "m", CPU)
    images = torch.linspace(-2, 2, 192).view(1, 3, 8, 8)
    assert torch.equal(model.decode(images), images.clamp(-1, 1))
    with pytest.raises(ValueError, match=r"samples pixels, which .* does not decode"):
        open_model(tmp_path / "m", CPU, str(small_autoencoder))


def test_open_model_reports_errors_in_one_line(denoiser, small_autoencoder, tmp_path):
    known = replace(CARD, autoencoder=str(small_autoencoder))

    def made(name, card=known):
        write_model(tmp_path / name, denoiser, card)
        return tmp_path / name

    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "run.yaml").touch()
    other = build_denoiser("SiT-micro/4", 4, (8, 8), 2, width=32, depth=2, heads=2)
    odd = made("odd")
    shutil.rmtree(odd)
    write_model(odd, other, known)
    torn, foreign, unweighed, uncounted, unknown = map(made, ("torn", "foreign", "unweighed", "uncounted", "old"))
    (torn / "specmatch.json").write_text("{")
    (foreign / "specmatch.json").write_text(json.dumps({"run": "an autoencoder's"}))
    content = asdict(known)
    (uncounted / "specmatch.json").write_text(json.dumps({**content, "class_counts": [3]}))
    del content["class_counts"], content["learned_none"]
    (unknown / "specmatch.json").write_text(json.dumps(content))
    (unweighed / "diffusion_pytorch_model.safetensors").unlink()
    wide = {**asdict(CARD.latent_space), "mean": [0.0], "std": [1.0], "patch": 2}
    for source, autoencoder, said in (
        (tmp_path / "none", None, "holds no trained diffusion model"),
        (small_autoencoder, None, "holds no trained diffusion model"),
        (tmp_path / "unfinished", None, "holds an unfinished training: rerun the same"),
        (torn, None, "specmatch.json is damaged: it is not JSON"),
        (foreign, None, "describes no diffusion model"),
        (unknown, None, "describes no diffusion model .class_counts: .*: expected what `specmatch train-diff"),
        (uncounted, None, "2 classes and 1 class_counts: expected as many of each"),
        (odd, None, "is damaged"),
        (made("classless", replace(known, classes=(), class_counts=())), None, "declares 0 classes, .* network has 2"),
        (unweighed, None, r"diffusion_pytorch_model\.safetensors is missing; copy the folder again"),
        (made("unknown", CARD), None, "does not record what decodes its latents; name it by --autoencoder"),
        (
            made("gone", replace(CARD, autoencoder="/no/such")),
            None,
            "/no/such is not a folder.*another by --autoencoder",
        ),
        (made("fine"), "/no/such", "/no/such is not a folder.*another by --autoencoder"),
        (made("packed", replace(known, latent_space=LatentSpace(**wide))), None, "have 8 channels, but .* decodes 32"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            open_model(source, CPU, autoencoder)
        assert "\n" not in str(caught.value)


def test_open_decoder_digests_weights(small_autoencoder, tmp_path):
    copy = shutil.copytree(small_autoencoder, tmp_path / "copy")
    one, same = (open_decoder(CARD, str(folder), CPU) for folder in (small_autoencoder, copy))
    Autoencoder.from_preset("tiny", seed=1).save_pretrained(copy)
    assert one.digest == same.digest != open_decoder(CARD, str(copy), CPU).digest
