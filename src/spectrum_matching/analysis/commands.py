"""Whole commands that do what a finding advises, for the autoencoder and the images of an analysis."""

import shlex
from pathlib import Path

from ..files.stages import slug
from ..records.analysis import Analysis

TRAINABLE = "AutoencoderKL"
"""The class that `train-ae` fine-tunes."""

MORE = 4
"""Factor by which more images are measured: intervals become half as wide."""


def fine_tune(analysis: Analysis, method: str) -> str:
    """Return the command that fine-tunes the autoencoder by a method on these images, or "" where there is none."""
    subject = analysis.subject
    if subject.kind != TRAINABLE or not _can_be_named(analysis):
        return ""
    return _command(
        f"train-ae finetune256_{method}",
        *("--network.pretrained", subject.source),
        *("--data.path", analysis.sample.source),
        *("--data.size", analysis.sample.size),
        *("--out", f"runs/{slug(subject.name)}_{method}"),
    )


def flatten(analysis: Analysis, exponent: float) -> str:
    """Return the command that trains a diffusion model on latents with a gain, the autoencoder left as it is."""
    if not _can_be_named(analysis) or analysis.decoding is None:
        return ""
    return _command(
        "train-diffusion tiny_sit",
        *("--source.images", analysis.sample.source),
        *("--source.autoencoder", analysis.subject.source),
        *("--source.size", analysis.sample.size),
        *("--source.flatten", f"{exponent:g}"),
        *("--out", f"runs/{slug(analysis.subject.name)}_flattened"),
    )


def measure_more(analysis: Analysis, *, tests: bool = False) -> str:
    """Return the command that measures more images, or runs the decoder's tests on more."""
    if not _can_be_named(analysis):
        return ""
    n_images, n_tests = MORE * analysis.sample.n_images, []
    if tests and analysis.decoding:
        n = MORE * analysis.decoding.n_tests
        n_images, n_tests = max(n, analysis.sample.n_images), ["--num-tests", n]
    size = ["--size", analysis.sample.size] if analysis.sample.size else []
    data = ["--data", analysis.sample.source] if analysis.sample.size else []
    return _command(
        f"analyze {shlex.quote(f'{analysis.subject.name}={analysis.subject.source}')}",
        *(*data, *size, "--num-images", n_images, *n_tests),
        *("--out", f"analysis_{slug(analysis.subject.name)}"),
    )


def cache(analysis: Analysis) -> str:
    """Return the command that caches the images' latents, with statistics of their own."""
    if not _can_be_named(analysis) or analysis.decoding is None:
        return ""
    return _command(
        "cache",
        *(analysis.subject.source, "--data", analysis.sample.source),
        *("--size", analysis.sample.size, "--out", f"latents_{slug(analysis.subject.name)}"),
    )


def _can_be_named(analysis: Analysis) -> bool:
    """Return whether a command line can name the subject, and the images where there are any."""
    source = analysis.sample.source
    known = not analysis.sample.size or source == "embedded" or source.startswith("hub:") or Path(source).exists()
    return bool(analysis.subject.source) and known


def _command(words: str, *options: object) -> str:
    return f"specmatch {words} {shlex.join(map(str, options))}"
