"""The command `evaluate`: scores of generated images and of reconstructions, with the protocol they depend on."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from accelerate import Accelerator
from tyro.conf import arg

from ..data.archives import ArchivedImages
from ..data.images import ImageBatch, Split, open_images
from ..data.order import fixed_batches
from ..data.selection import choose_images
from ..data.tensors import Images
from ..evaluation.generation import evaluate_generation
from ..evaluation.reconstruction import KEEP, evaluate_reconstruction
from ..evaluation.reference import compute_reference, open_reference, save_reference
from ..evaluation.samples import open_samples
from ..files.atomic import require_writable
from ..nets.autoencoder import Autoencoder
from ..nets.vision.extractors import open_extractor
from ..nets.vision.perceptual import LPIPS
from ..records.scores import EVALUATIONS, Evaluation, Sampling
from ..records.training_data import training_data
from ..report.terminal import scores
from ..sampling.samples import read_sampling, record_path
from .names import named_sources
from .progress import Callback, progress_bar, progress_bars
from .results import print_results, write_results

log = logging.getLogger(__name__)

SCORES_FILE = "scores.json"


def reference(
    data: str,
    /,
    *,
    out: Path,
    size: int | None = None,
    features: str | None = None,
    num_images: int | None = None,
    split: Split = "all",
    batch_size: int = 64,
    workers: int = 0,
) -> Path:
    """Compute the statistics of real images that generated ones are compared with. Several processes: torchrun.

    Args:
        data: A folder or parquet path, hub:NAME[:SPLIT], "embedded", or an .npz of images as arr_0.
        out: File to write, X.safetensors.
        size: Side of the square images in pixels, by ADM's centre crop; an .npz has its own.
        features: Extractor: inception:PATH, dinov2[:FOLDER], a TorchScript file, python:FILE.py:FACTORY. Without one,
            the reference serves for scores that need no weights.
        num_images: Number of images, the first ones; all by default.
        split: Part of the data, as training on it divides it: train, held_out or all.
        batch_size: Images at once in a process.
        workers: Processes that read images, for each process that computes.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}, expected the name of a file, X.safetensors")
    _check_counts(batch_size, workers, num_images)
    require_writable(out.parent)
    accelerator = Accelerator(mixed_precision="no")
    images: Images
    if data.endswith(".npz"):
        images = ArchivedImages(Path(data))
    elif size is None:
        raise ValueError(f"{data} has images of any size: give the side that they are resized to by --size")
    else:
        images = open_images(data, size, split=split)
    extractor = open_extractor(features, accelerator.device) if features else None
    with progress_bar("reference") as progress:
        batches = _share(images, batch_size, workers, accelerator, progress, num_images)
        result = compute_reference(data, batches, extractor, accelerator=accelerator)
    for bad in result.statistics.bad:
        log.warning("skipped %s", bad)
    if accelerator.is_main_process:
        write_results(out.parent, lambda folder: save_reference(result, folder / out.name))
    return out


def generation(
    samples: Annotated[Sequence[str], arg(metavar="SAMPLES ...")],
    /,
    *,
    reference: Path,
    out: Path,
    features: str | None = None,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
) -> list[Evaluation]:
    """Score sets of generated images against one reference; write scores.json. Several processes: torchrun.

    Args:
        samples: An .npz with uint8 arr_0 or a folder of PNG files each, as `specmatch sample` writes them with the
            record of how they were generated; NAME=PATH sets the name shown.
        reference: A file of `specmatch evaluate reference`, ADM's .npz, or pytorch-fid's .npz.
        out: Folder for scores.json.
        features: Extractor: inception:PATH, dinov2[:FOLDER], a TorchScript file, python:FILE.py:FACTORY. Without one,
            only scores that need no weights.
        batch_size: Images at once in a process.
        workers: Processes that read images, for each process that computes.
        seed: Seed of the directions of the sliced Wasserstein distance.
    """
    _check_counts(batch_size, workers, None)
    sources = _named_samples(samples)
    require_writable(out)
    accelerator = Accelerator(mixed_precision="no")
    opened = {name: open_samples(path) for name, path in sources.items()}
    extractor = open_extractor(features, accelerator.device) if features else None
    known = open_reference(reference, extractor, batch_size=batch_size, accelerator=accelerator)
    evaluations: list[Evaluation] = []
    with progress_bars(opened) as bars:
        for name, images in opened.items():
            sampling = read_sampling(record_path(sources[name]))
            evaluation = evaluate_generation(
                name,
                _share(images, batch_size, workers, accelerator, bars[name]),
                known,
                extractor,
                sampling=sampling,
                accelerator=accelerator,
                seed=seed,
                warnings=tuple(_record_warnings(sampling, len(images))),
            )
            evaluations.append(evaluation)
    _finish(evaluations, out, accelerator)
    return evaluations


def reconstruction(
    autoencoders: Annotated[Sequence[str], arg(metavar="AUTOENCODER ...")],
    /,
    *,
    data: str,
    out: Path,
    size: int | None = None,
    features: str | None = None,
    lpips: str | None = None,
    keep: tuple[int, ...] = KEEP,
    num_images: int | None = None,
    split: Split | None = None,
    batch_size: int = 16,
    workers: int = 0,
    seed: int = 0,
) -> list[Evaluation]:
    """Score autoencoders by their reconstructions of the same images; write scores.json. Several processes: torchrun.

    Args:
        autoencoders: As for `specmatch analyze`; NAME=SOURCE sets the name shown.
        data: A folder or parquet path, hub:NAME[:SPLIT], or "embedded".
        out: Folder for scores.json.
        size: Side of the square images in pixels; by default that of training, or 256.
        features: Extractor for rFID: inception:PATH, dinov2[:FOLDER], a TorchScript file, python:FILE.py:FACTORY.
        lpips: Weights of LPIPS, a path or hub name.
        keep: Diagonals of 15 that each low-pass rFID keeps.
        num_images: Number of images, the first ones; all by default.
        split: Part of the data; by default what training on the same data held out, otherwise all.
        batch_size: Images at once in a process.
        workers: Processes that read images, for each process that computes.
        seed: Seed of the directions of the sliced Wasserstein distance.
    """
    _check_counts(batch_size, workers, num_images)
    if not all(1 <= k <= 14 for k in keep) or len(set(keep)) < len(keep):
        raise ValueError(f"keep is {keep}, expected different numbers of diagonals, each from 1 to 14")
    sources = named_sources(autoencoders)
    require_writable(out)
    accelerator = Accelerator(mixed_precision="no")
    extractor = open_extractor(features, accelerator.device) if features else None
    perceptual = LPIPS.from_weights(lpips).to(accelerator.device) if lpips else None
    networks = {name: Autoencoder.from_pretrained(source) for name, source in sources.items()}
    trained = {name: training_data(source) for name, source in sources.items()}
    images, notes = choose_images(trained, data, size=size, split=split)
    evaluations: list[Evaluation] = []
    with progress_bars(networks) as bars:
        for name, network in networks.items():
            evaluation = evaluate_reconstruction(
                name,
                network,
                _share(images, batch_size, workers, accelerator, bars[name], num_images),
                extractor,
                perceptual,
                source=data,
                source_digest=images.digest,
                keep=keep,
                accelerator=accelerator,
                device=accelerator.device,
                seed=seed,
                warnings=notes,
            )
            evaluations.append(evaluation)
            network.to("cpu")
    _finish(evaluations, out, accelerator)
    return evaluations


def _named_samples(samples: Sequence[str]) -> dict[str, Path]:
    """Return the paths by name, without the ending .npz."""
    if not samples:
        raise ValueError("no samples were given: name .npz files or folders of PNG files")
    named = named_sources(samples)
    short = [name.removesuffix(".npz") for name in named]
    names = short if len(set(short)) == len(named) else list(named)
    return dict(zip(names, (Path(source).expanduser() for source in named.values()), strict=True))


def _record_warnings(sampling: Sampling | None, n_images: int) -> Iterator[str]:
    if sampling is None:
        yield "no record beside the samples says how they were generated"
    elif sampling.n_images != n_images:
        yield f"the record beside the samples is of {sampling.n_images} images, there are {n_images}"


def _finish(evaluations: list[Evaluation], out: Path, accelerator: Accelerator) -> None:
    if accelerator.is_main_process:
        print_results(*scores(evaluations))
        write_results(out, lambda folder: EVALUATIONS.write(folder / SCORES_FILE, evaluations))
        print_results(str(out / SCORES_FILE))


def _check_counts(batch_size: int, workers: int, num_images: int | None) -> None:
    if batch_size < 1 or workers < 0 or (num_images is not None and num_images < 2):
        raise ValueError(
            f"expected batches of at least 1, no negative number of workers and at least 2 images; got {batch_size}, "
            f"{workers} and {num_images}"
        )


def _share(
    images: Images,
    batch_size: int,
    workers: int,
    accelerator: Accelerator,
    progress: Callback,
    num_images: int | None = None,
) -> Iterator[ImageBatch]:
    """Iterate over this process's share of the images, with progress."""
    rank, world = accelerator.process_index, accelerator.num_processes
    done, total = 0, -(-min(len(images), num_images or len(images)) // world)
    for batch in fixed_batches(images, batch_size, num_images, rank=rank, world=world, workers=workers):
        yield batch
        done += len(batch.images) + len(batch.bad)
        progress(done, total)
