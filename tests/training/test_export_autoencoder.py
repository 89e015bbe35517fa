"""What a training leaves for others: each class in its own format, the card, what is refused before the start."""

import json
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import diffusers
import huggingface_hub
import pytest
import torch

from spectrum_matching.files.run_folders import RECORD
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.padding import padding_of
from spectrum_matching.records.training_data import TRAINING, AutoencoderTraining, TrainingData, training, training_data
from spectrum_matching.training import autoencoder_config
from spectrum_matching.training.export_autoencoder import check_hub, push
from spectrum_matching.training.model_card import last_part, write_card

COMMAND = "train-ae"
SMALL = json.loads((Path(__file__).parents[1] / "nets" / "autoencoder" / "small_autoencoders.json").read_text())


@pytest.fixture
def fine_tuning(small_run, tmp_path):
    """(class of diffusers, further settings of the network) → a run that fine-tunes a new model of that class."""

    def build(kind, config=None, **network):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = getattr(diffusers, kind)(**SMALL.get(kind, SMALL["AutoencoderKL"])["config"] | (config or {}))
        model.save_pretrained(tmp_path / kind)
        network = autoencoder_config.Network(pretrained=str(tmp_path / kind), **network)
        method = autoencoder_config.MethodChoice("dsm", block=4, keep=(7, 3))
        return replace(small_run, steps=2, network=network, method=method)

    return build


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["AutoencoderTiny", "AutoencoderDC", "AutoencoderKLFlux2", "AutoencoderKLWan", "VQModel"]
)
def test_train_ae_exports_each_class_with_its_measured_scale(fine_tuning, command, kind):
    run = fine_tuning(kind)
    status, out, err = command(run)
    assert status == 0, err
    assert "losses.perceptual is 0" in err
    folder = Path(out.strip())
    model = getattr(diffusers, kind).from_pretrained(folder)
    original = Autoencoder.from_pretrained(run.network.pretrained)
    assert not torch.equal(next(model.decoder.parameters()), next(original.model.decoder.parameters()))
    measured = json.loads((Path(run.out) / "metrics.json").read_text())["latent_space"]
    space = Autoencoder.from_pretrained(folder).latent_space
    assert space.convention == measured["convention"]
    assert space.std == pytest.approx(measured["std"], rel=1e-4)
    if kind != "VQModel":  # whose codebook has to be learned first
        assert space != original.latent_space
    log = [json.loads(line) for line in (Path(run.out) / "log.jsonl").read_text().splitlines()]
    assert ("codebook" in log[0]) == (kind == "VQModel")


@pytest.mark.slow
@pytest.mark.parametrize("train", ["all", "decoder"])
@pytest.mark.parametrize(
    ("pipeline", "kind", "config"),
    [
        ("GlmImagePipeline", "AutoencoderKL", {"latents_mean": [0.5] * 4, "latents_std": [2.0] * 4}),
        ("Kandinsky5T2IPipeline", "AutoencoderKL", {"scaling_factor": 0.3611, "shift_factor": 0.1159}),
        ("ErnieImagePipeline", "AutoencoderKLFlux2", {}),
    ],
)
def test_train_ae_of_a_pipeline_keeps_one_scale_with_it_and_alone(
    fine_tuning, command, tmp_path, pipeline, kind, config, train
):
    run = fine_tuning(kind, {"latent_channels": 4, **config} if kind == "AutoencoderKL" else config, train=train)
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (tmp_path / kind).rename(folder / "vae")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    run = replace(run, network=replace(run.network, pretrained=str(folder)))
    status, out, err = command(run)
    assert status == 0, err
    measured = json.loads((Path(run.out) / "metrics.json").read_text())["latent_space"]
    before = Autoencoder.from_pretrained(folder)
    alone = Autoencoder.from_pretrained(out.strip())
    shutil.rmtree(folder / "vae")
    shutil.copytree(out.strip(), folder / "vae")  # as its user puts it back
    within = Autoencoder.from_pretrained(folder)
    units = torch.randn(1, alone.channels, 4, 4, generator=torch.Generator().manual_seed(0))
    units = torch.nn.functional.pixel_unshuffle(units, before.latent_space.patch)
    raw = within.latent_space.from_unit(units)
    torch.testing.assert_close(alone.latent_space.from_unit(units), raw)
    if train == "decoder":
        torch.testing.assert_close(raw, before.latent_space.from_unit(units))
    else:
        space = LatentSpace(measured["convention"], tuple(measured["mean"]), tuple(measured["std"]), measured["patch"])
        torch.testing.assert_close(raw, space.from_unit(units), rtol=1e-4, atol=1e-4)
        assert not raw.allclose(before.latent_space.from_unit(units), rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderKLFlux2", "VQModel"])
def test_train_ae_of_the_decoder_keeps_latents_and_their_scale(fine_tuning, command, kind):
    run = fine_tuning(kind, train="decoder", padding="reflect")
    status, out, err = command(run)
    assert status == 0, err
    before, after = (Autoencoder.from_pretrained(path) for path in (run.network.pretrained, out.strip()))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(after.encode(x).mean, before.encode(x).mean)
    assert after.latent_space == before.latent_space
    assert padding_of(after.model) == ("", "reflect")
    changed = {
        key.partition(".")[0]
        for key, value in before.model.state_dict().items()
        if not torch.equal(value, after.model.state_dict()[key])
    }
    assert changed == {"decoder", "post_quant_conv"}
    assert not json.loads((Path(run.out) / "metrics.json").read_text())["latent_space_is_measured"]
    card = (Path(out.strip()) / "README.md").read_text()
    assert f"fine-tuned from {kind}: the decoder alone. Its latents are those of {kind}, bit for bit" in card
    assert 'mode = "reflect" if name in ("decoder", "post_quant_conv") else "zeros"' in card


OWN = '''
import torch

class Mine(torch.nn.Module):
    """An autoencoder with batch normalisation and a format of its own."""

    scaling_factor = 1.0

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 4, 4), torch.nn.BatchNorm2d(4))
        self.decoder = torch.nn.ConvTranspose2d(4, 3, 4, 4)

    def encode(self, images):
        {check}
        return self.encoder(images)

    def decode(self, latents):
        return self.decoder(latents)

    def save_pretrained(self, folder):
        torch.save(self.state_dict() | {{"scale": torch.tensor(self.scaling_factor)}}, folder / "mine.pt")

def new():
    torch.manual_seed(0)
    return Mine()

def opened(folder):
    state = torch.load(folder / "mine.pt", weights_only=True)
    mine = Mine()
    mine.scaling_factor = float(state.pop("scale"))
    mine.load_state_dict(state)
    return mine.eval()
'''


def own(folder, check="pass"):
    path = folder / "mine.py"
    path.write_text(OWN.format(check=check))
    return f"python:{path}:new"


def test_train_ae_trains_an_object_of_one_s_own(small_run, command, tmp_path):
    source = own(tmp_path)
    run = replace(small_run, network=autoencoder_config.Network(pretrained=source))
    status, out, err = command(run)
    assert status == 0, err
    folder = Path(out.strip())
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "SHA256SUMS", "mine.pt", "specmatch.json"]
    again = Autoencoder.from_pretrained(f"{source.replace(':new', ':opened')}@{folder}")
    assert training_data(f"{source.replace(':new', ':opened')}@{folder}").source == run.data.path
    assert training_data(source) is None
    measured = json.loads((Path(run.out) / "metrics.json").read_text())["latent_space"]
    assert again.latent_space.std == pytest.approx(measured["std"], rel=1e-6)
    assert again.latent_space.std != (1.0,)
    assert again.model.encoder[1].num_batches_tracked == run.steps  # a measurement does not move its statistics
    assert "own class, `Mine`" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match=f"an object of your own wrote .*python:FILE.py:FACTORY@{folder}"):
        Autoencoder.from_pretrained(folder)


def test_train_ae_says_what_an_autoencoder_lacks_before_the_start(fine_tuning, command, tmp_path):
    tiny = fine_tuning("AutoencoderTiny")
    for run, arguments, said in (
        (tiny, ("--method.name", "sd_vae"), "(kl), and the latents of this AutoencoderTiny have none"),
        (fine_tuning("AutoencoderRAE"), (), "encoder of this AutoencoderRAE is not trained"),
        (fine_tuning("AutoencoderRAE", train="decoder"), ("--data.size", 64), "takes images of 32 alone"),
        (fine_tuning("AutoencoderDC"), ("--gradient-checkpointing",), "AutoencoderDC has no gradient checkpointing"),
        (fine_tuning("AutoencoderKLWan", padding="reflect"), (), "has no two-dimensional convolution that pads"),
        (tiny, ("--push-to-hub", "mine"), "push_to_hub is 'mine', no name of a repository: give OWNER/NAME"),
        (tiny, ("--push-to-hub", "me/mine"), "push_to_hub: the hub cannot be used ("),
    ):
        run = replace(run, method=autoencoder_config.MethodChoice())
        status, out, err = command(run, *arguments, "--dry-run")
        assert (status, out) == (2, ""), said
        assert said in err.splitlines()[-1]
        assert not Path(run.out).exists()


def test_training_names_the_accumulation_that_is_to_be_tried(small_run, command, tmp_path):
    source = own(tmp_path, "self.training and len(images) > 2 and torch.empty(1 << 50)")
    run = replace(small_run, network=autoencoder_config.Network(pretrained=source), batch_size=12)
    for accumulation, micro_batch, tried in ((1, 12, 2), (3, 4, 6)):
        status, _, err = command(run, "--accumulation", accumulation)
        assert status == 2
        assert f"micro-batches of {micro_batch} do not fit the memory of this device" in err
        named = f"--accumulation {tried}; in a plan, autoencoder.accumulation"
        assert f"raise accumulation to {tried} ({named}), or take gradient_checkpointing, precision bf16 or " in err
    status, out, err = command(run, "--accumulation", 6)
    assert (status, out) == (0, f"{run.out}/export\n"), err


@pytest.mark.slow
def test_card_says_what_was_trained_and_is_kept_once_edited(fine_tuning, command):
    run = replace(fine_tuning("AutoencoderKL", {"shift_factor": 0.1}), name="mine")
    folder = Path(command(run)[1].strip())
    card = (folder / "README.md").read_text()
    metrics = json.loads((Path(run.out) / "metrics.json").read_text())
    before, after = (metrics[key] for key in ("held_out_before", "held_out"))
    space, origin = metrics["latent_space"], training(folder)
    assert before["psnr"] != after["psnr"]
    for line in (
        "library_name: diffusers",
        "# mine",
        "AutoencoderKL`, f2 with 4 latent channels, fine-tuned from AutoencoderKL. Its latents differ",
        'AutoencoderKL.from_pretrained("path/to/this/folder")',
        f"(z − {space['mean'][0]:.6g}) · {1 / space['std'][0]:.6g}" if space["mean"][0] > 0 else "(z − -",
        f"| PSNR, dB | {before['psnr']:.2f} | {after['psnr']:.2f} |",
        "- Method: dsm (keep (7, 3), block 4)",
        "L1 1; without L2, LPIPS, adversarial",
        f"- Images: {Path(run.data.path).name}, 32 × 32, but 20.0% held out (seed 0)",
        "arXiv 2603.14645",
    ):
        assert line in card, line
    assert str(Path(run.data.path).parent) not in card
    assert (origin.base, origin.trained, origin.padding) == (run.network.pretrained, "all", ("", ""))
    shift = diffusers.AutoencoderKL.from_pretrained(folder).config.shift_factor
    assert shift == pytest.approx(space["mean"][0])

    assert write_card(folder, "another\n")
    (folder / "README.md").write_text("mine")
    assert not write_card(folder, "another\n")
    status, _, err = command(run)
    assert (status, (folder / "README.md").read_text()) == (0, "mine")
    assert "is not ours, or was edited, and is kept" in err
    assert Autoencoder.from_pretrained(folder).kind == "AutoencoderKL"  # the checksums do not name the card


class Hub(BaseHTTPRequestHandler):
    """A hub that knows one user and lets nobody create a repository; it remembers what it was asked."""

    asked: list = []  # noqa: RUF012

    def do_GET(self):
        self.answer(200, {"type": "user", "name": "me"})

    def do_POST(self):
        self.answer(403, {"error": "no repositories today"})

    def answer(self, status, content):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.path, self.headers["Authorization"], json.loads(body or "null")))
        answer = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


def test_last_part_hides_paths_alone(tmp_path):
    assert last_part("stabilityai/sd-vae-ft-mse") == "stabilityai/sd-vae-ft-mse"
    assert last_part("hub:owner/photographs") == "hub:owner/photographs"
    assert (last_part(f"{tmp_path}/no such"), last_part(""), last_part("embedded")) == ("no such", "", "embedded")
    assert last_part("python:/home/me/mine.py:new") == "mine.py:new"


def test_push_asks_for_a_private_repository_and_names_the_command_that_uploads_later(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    data = TrainingData(str(tmp_path / "photographs"), 0.1, 0, 32)
    TRAINING.write(tmp_path / RECORD, AutoencoderTraining("run", "", "all", ("", ""), {}, 4, data, "0", ""))
    try:
        check_hub("me/mine")
        with pytest.raises(ValueError, match=rf"{tmp_path} is complete, but was not uploaded \(.*`hf upload me/mine"):
            push(tmp_path, "me/mine")
    finally:
        server.shutdown()
        server.server_close()
    who, create, *_ = Hub.asked  # then it looks whether the repository was there before
    assert who == ("/api/whoami-v2", "Bearer hf_mine", None)
    assert create[:2] == ("/api/repos/create", "Bearer hf_mine")
    assert create[2]["name"] == "mine"
    assert create[2].get("private") is True or create[2].get("visibility") == "private"
