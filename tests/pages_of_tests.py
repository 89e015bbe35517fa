"""What pages show, as tests run it: their blocks, the small data that they name, and small settings of each command."""

import argparse
import re
import shlex
import shutil
import sys
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import torch

from files_of_tests import loaded

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", "experiments/*.md", "bench/*.md")
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)

PARSED_ONLY = {
    r"specmatch demo": "minutes; tests/cli/test_compare.py runs its plan small",
    r"\bcompare (?!.*--dry-run)": "hours; tests/comparison runs a small plan",
    r"\bstudy (frequency-bias|unified-view)(?!.*--dry-run)": "minutes to hours; tests/studies runs small ones",
    r"celeba256_|imagenet256_f(8d4|16d16)|runs/imagenet256|VIRTUAL_"
    r"|imagenet256_sit_b_repa_dog --source.latents latents/imagenet": (
        "days of GPUs on data that are not ours to ship; tests/training opens every preset"
    ),
    r"\bcifar10\b.*--dry-run": "data that are not ours to ship; the plan on embedded images has its dry run",
    r"--multi_gpu|--nnodes": "several GPUs or nodes; test_cluster.py runs the script for SLURM",
    r"python experiments/|python bench/": "minutes to hours, on data that are not ours to ship",
    r"kl-f8\.safetensors": "tests/nets/autoencoder/test_single_file.py opens such files",
    r"--lpips weights/": "VGG16 has 59 MB; tests/nets/vision/test_perceptual.py opens such files",
}
"""Commands that are only parsed, by their real parsers, and why."""

TESTED_ELSEWHERE = {
    "docs/alignment.md": "tests/diffusion/test_page.py",
    "docs/cached_latents.md": "tests/latents/test_shards.py",
    "docs/diffusion.md": "tests/diffusion/test_page.py",
    "docs/extending.md": "tests/test_extending.py",
    "docs/training_loops.md": "tests/test_training_examples.py",
}
"""Pages whose programs have a test of their own, which looks at what they compute."""

SMALLER = {
    "inception:pt_inception-2015-12-05-6726825d.pth": "features.pt",  # Inception has 95 MB
    "inception:PATH": "features.pt",
    "--nproc_per_node 8": "--nproc_per_node 2",
}

GIVEN = {
    "vae": ("path/to/vae", "old/export", "new/export", "runs/vae/export", "runs/mine/export"),
    "pipeline": ("path/to/pipeline",),
    "photographs": ("photographs", "train", "val", "b", "kodak"),
    "latents": ("latents",),
    "samples.npz": ("a.npz", "samples.npz"),
    "features.pt": ("features.pt", "data/cifar10/features.pt"),
    "table.parquet": ("data/cifar10/train.parquet", "data/cifar10/test.parquet"),
    "shufflenet.pth": ("shufflenetv2_backbone.pth",),
    "mine.py": ("mine.py",),
    "half_energy.py": ("half_energy.py",),
    "anything": ("vgg16-397923af.pth", "vgg.pth"),  # copied by a page, and not read
}
"""What stands for the reader's own things, by the names that pages have for them."""

MINE = """
from diffusers import AutoencoderTiny

def factory():
    widths = {f"{side}block_out_channels": (8, 8) for side in ("encoder_", "decoder_")}
    return AutoencoderTiny(**widths, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))

def opened(folder):
    return AutoencoderTiny.from_pretrained(folder)
"""


def blocks(page):
    """The fenced blocks of a page, each as its language and its text."""
    return BLOCK.findall((ROOT / page).read_text())


def commands(text):
    """The commands of a block of a shell, each as one line."""
    return [line for line in text.replace("\\\n", " ").splitlines() if shlex.split(line, comments=True)]


def make_things(folder):
    """Put small ones of everything in GIVEN into a folder, and a hub's cache with the models that pages name."""
    import transformers
    from datasets import Dataset, Image

    from spectrum_matching.cli.main import main
    from spectrum_matching.data import open_images
    from spectrum_matching.data.pictures import to_bytes, write_png
    from spectrum_matching.nets.vision.shufflenet import ShuffleNet

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.chdir(folder)
        torch.manual_seed(0)
        crops = open_images("embedded", 64)
        for i in range(32):
            path = folder / "photographs" / ("cat", "dog")[i % 2] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, to_bytes(crops[100 * i].image[None])[0])
        files = [{"bytes": path.read_bytes()} for path in sorted((folder / "photographs").rglob("*.png"))]
        table = Dataset.from_dict({"image": files, "label": [i % 2 for i in range(len(files))]})
        table.cast_column("image", Image()).to_parquet(folder / "table.parquet")
        main(
            [
                "train-ae",
                "tiny_autoencoder",
                *small_words(["train-ae", "--data.path", "photographs", "--out", "ae"])[1:],
            ]
        )
        shutil.copytree("ae/export", "vae")
        shutil.copytree("vae", "pipeline/vae")
        main(["cache", "vae", "--data", "photographs", "--size", "32", "--split", "all", "--flips", "--out", "latents"])
        pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
        np.savez("samples.npz", pixels)
        network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        torch.jit.trace(network, torch.zeros(1, 3, 32, 32)).save("features.pt")
        torch.save(ShuffleNet().state_dict(), "shufflenet.pth")
        Path("mine.py").write_text(MINE)
        Path("half_energy.py").write_text(dict(blocks("docs/extending.md")[::-1])["python"])  # the page's first
        Path("anything").touch()
        in_hub = dict.fromkeys(("stabilityai/sd-vae-ft-mse", "madebyollin/taef1"), "vae")
        in_hub["facebook/dinov2-base"] = "dinov2"
        config = transformers.Dinov2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=28)
        transformers.Dinov2Model(config).save_pretrained("dinov2")
        for name, source in in_hub.items():
            entry, commit = folder / "hub" / f"models--{name.replace('/', '--')}", "0" * 40
            shutil.copytree(source, entry / "snapshots" / commit)
            (entry / "refs").mkdir()
            (entry / "refs" / "main").write_text(commit)


def give(words, things):
    """Copy what these words name, is not there, and pages take as given, into the current folder."""
    places = {place: thing for thing, several in GIVEN.items() for place in several}
    inputs = [word for before, word in zip(["", *words], words, strict=False) if before != "--out"]
    for word in inputs:
        for part in {word, word.rpartition("=")[2], *re.split(r"[=:]", word)}:
            place = part.rstrip("/")
            if place not in places or Path(place).exists():
                continue
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            source = things / places[place]
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place)


def small_words(words):
    """The words of a command of specmatch with settings that make it small."""
    verb, text = words[0], " ".join(words)
    small = {}
    if verb == "analyze":
        small = {"--num-images": "24", "--num-tests": "3"}
        small |= {} if " latents:" in text.partition("--")[0] else {"--size": "32"}
        small |= {"--num-reference": "24"} if "--reference" in words else {}
    elif verb == "compare-latents":
        small = {"--size": "32", "--num-images": "24", "--num-tests": "2"}
    elif verb == "train-ae":
        small = {"--steps": "2", "--batch-size": "4", "--data.size": "32", "--data.workers": "0"}
        small |= {"--intervals.preview": "0"}
    elif verb == "train-diffusion":
        small = {"--steps": "2", "--batch-size": "4", "--denoiser.name": "SiT-micro/1", "--no-compile": ""}
        small |= {"--intervals.preview": "0"}
    elif verb == "cache" and "--data" in words:
        small = {"--size": "32"}
    elif verb == "sample":
        small = {"--num-images": "8", "--steps": "2", "--batch-size": "4"}
    elif text.startswith(("evaluate reference", "evaluate reconstruction")):
        small = {"--size": "32", "--batch-size": "8"}
    elif text.startswith("study directional-energy"):
        small = {"--size": "56", "--num-images": "6"}
    for option, value in small.items():
        if option in words:
            start = words.index(option)
            ends = (i for i in range(start + 1, len(words)) if words[i].startswith("--"))
            words = words[:start] + words[next(ends, len(words)) :]
        words = [*words, option, *([value] if value else [])]
    return words


def parse(words, monkeypatch):
    """Let the real parsers of launcher and command read a command line; nothing runs.

    Raises:
        SystemExit: where one of them refuses it.
    """
    from spectrum_matching.cli import options
    from spectrum_matching.cli.main import main

    program, *rest = words
    if program == "specmatch":
        described = options.described
        monkeypatch.setattr(options, "described", lambda command, defaults=None: described(_idle(command), defaults))
        main(rest)
    elif program in ("torchrun", "accelerate"):
        module, arguments = _launched(program, rest)
        assert module == "spectrum_matching"
        parse(["specmatch", *arguments], monkeypatch)
    else:
        assert program == "python"
        path, *arguments = rest
        monkeypatch.syspath_prepend((ROOT / path).parent)
        module = loaded(ROOT / path)
        read = argparse.ArgumentParser.parse_args

        def stop(parser, *given):
            read(parser, *given)
            raise _ParsedError

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        if "ArgumentParser" in (ROOT / path).read_text():
            with pytest.raises(_ParsedError):
                module.main()


class _ParsedError(Exception):
    """The command line has been parsed."""


def _idle(function):
    """A function with the options of another that does nothing."""
    return wraps(function)(lambda *arguments, **options: None)


def _launched(launcher, words):
    """The module that a launcher starts, and its arguments."""
    if launcher == "torchrun":
        from torch.distributed.run import parse_args

        found = parse_args(words)
    else:
        from accelerate.commands.launch import launch_command_parser

        assert words[0] == "launch"
        found = launch_command_parser().parse_args(words[1:])
    assert found.module
    return found.training_script, found.training_script_args
