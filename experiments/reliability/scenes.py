"""Small products of every verb: images by NumPy, networks of a few thousand weights, and commands that end soon."""

import shutil
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import yaml
from forked import Result, run, run_verb
from PIL import Image

SIZE, N_IMAGES = 32, 64
SCHEDULE = ("--intervals.log", "1", "--intervals.checkpoint", "2", "--intervals.preview", "3")
DENOISER = (
    "--denoiser.name",
    "SiT-micro/2",
    "--denoiser.width",
    "16",
    "--denoiser.depth",
    "2",
    "--denoiser.heads",
    "2",
)
COMPARISON = {
    "seeds": [0],
    "control": "plain",
    "entries": {"plain": {}},
    "autoencoder": {"steps": 2, "batch_size": 4, "intervals": {"log": 1, "preview": 0, "checkpoint": 1}},
    "diffusion": {
        "steps": 2,
        "batch_size": 4,
        "denoiser": {"name": "SiT-micro/2", "width": 16, "depth": 2, "heads": 2},
        "intervals": {"log": 1, "preview": 0, "checkpoint": 1},
    },
    "sampling": {"steps": 2, "batch_size": 8, "sampler": "euler"},
    "measuring": {"reference": 6, "samples": 8, "reconstructions": 6, "analyzed": 6, "tested": 4},
}
STUDY = {
    "size": 16,
    "n_train": 8,
    "n_test": 3,
    "denoiser": "SiT-micro/4",
    "steps": 2,
    "batch_size": 4,
    "eval_points": 2,
    "times": [0.2, 0.5],
    "bands": 3,
    "samples": 4,
    "sampling_steps": 2,
    "injected": 0,
    "main": ["images"],
    "deltas": [],
    "exponents": [0.0],
    "loss_powers": [],
    "predictions": [],
}


class Scenes:
    """Products in a folder, each made when it is first asked for, and commands that read them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    @cached_property
    def images(self) -> Path:
        """Two classes of smooth random images, as PNG."""
        return self._images("images", N_IMAGES)

    def _images(self, name: str, n: int) -> Path:
        folder, rng = self.root / name, np.random.default_rng(0)
        for number in range(n):
            path = folder / "ab"[number % 2] / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
            small.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
        return folder

    @cached_property
    def start(self) -> Path:
        """An untrained autoencoder, f4 with 4 channels."""
        from spectrum_matching.nets.autoencoder.autoencoder import PRESETS, Autoencoder, AutoencoderKL

        folder = self.root / "start"
        sizes = {"block_out_channels": (8, 8, 8), "latent_channels": 4, "norm_num_groups": 4}

        def write() -> None:
            torch.manual_seed(0)
            Autoencoder(AutoencoderKL(**PRESETS["tiny"] | sizes)).save_pretrained(folder)

        return folder if folder.exists() else self._made(folder, run(write))

    @cached_property
    def model(self) -> Path:
        """A finished run of train-ae."""
        return self._product("train-ae", "model")

    @cached_property
    def latents(self) -> Path:
        """Cached latents of the images."""
        return self._product("cache", "latents")

    @cached_property
    def few_latents(self) -> Path:
        """Cached latents of a few images, in two shards."""
        folder, data = self.root / "few latents", str(self._images("few images", 8))
        options = ("--split", "all", "--data", data, "--size", str(SIZE), "--shard-images", "5", "--flips")
        return self._made(folder, run_verb(["cache", str(self.model / "export"), "--out", str(folder), *options]))

    def exported(self, layout: str) -> Path:
        """The same in the layout of another tool."""
        folder = self.root / f"few latents as {layout}"
        command = ["cache", f"latents:{self.few_latents}", "--export", layout, "--out", str(folder)]
        return folder if folder.exists() else self._made(folder, run_verb(command))

    @cached_property
    def diffusion(self) -> Path:
        """A finished run of train-diffusion."""
        return self._product("train-diffusion", "diffusion")

    @cached_property
    def samples(self) -> Path:
        """Samples of it, as .npz."""
        return self._product("sample npz", "samples") / "s.npz"

    @cached_property
    def reference(self) -> Path:
        """Statistics of the images."""
        return self._product("evaluate reference", "reference") / "r.safetensors"

    @cached_property
    def analysis(self) -> Path:
        """An analysis of the autoencoder."""
        return self._product("analyze", "analysis")

    def command(self, verb: str, out: Path) -> list[str]:
        """Return the arguments of a verb that writes into or below the folder `out`, which need not exist."""
        images, words = str(self.images), verb.split()
        data = ("--data", images, "--size", str(SIZE), "--batch-size", "6")
        if verb == "train-ae":
            source = ("--network.pretrained", str(self.start), "--data.path", images, "--data.size", str(SIZE))
            training = ("--data.held-out", "0.25", "--steps", "6", "--batch-size", "4", *SCHEDULE)
            return ["train-ae", "tiny_dsm", *source, *training, "--out", str(out)]
        if verb == "train-diffusion":
            training = ("--steps", "6", "--batch-size", "4", *SCHEDULE, "--preview.steps", "2", *DENOISER)
            return ["train-diffusion", "tiny_sit", "--source.latents", str(self.latents), *training, "--out", str(out)]
        if verb == "cache":
            return [
                "cache",
                str(self.model / "export"),
                "--out",
                str(out),
                "--shard-images",
                "16",
                "--split",
                "all",
                *data,
            ]
        if words[0] == "sample":
            name = {"npz": "s.npz", "grid": "s.png", "folder": "s"}[words[1]]
            options = ("--num-images", "12", "--steps", "2", "--batch-size", "4")
            return ["sample", str(self.diffusion), "--out", str(out / name), *options]
        if verb == "evaluate reference":
            return ["evaluate", "reference", images, "--out", str(out / "r.safetensors"), "--size", str(SIZE)]
        if verb == "evaluate generation":
            return [*words, str(self.samples), "--reference", str(self.reference), "--out", str(out)]
        if verb == "evaluate reconstruction":
            return [*words, str(self.model / "export"), *data, "--split", "all", "--out", str(out)]
        if verb == "analyze":
            options = ("--num-images", "8", "--num-tests", "2", "--split", "all", *data)
            return ["analyze", str(self.model / "export"), *options, "--out", str(out)]
        if verb == "report":
            return ["report", str(self.analysis), "--out", str(out / "page.html")]
        if verb == "compare":
            plan = {**COMPARISON, "autoencoder": {**COMPARISON["autoencoder"]}}
            plan["autoencoder"] |= {
                "network": {"pretrained": str(self.start)},
                "data": {"path": images, "size": SIZE, "held_out": 0.25},
            }
            return ["compare", "embedded", "--config", str(self._yaml("comparison", plan)), "--out", str(out)]
        if verb == "study frequency-bias":
            config = self._yaml("study", STUDY)
            return [*words, "embedded", "--config", str(config), "--data", images, "--out", str(out)]
        raise ValueError(f"no verb {verb!r}")

    def _product(self, verb: str, name: str) -> Path:
        folder = self.root / name
        command = self.command(verb, folder)  # makes what it reads
        return self._made(folder, run_verb(command, timeout=120))

    def _made(self, folder: Path, result: Result) -> Path:
        if result.code != 0:
            raise RuntimeError(f"{folder.name} could not be made:\n{result.output}")
        return folder

    def _yaml(self, name: str, content: object) -> Path:
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path


def empty(folder: Path) -> Path:
    """Delete what a folder holds, and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
