"""The command `sample`, run as a user runs it: in every format, killed, in two processes, over other files."""

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from processes import run_in_two, start
from runs import files as contents
from spectrum_matching.cli.sample import sample
from spectrum_matching.data.pictures import grid, to_bytes
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.processes import open_accelerator
from spectrum_matching.sampling.generate import SamplingChoice, generate_batch, sampling_record
from spectrum_matching.sampling.model import open_model
from spectrum_matching.sampling.parts import all_parts_of, joined, missing_batches, parts_of, read_part, write_part
from spectrum_matching.sampling.sample_record import read_sampling, record_path
from spectrum_matching.training.diffusion_config import DenoiserChoice, DiffusionRun, Source
from spectrum_matching.training.diffusion_data import open_learned
from spectrum_matching.training.train_diffusion import build_diffusion_state, train_diffusion

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
N = 7
CHOICE = SamplingChoice(steps=2, batch_size=3)
ASKED = {"num_images": N, "sampling": CHOICE}


@pytest.fixture(scope="module")
def model(trained_diffusion):
    return open_model(trained_diffusion, CPU)


@pytest.fixture(scope="module")
def pixels(model):
    """The samples, uint8 (N, H, W, 3)."""
    parts = range(3), range(3, 6), range(6, N)  # of the choice's batch size
    return to_bytes(torch.cat([generate_batch(model, CHOICE, part, CPU) for part in parts])).numpy()


@pytest.fixture
def command(trained_diffusion, specmatch):
    """Arguments of `specmatch sample` → exit status, standard output and error."""

    def run(*arguments, model=trained_diffusion):
        return specmatch("sample", model, "--steps", 2, "--num-images", N, *arguments)

    return run


def test_sample_writes_npz_for_adm_s_evaluator(trained_diffusion, model, pixels, tmp_path):
    out = sample(str(trained_diffusion), out=tmp_path / "new" / "x.npz", **ASKED)
    with np.load(out, allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]
        assert archive["arr_0"].dtype == np.uint8
        assert np.array_equal(archive["arr_0"], pixels)
    assert {path.name for path in out.parent.iterdir()} == {"x.npz", "x.json"}
    assert read_sampling(out.with_suffix(".json")) == sampling_record(model, CHOICE, N)


def test_sample_by_a_protocol_changes_what_is_given_as_well(command, tmp_path):
    out = tmp_path / "x.npz"
    assert command("--protocol", "repa_guided", "--guidance", 2.5, "--out", out)[0] == 0
    record = read_sampling(record_path(out))
    assert (record.sampler, record.last_step, record.guidance_interval) == ("euler_maruyama_mean", 0.04, (0.0, 0.7))
    assert (record.steps, record.guidance) == (2, 2.5)
    # What is given counts, also where it is the default of sampling without a protocol.
    assert command("--protocol=repa_guided", "--guidance", 1, "--sampler", "euler", "--out", out, "--overwrite")[0] == 0
    record = read_sampling(record_path(out))
    assert (record.sampler, record.guidance, record.guidance_interval) == ("euler", 1.0, (0.0, 0.7))
    status, _, err = command("--protocol", "rapa", "--out", out)
    assert status == 2
    assert "sit_guided" in err


def test_sample_writes_folder_and_grid(trained_diffusion, model, pixels, tmp_path):
    folder = sample(str(trained_diffusion), out=tmp_path / "folder", **ASKED)
    assert {path.name for path in folder.iterdir()} == {
        "SHA256SUMS",
        "samples.json",
        *(f"{i:06d}.png" for i in range(N)),
    }
    for i in range(N):
        assert np.array_equal(np.asarray(Image.open(folder / f"{i:06d}.png")), pixels[i])
    out = sample(str(trained_diffusion), out=tmp_path / "x.png", **ASKED)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    canvas = grid(images.float() / 127.5 - 1)
    assert np.array_equal(np.asarray(Image.open(out)), to_bytes(canvas)[0].numpy())
    assert read_sampling(folder / "samples.json") == read_sampling(tmp_path / "x.png.json")
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "x.png", "x.png.json"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.npz", "x.png", "folder"])
def test_sample_again_does_nothing_and_another_replaces_if_asked(command, trained_diffusion, name, tmp_path):
    out = tmp_path / name
    assert command("--out", out)[:2] == (0, f"{out}\n")
    before, times = contents(tmp_path), {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for again in ((), ("--batch-size", 2)):
        status, _, err = command("--out", out, *again, model=os.path.relpath(trained_diffusion))
        assert (status, err) == (0, f"{out} already contains these samples; nothing to do\n")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    status, _, err = command("--out", out, "--num-images", 3, "--seed", 1)
    assert status == 2
    assert f"{out} holds other samples: " in err
    assert "3 now" in err
    assert err.endswith("choose another --out, or --overwrite\n")
    assert contents(tmp_path) == before
    assert command("--out", out, "--num-images", 3, "--seed", 1, "--overwrite")[0] == 0
    record = read_sampling(record_path(out))
    assert (record.n_images, record.seed) == (3, 1)
    assert command("--out", out, "--overwrite")[0] == 0
    assert contents(tmp_path) == before  # of the three nothing is left


@pytest.mark.slow
def test_sample_keeps_unfinished_samples_of_other_settings(command, tmp_path):
    assert command("--out", tmp_path / "first")[0] == 0
    parts = parts_of(tmp_path / "x", replace(read_sampling(record_path(tmp_path / "first")), steps=99))
    parts.mkdir()
    write_part(parts, range(2), np.zeros((2, 8, 8, 3), np.uint8))
    status, _, err = command("--out", tmp_path / "x")
    assert (status, "holds unfinished samples of other settings" in err) == (2, True)
    assert list(parts.iterdir())
    assert command("--out", tmp_path / "x", "--overwrite")[0] == 0
    assert not parts.exists()


def test_sample_keeps_other_formats_of_the_same_name(command, tmp_path):
    assert command("--out", tmp_path / "x.npz")[0] == 0
    before = contents(tmp_path)
    for name in ("x.png", "x"):
        assert command("--out", tmp_path / name, "--num-images", 2)[0] == 0
    assert contents(tmp_path).items() > before.items()


def test_sample_overwrites_nothing_but_samples(command, tmp_path):
    (tmp_path / "mine.npz").write_text("mine")
    (tmp_path / "mine.png").write_text("mine")
    (tmp_path / "scores.json").write_text("{}")
    for folder, name in (("notes", "notes.txt"), ("pictures", "000000.png"), ("folder.npz", "notes.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("mine")
    assert command("--out", tmp_path / "mixed")[0] == 0
    (tmp_path / "mixed" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    for name, said in (
        ("mine.npz", "exists, and no mine.json says that it is samples: choose another --out, or --overwrite"),
        ("mine.png", "exists, and no mine.png.json says that it is samples"),
        ("scores.npz", "scores.json exists and is not a record of samples"),
        ("notes", "holds notes.txt: a folder of samples holds nothing else"),
        ("pictures", "holds images without samples.json"),
        ("folder.npz", "folder.npz exists"),
        ("mixed", "holds notes.txt"),
        ("scores.json", "samples are written as X.npz, as a grid X.png, or into a folder"),
        ("x.jpg", "samples are written as X.npz"),
        ("x.NPZ", "samples are written as X.npz"),
        ("mine.npz/below/x.npz", "cannot write "),
    ):
        status, out, err = command("--out", tmp_path / name, "--seed", 3)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("specmatch sample: ")
        assert said in err
        assert contents(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert command("--out", tmp_path / "empty", "--num-images", 1)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--num-images", 0), "num_images is 0, expected at least 1"),
        (("--steps", 0), "steps is 0: must be greater than 0"),
        (("--labels", 2), "a class from 0 to 1"),
        (("--guidance", -1), "guidance is -1.0"),
        (("--autoencoder", "/no/such"), "/no/such is not a folder"),
        (("--out", "/proc/none/x.npz"), "cannot write /proc/none/x.npz: no file"),  # even root cannot write there
    ],
)
def test_sample_reports_user_errors_in_one_line(command, arguments, said, tmp_path):
    status, out, err = command("--out", tmp_path / "x.npz", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("specmatch sample: ")
    assert said in err
    assert not list(tmp_path.iterdir())


def test_sample_warns_of_another_decoder_and_refuses_a_changed(command, trained_diffusion, small_autoencoder, tmp_path):
    other = tmp_path / "other"
    Autoencoder.from_preset("tiny", seed=1).save_pretrained(other)
    status, _, err = command("--out", tmp_path / "x.npz", "--autoencoder", other, "--num-images", 2)
    assert status == 0
    assert "warning: the model's latents are of another autoencoder" in err
    record = read_sampling(tmp_path / "x.json")
    assert (record.autoencoder, record.autoencoder_digest) == (
        str(other),
        open_model(trained_diffusion, CPU, str(other)).decoder.digest,
    )
    copy = Path(shutil.copytree(trained_diffusion, tmp_path / "run"))
    card = copy / "export" / "specmatch.json"
    (copy / "export" / "SHA256SUMS").unlink()
    card.write_text(json.dumps(json.loads(card.read_text()) | {"autoencoder_digest": "0123456789abcdef"}))
    status, _, err = command("--out", tmp_path / "y.png", "--num-images", 2, model=copy)
    assert (status, err.count("\n")) == (2, 1)
    assert f"the model's latents are of another autoencoder (0123456789abcdef) than {small_autoencoder}" in err
    assert "name another by --autoencoder" in err
    assert not (tmp_path / "y.png").exists()
    arguments = "--out", tmp_path / "z.png", "--num-images", 2
    assert "warning" not in command(*arguments, "--autoencoder", small_autoencoder)[2]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
def test_missing_batches_hold_each_image_once(tmp_path, batch_size):
    assert [list(part) for part in missing_batches(tmp_path, 7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    pixels = np.zeros((8, 2, 2, 3), np.uint8)
    for part in (range(3, 6), range(9, 10)):
        write_part(tmp_path, part, pixels[: len(part)])
    (tmp_path / ".00000006-00000009.npz.written.0-1.partial").write_bytes(b"half")
    parts = missing_batches(tmp_path, 12, batch_size)
    assert max(map(len, parts)) <= batch_size
    assert [i for part in parts for i in part] == [0, 1, 2, 6, 7, 8, 10, 11]
    for part in parts:
        write_part(tmp_path, part, np.zeros((len(part), 2, 2, 3), np.uint8))
    assert missing_batches(tmp_path, 12, batch_size) == []


def batches_of(out):
    """The finished batches that wait beside `out`."""
    return [path for parts in all_parts_of(out) for path in parts.iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize("name", ["x.npz", "x.png", "folder"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_sample_makes_again_what_is_not_whole(command, tmp_path, name, damage):
    out = tmp_path / name
    assert command("--out", out)[0] == 0
    before = contents(tmp_path)
    victim = out / "000003.png" if out.is_dir() else out
    content = victim.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes({"cut": content[:middle], "flip": flipped, "empty": b""}[damage])
    assert contents(tmp_path) != before
    status, _, err = command("--out", out)
    assert status == 0
    assert "nothing to do" not in err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:]])
def test_sample_makes_damaged_batches_again(trained_diffusion, model, command, pixels, tmp_path, damage):
    parts = parts_of(tmp_path / "x.npz", sampling_record(model, CHOICE, N))
    parts.mkdir()
    write_part(parts, range(3, 6), pixels[3:6])
    (part,) = parts.iterdir()
    part.write_bytes(damage(part.read_bytes()))
    with pytest.raises(ValueError, match=r"00000003-00000006\.npz cannot be read"):
        read_part(parts, range(3, 6))
    status, _, err = command("--out", tmp_path / "x.npz", "--batch-size", 3)
    assert status == 0
    assert "00000003-00000006.npz" in err.replace("\n", "")
    assert np.array_equal(np.load(tmp_path / "x.npz")["arr_0"], pixels)
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz", "x.json"}


def test_read_part_refuses_a_batch_under_the_name_of_another(tmp_path):
    for indices in (range(2), range(2, 4)):
        write_part(tmp_path, indices, np.full((2, 2, 2, 3), indices.start, np.uint8))
    assert np.unique(read_part(tmp_path, range(2, 4))) == 2
    (tmp_path / "00000000-00000002.npz").replace(tmp_path / "00000002-00000004.npz")
    with pytest.raises(ValueError, match=r"00000002-00000004\.npz cannot .* \(it is of other images than 2 to 3\)"):
        read_part(tmp_path, range(2, 4))


def test_joined_refuses_batches_that_do_not_cover_the_images_once(tmp_path):
    pixels = np.zeros((4, 2, 2, 3), np.uint8)
    for name, ranges in (("gap", (range(2), range(3, 4))), ("twice", (range(3), range(2, 4))), ("short", (range(3),))):
        (tmp_path / name).mkdir()
        for indices in ranges:
            write_part(tmp_path / name, indices, pixels[: len(indices)])
        with pytest.raises(ValueError, match="are not images 0 to 3 once each"):
            list(joined(tmp_path / name, 4))
    (tmp_path / "sizes").mkdir()
    write_part(tmp_path / "sizes", range(2), pixels[:2])
    write_part(tmp_path / "sizes", range(2, 4), pixels[:2, :1, :1])
    with pytest.raises(ValueError, match=r"are \(2, 2, 3\) and \(1, 1, 3\)"):
        list(joined(tmp_path / "sizes", 4))


def test_sample_overwrites_a_file_where_asked_to(command, tmp_path):
    (tmp_path / "x.npz").write_text("mine")
    assert command("--out", tmp_path / "x.npz")[0] == 2
    assert command("--out", tmp_path / "x.npz", "--overwrite")[0] == 0
    assert np.load(tmp_path / "x.npz")["arr_0"].shape[0] == N


def forked(model, out, kill_at=0, limit=0):
    """Sample in a process that kills itself at its `kill_at`-th flush to the disk; return its exit code."""
    code = f"""
        from pathlib import Path
        from spectrum_matching.cli.sample import sample
        from spectrum_matching.sampling.generate import SamplingChoice
        try:
            sample({str(model)!r}, out=Path({str(out)!r}), overwrite=True, **{ASKED!r})
        except ValueError as error:
            Path({str(out)!r}).with_suffix(".said").write_text(str(error))
            raise SystemExit(2)
    """
    process = start(code, kill_at, limit)
    process.join(120)
    return process.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.npz", "folder"])
def test_sample_killed_repeatedly_gives_the_same_files(trained_diffusion, name, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert forked(trained_diffusion, whole / name) == 0
    sample(str(trained_diffusion), out=killed / name, num_images=N, sampling=replace(CHOICE, seed=1))  # to be replaced
    before, after = contents(killed), contents(whole)
    # Flushes: two of each of three batches, then those of what they become.
    for kill_at, there in ((1, 0), (3, 1), (3, 2), (1, 2), (3, 3), (1, 3), (2, 3), (3, 3), (4, 3)):
        assert forked(trained_diffusion, killed / name, kill_at) == -signal.SIGKILL
        assert len(list(batches_of(killed / name))) == there
        if record := read_sampling(record_path(killed / name)):  # then it speaks of what is there
            expected = before if record.seed == 1 else after
            assert contents(killed).items() >= expected.items()
    assert forked(trained_diffusion, killed / name) == 0
    assert contents(killed) == after


def test_sample_resumes_after_a_full_disk(trained_diffusion, pixels, tmp_path):
    for limit, there in ((pixels[0].nbytes, 0), (pixels[:4].nbytes, 3)):
        assert forked(trained_diffusion, tmp_path / "x.npz", limit=limit) == 2
        said = (tmp_path / "x.said").read_text()
        assert said.startswith(f"cannot write samples to {tmp_path / 'x.npz'}: ")
        assert said.endswith(", then rerun the same command to resume")
        assert len(list(batches_of(tmp_path / "x.npz"))) == there
        assert not (tmp_path / "x.npz").exists()
    assert forked(trained_diffusion, tmp_path / "x.npz") == 0
    assert np.array_equal(np.load(tmp_path / "x.npz")["arr_0"], pixels)


def process(latents, model, out):
    """What each of two processes does: it trains, then samples what is not there yet."""
    accelerator = open_accelerator()
    rank, world = accelerator.process_index, accelerator.num_processes
    small = DenoiserChoice("SiT-micro/4", width=32, depth=2, heads=2)
    run = DiffusionRun(steps=3, batch_size=8, accumulation=2, source=Source(latents=latents), denoiser=small)
    data = open_learned(run, accelerator.device)
    state = build_diffusion_state(run, data.shape, len(data.info.classes), accelerator.device)
    batches = list(data.batches(rank, world, 0, 3))
    if rank == 1:
        batches[1].data[0] = torch.nan
    records = list(train_diffusion(run, state, iter(batches), accelerator))
    torch.save((state.state_dict(), [r.skipped for r in records], [b.data for b in batches]), out / f"{rank}.pt")
    for name in ("x.npz", "folder", "begun.npz"):
        sample(model, out=out / name, **ASKED)
    accelerator.end_training()


@pytest.fixture(scope="module")
def two(latent_cache, trained_diffusion, model, pixels, tmp_path_factory):
    """The folder of what two processes made; of begun.npz one batch was there."""
    out = tmp_path_factory.mktemp("two")
    record = read_sampling(record_path(sample(str(trained_diffusion), out=out / "one.npz", **ASKED)))
    parts = parts_of(out / "begun.npz", record)
    parts.mkdir()
    write_part(parts, range(3, 6), pixels[3:6])
    run_in_two(__file__, latent_cache, trained_diffusion, out)
    return out


@pytest.mark.slow
def test_sample_in_two_processes_writes_what_one_does(two, trained_diffusion):
    one = two / "one.npz"
    for name in ("x.npz", "begun.npz"):
        assert (two / name).read_bytes() == one.read_bytes()
        assert read_sampling(record_path(two / name)) == read_sampling(record_path(one))
    assert contents(two / "folder") == contents(sample(str(trained_diffusion), out=two / "alone", **ASKED))


def test_train_diffusion_in_two_processes_trains_one_model(two, latent_cache):
    (first, skipped, mine), (second, also_skipped, others) = (
        torch.load(two / f"{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert skipped == also_skipped == [False, True, False]
    assert all(torch.equal(first["denoiser"][name], second["denoiser"][name]) for name in first["denoiser"])
    averages = zip(first["ema"]["shadow_params"], second["ema"]["shadow_params"], strict=True)
    assert all(torch.equal(a, b) for a, b in averages)
    run = DiffusionRun(batch_size=8, source=Source(latents=str(latent_cache), sample=False))
    whole = [batch.data for batch in open_learned(run, CPU).batches(0, 1, 0, 3)]
    for step in (0, 2):  # between them they see what one would, each with noise of its own
        assert (torch.cat([mine[step], others[step]]) - whole[step]).abs().mean() < 1


def test_sample_in_tiles_decodes_by_them_and_records_it(command, small_autoencoder, tmp_path):
    folder = shutil.copytree(small_autoencoder, tmp_path / "tiled")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sample_size": 16}))  # tiles of 4 × 4 of 8 × 8 positions
    arguments = "--autoencoder", folder, "--out", tmp_path / "x.npz"
    assert command(*arguments)[0] == 0
    whole = np.load(tmp_path / "x.npz")["arr_0"]
    assert read_sampling(tmp_path / "x.json").tile is None
    assert command(*arguments, "--tiling", "--overwrite")[0] == 0  # other samples, by other settings
    tiled = np.load(tmp_path / "x.npz")["arr_0"]
    assert read_sampling(tmp_path / "x.json").tile == 16
    assert not np.array_equal(whole, tiled)


OWN = """
from torch.nn.functional import avg_pool2d, interpolate

class Halves:
    def encode(self, x):
        return avg_pool2d(x, 4).repeat(1, 3, 1, 1)[:, :8]

    def decode(self, z):
        if getattr(self, "use_tiling", False):
            raise RuntimeError("no tiles here")
        return interpolate(z[:, :3], scale_factor=4)

class Tiles(Halves):
    use_tiling, tile_sample_min_size = False, 8

    def enable_tiling(self):
        self.use_tiling = True
"""


def test_sample_refuses_tiles_that_fail_before_any_work(command, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    for factory, why in (
        ("Halves", "Halves cannot encode and decode in tiles"),
        ("Tiles", "fails in its tiles of 8 p"),
    ):
        source = f"python:{tmp_path / 'mine.py'}:{factory}"
        status, _, error = command("--autoencoder", source, "--tiling", "--out", tmp_path / "x.npz")
        assert (status, why in error, len(error.strip().splitlines())) == (2, True, 1)


if __name__ == "__main__":
    process(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
