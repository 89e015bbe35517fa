"""Settings that must stand before torch is loaded, and the fields that the tests share."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:  # each worker has one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import scipy.fft
import torch

MOST_WORKERS = 8  # each takes up to 2 GB, with the processes that its tests start
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container on Linux: microseconds of each period, or "max"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell in the background, whose tests of signals would fail
    signal.signal(signal.SIGINT, signal.default_int_handler)

if os.environ.get("CHECK_SHAPES"):
    import shape_checks

    shape_checks.install()


def pytest_xdist_auto_num_workers():
    """What `-n auto` means: a worker for each core that this process may use; none on a single one."""
    cores = [psutil.cpu_count(logical=False) or 1, MOST_WORKERS]
    if hasattr(os, "sched_getaffinity"):
        cores.append(len(os.sched_getaffinity(0)))
    allowed, *period = QUOTA.read_text().split() if QUOTA.exists() else ["max"]
    if allowed != "max":
        cores.append(int(allowed) // int(*period))
    return min(cores) if min(cores) > 1 else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape what a worker cannot send: names of files that are not UTF-8, as tests log and print them."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


def pytest_collection_modifyitems(items):
    """Skip what cannot run while shapes are checked."""
    if os.environ.get("CHECK_SHAPES"):
        for item in items:
            if item.get_closest_marker("unchecked"):
                item.add_marker(pytest.mark.skip(reason="shapes are checked before the library sees them"))


@pytest.fixture
def generator():
    """A generator with a fixed seed, new for each test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def one_thread():
    """For modules that compare with processes of their own: other numbers of threads round sums differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def specmatch(capfd):
    """Arguments of the command → exit status, standard output, standard error."""
    from spectrum_matching.cli.main import main

    def command(*arguments):
        capfd.readouterr()  # drops what was written before
        status = 0
        try:
            main(list(map(str, arguments)))
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    return command


@pytest.fixture(scope="session")
def official():
    """The values recorded from the paper's functions."""
    return json.loads((Path(__file__).parent / "oracles" / "official_values.json").read_text())


@pytest.fixture(scope="session")
def field():
    """(seed, shape, alpha) → the float32 field on which the official values were recorded; alpha None is white."""

    def build(seed, shape, alpha=None):
        noise = np.random.default_rng(seed).standard_normal(shape)
        if alpha is None:
            return torch.from_numpy(noise.astype(np.float32))
        h, w = shape[-2:]
        radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w))
        radius[0, 0] = 1
        x = np.fft.irfft2(np.fft.rfft2(noise) * radius ** (-alpha / 2), s=(h, w))
        x = (x - x.mean((-2, -1), keepdims=True)) / x.std((-2, -1), keepdims=True)
        return torch.from_numpy(np.clip(0.4 * x, -1, 1).astype(np.float32))

    return build


@pytest.fixture(scope="session")
def power_law_field():
    """(seed, shape, alpha) → a float64 field whose expected DCT power is f^-alpha, f in cycles per sample, no DC."""

    def build(seed, shape, alpha):
        h, w = shape[-2:]
        f = np.hypot(np.arange(h)[:, None] / (2 * h), np.arange(w) / (2 * w))
        f[0, 0] = np.inf
        spectrum = np.random.default_rng(seed).standard_normal(shape) * np.where(np.isinf(f), 0, f ** (-alpha / 2))
        spectrum[..., 0, 0] = 0
        return torch.from_numpy(scipy.fft.idctn(spectrum, axes=(-2, -1), norm="ortho"))

    return build


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """24 PNG files, 48 × 40 pixels, of smooth random colour."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for i in range(24):
        cells = np.random.default_rng(i).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def mixed_folder(tmp_path_factory):
    """24 PNG files of smooth random colour: 10 of 60 × 40 pixels, 8 of 40 × 40 and 6 of 40 × 60."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("mixed")
    for i in range(24):
        size = (60, 40) if i < 10 else (40, 40) if i < 18 else (40, 60)
        cells = np.random.default_rng(i).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """12 PNG files, 48 × 48 pixels, of smooth random colour."""
    from files_of_tests import write_pictures

    return write_pictures(tmp_path_factory.mktemp("data") / "pictures", 12)


@pytest.fixture(autouse=True, scope="session")
def kept_apart(tmp_path_factory):
    """What the package keeps in the user's cache folder goes to one of the tests'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("kept")))
        yield


@pytest.fixture
def signals_not_ignored():
    """Signals act as in a terminal: a shell has what it starts in the background ignore Ctrl-C."""
    from spectrum_matching.files.signals import ENDING

    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def small_run(image_folder, tmp_path):
    """A run of 4 steps on two images of 32 × 32, logged and checkpointed at every step."""
    from spectrum_matching.training import autoencoder_config

    return autoencoder_config.AutoencoderRun(
        name="small",
        out=str(tmp_path / "run"),
        steps=4,
        batch_size=2,
        data=autoencoder_config.Data(path=str(image_folder), size=32, held_out=0.2),
        optimizer=autoencoder_config.Optimizer(lr=1e-3, warmup=2, ema=0.9),
        intervals=autoencoder_config.Intervals(log=1, preview=0, checkpoint=1),
    )


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory):
    """16 PNG files, 32 × 32 pixels, of smooth random colour in two class folders, cat dark and dog bright."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("classes")
    for i in range(16):
        name, low = ("cat", 0) if i < 8 else ("dog", 128)
        (folder / name).mkdir(exist_ok=True)
        cells = np.random.default_rng(i).integers(low, low + 128, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((32, 32), Image.Resampling.BICUBIC).save(folder / name / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def small_autoencoder(tmp_path_factory):
    """The folder of an untrained autoencoder, 32 × 32 pixels to latents of 8 × 8 × 8, that declares its scale."""
    from spectrum_matching.latent_space import LatentSpace
    from spectrum_matching.nets.autoencoder import Autoencoder

    folder = tmp_path_factory.mktemp("small") / "autoencoder"
    Autoencoder.from_preset("tiny").save_pretrained(folder, LatentSpace("scale", (0.0,), (1 / 0.9,)))
    return folder


@pytest.fixture(scope="session")
def analysis():
    """The analysis, named "same", of an autoencoder whose latents are the images, on six of 24 × 24 pixels."""
    from codecs_of_tests import Same
    from spectrum_matching.analysis import analyze

    images = torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return analyze(Same(), images, name="same")


@pytest.fixture(scope="session")
def save_dinov2():
    """(folder, seed) → the folder, holding an untrained vision encoder: patches of 14 pixels, tokens of width 12."""
    import transformers

    config = transformers.Dinov2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=28)

    def save(folder, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            transformers.Dinov2Model(config).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def latent_cache(class_folder, small_autoencoder, tmp_path_factory):
    """The class folder's latents, with flips, in two shards."""
    from spectrum_matching.cli.cache import cache_latents

    out = tmp_path_factory.mktemp("cached") / "latents"
    options = {"split": "all", "size": 32, "dtype": "float32", "flips": True, "shard_images": 9}
    return cache_latents(str(small_autoencoder), data=str(class_folder), out=out, **options)


@pytest.fixture
def small_diffusion(latent_cache, tmp_path):
    """A run of 4 steps on four cached latents, logged and checkpointed at every step."""
    from spectrum_matching.sampling.generate import SamplingChoice
    from spectrum_matching.training import autoencoder_config, diffusion_config

    return diffusion_config.DiffusionRun(
        name="small",
        out=str(tmp_path / "run"),
        steps=4,
        batch_size=4,
        source=diffusion_config.Source(latents=str(latent_cache), size=32),
        denoiser=diffusion_config.DenoiserChoice("SiT-micro/4", width=32, depth=2, heads=2),
        optimizer=autoencoder_config.Optimizer(lr=1e-3, warmup=2, ema=0.9),
        preview=SamplingChoice(steps=2, batch_size=8),
        intervals=autoencoder_config.Intervals(log=1, preview=0, checkpoint=1),
    )


@pytest.fixture(scope="session")
def trained_diffusion(latent_cache, tmp_path_factory):
    """The run directory of a model of two classes, three steps from its start."""
    from spectrum_matching.training import autoencoder_config, diffusion_config
    from spectrum_matching.training.run_diffusion import run_diffusion

    run = diffusion_config.DiffusionRun(
        name="trained",
        out=str(tmp_path_factory.mktemp("trained") / "run"),
        steps=3,
        batch_size=8,
        source=diffusion_config.Source(latents=str(latent_cache)),
        denoiser=diffusion_config.DenoiserChoice("SiT-micro/4", width=32, depth=2, heads=2),
        optimizer=autoencoder_config.Optimizer(lr=0.02, warmup=0, ema=0.0),
        intervals=autoencoder_config.Intervals(log=1, preview=0, checkpoint=3),
    )
    return run_diffusion(run).parent
