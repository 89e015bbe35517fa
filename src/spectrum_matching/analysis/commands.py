"""Whole commands that do what a finding advises, for the autoencoder and the images of an analysis."""

import shlex
from pathlib import Path

from ..files.stages import slug
from ..latents.open_latents import CACHED
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
    if not _can_be_named(analysis) or _is_cached(analysis):
        return ""
    return _command(
        "train-diffusion tiny_sit",
        *("--source.images", analysis.sample.source),
        *("--source.autoencoder", analysis.subject.source),
        *("--source.size", analysis.sample.size),
        *("--source.flatten", f"{exponent:g}"),
        *("--out", f"runs/{slug(analysis.subject.name)}_flattened"),
    )


def are_left(analysis: Analysis, *, tests: bool = False) -> bool:
    """Return whether the set has images that were not measured, or on which the decoder was not tested."""
    done = analysis.decoding.n_tests if tests and analysis.decoding else analysis.sample.n_images
    return done < _n_readable(analysis)


def measure_more(analysis: Analysis, *, tests: bool = False) -> str:
    """Return the command that measures more images, or runs the decoder's tests on more; "" where there is none."""
    sample, subject, words = analysis.sample, analysis.subject, list[object]()
    if not _can_be_named(analysis) or not are_left(analysis, tests=tests):
        return ""
    n_images = min(MORE * sample.n_images, _n_readable(analysis))
    if tests and analysis.decoding:
        n_tests = min(MORE * analysis.decoding.n_tests, _n_readable(analysis))
        n_images, words = max(n_tests, sample.n_images), ["--num-tests", n_tests]
    source = subject.source
    if _is_cached(analysis):
        source = CACHED + source
    elif sample.size:
        words += ["--split", sample.split]
    images = ["--data", sample.source, "--size", sample.size] if sample.size else []
    return _command(
        f"analyze {shlex.quote(f'{subject.name}={source}')}",
        *(*images, "--num-images", n_images, *words),
        *("--out", f"analysis_{slug(subject.name)}"),
    )


def cache(analysis: Analysis) -> str:
    """Return the command that caches the images' latents, with statistics of their own."""
    if not _can_be_named(analysis) or _is_cached(analysis):
        return ""
    return _command(
        "cache",
        *(analysis.subject.source, "--data", analysis.sample.source),
        *("--size", analysis.sample.size, "--out", f"latents_{slug(analysis.subject.name)}"),
    )


def _n_readable(analysis: Analysis) -> int:
    return analysis.sample.coverage.n_total - len(analysis.sample.bad_files)


def _is_cached(analysis: Analysis) -> bool:
    return analysis.decoding is None


def _can_be_named(analysis: Analysis) -> bool:
    """Return whether a command line can name the subject, and the images where there are any."""
    source = analysis.sample.source
    known = not analysis.sample.size or source == "embedded" or source.startswith("hub:") or Path(source).exists()
    return bool(analysis.subject.source) and known


def _command(words: str, *options: object) -> str:
    return f"specmatch {words} {shlex.join(map(str, options))}"
