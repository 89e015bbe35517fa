"""Whole commands that do what a finding advises, for the autoencoder and the images of an analysis."""

import shlex
from pathlib import Path

from ..data.stores import is_url
from ..files.stages import slug
from ..latents.open_latents import CACHED
from ..nets.autoencoder.diffusers_classes import CLASSES
from ..records.analysis import Analysis
from ..records.training_data import training, training_data

MORE = 4
"""Factor by which more images are measured: intervals become half as wide."""

ON_A_CPU = ("--precision", "fp32", "--steps", 1000)
"""Options of a fine-tuning where analyses ran on a CPU: most emulate bf16, and a preset has 10,000 updates."""

PARTS = {"autoencoder": set[str](), "esm": {"esm"}, "dsm": {"dsm"}, "esm_dsm": {"esm", "dsm"}}
"""The sides of spectrum matching in each method without a KL term."""


def has_part(analysis: Analysis, part: str) -> bool:
    """Return whether the autoencoder was trained with a side of spectrum matching, as its record says."""
    return part in PARTS.get(_trained_by(analysis), ())


def fine_tune(analysis: Analysis, method: str) -> str:
    """Return the command that fine-tunes the autoencoder by a method on these images, or "" where there is none.

    A side of spectrum matching that it was trained with goes on; nothing is suggested that it was trained with already.
    """
    subject, trained_by = analysis.subject, _trained_by(analysis)
    traits = CLASSES.get(subject.kind)  # whether an object of the user's own can be saved is not known here
    if traits is None or traits.fixed_encoder or not _can_be_named(analysis):
        return ""
    if trained_by in PARTS:
        if PARTS[method] <= PARTS[trained_by]:
            return ""
        both = PARTS[method] | PARTS[trained_by]
        method = next(name for name, parts in PARTS.items() if parts == both)
    return _command(
        f"train-ae finetune256_{method}",
        *("--network.pretrained", subject.source),
        *_images(analysis, "--data.path", "--data.held-out"),
        *("--data.size", analysis.sample.size),
        *(ON_A_CPU if analysis.provenance.device == "cpu" else ()),
        *("--out", f"runs/{slug(subject.name)}_{method}"),
    )


def flatten(analysis: Analysis, exponent: float) -> str:
    """Return the command that trains a diffusion model on latents with a gain, the autoencoder left as it is."""
    if not _can_be_named(analysis) or _is_cached(analysis):
        return ""
    return _command(
        "train-diffusion tiny_sit",
        *_images(analysis, "--source.images", "--source.held-out"),
        *("--source.autoencoder", analysis.subject.source),
        *("--source.size", analysis.sample.size),
        *("--source.flatten", f"{exponent:g}"),
        *("--out", f"runs/{slug(analysis.subject.name)}_flattened"),
    )


def _images(analysis: Analysis, path: str, held_out: str) -> tuple[object, ...]:
    """Return the options that name what the autoencoder was trained on, or else the images that were measured.

    Its training held out a part, which is held out again.
    """
    trained = training_data(analysis.subject.source)
    if trained is None or not _is_there(trained.source):
        return path, analysis.sample.source
    return path, trained.source, held_out, f"{trained.held_out:g}", "--seed", trained.seed


def are_left(analysis: Analysis, *, tests: bool = False) -> bool:
    """Return whether the set has images that were not measured, or on which the decoder was not tested."""
    done = analysis.decoding.n_tests if tests and analysis.decoding else analysis.sample.n_images
    return done < analysis.sample.coverage.n_total


def measure_more(analysis: Analysis, *, tests: bool = False) -> str:
    """Return the command that measures more images, or runs the decoder's tests on more; "" where there is none."""
    sample, subject, words = analysis.sample, analysis.subject, list[object]()
    if not _can_be_named(analysis) or not are_left(analysis, tests=tests):
        return ""
    n_images = min(MORE * sample.n_images, analysis.sample.coverage.n_total)
    if tests and analysis.decoding:
        n_tests = min(MORE * analysis.decoding.n_tests, analysis.sample.coverage.n_total)
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


def _trained_by(analysis: Analysis) -> str:
    """Return the method that the autoencoder was trained by; "" where its folder does not say."""
    source = analysis.subject.source
    record = training(source) if source else None
    return str(record.method.get("name", "")) if record else ""


def _is_cached(analysis: Analysis) -> bool:
    return analysis.decoding is None


def _can_be_named(analysis: Analysis) -> bool:
    """Return whether a command line can name the subject, and the images where there are any."""
    return bool(analysis.subject.source) and (not analysis.sample.size or _is_there(analysis.sample.source))


def _is_there(images: str) -> bool:
    return images == "embedded" or images.startswith("hub:") or is_url(images) or Path(images).exists()


def _command(words: str, *options: object) -> str:
    return f"specmatch {words} {shlex.join(map(str, options))}"
