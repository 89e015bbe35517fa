"""The verb `evaluate`: scores of generated images and of reconstructions, each with the protocol it depends on."""

import logging
from collections.abc import Iterable, Iterator, Sequence
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
    """Statistics of real images, computed once, for every later score against them. For several processes: torchrun.

    Args:
        data: A folder or parquet path, hub:NAME[:SPLIT], "embedded", or an .npz of images as arr_0.
        out: The file to write, X.safetensors.
        size: Side of the square images in pixels, by ADM's centre crop; an .npz has its own.
        features: Extractor: inception:PATH, dinov2[:FOLDER], a TorchScript file, python:FILE.py:FACTORY. Without one,
            the reference serves for the scores that need no weights.
        num_images: The first so many; by default all.
        split: Part of the data, as training on it divides it: train, held_out or all.
        batch_size: Images at once in a process.
        workers: Processes that read images, for each one that computes.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}, expected the name of a file, X.safetensors")
    _check_counts(batch_size, workers, num_images)
    require_writable(out.parent)
    accelerator = Accelerator(mixed_precision="no")
    rank, world = accelerator.process_index, accelerator.num_processes
    images: Images
    if data.endswith(".npz"):
        images = ArchivedImages(Path(data))
    elif size is None:
        raise ValueError(f"{data} has images of any size: give the side that they are resized to by --size")
    else:
        images = open_images(data, size, split=split)
    batches = fixed_batches(images, batch_size, num_images, rank=rank, world=world, workers=workers)
    extractor = open_extractor(features, accelerator.device) if features else None
    share = -(-min(len(images), num_images or len(images)) // world)
    with progress_bar("reference") as progress:
        found = compute_reference(data, _counted(batches, share, progress), extractor, accelerator=accelerator)
    for bad in found.statistics.bad:
        log.warning("skipped %s", bad)
    if accelerator.is_main_process:
        write_results(out.parent, lambda folder: save_reference(found, folder / out.name))
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
    """Score sets of generated images against one reference; write scores.json. For several processes: torchrun.

    Args:
        samples: Each an .npz with uint8 arr_0 or a folder of PNG files, as `specmatch sample` writes them with the
            record of how they were made; NAME=PATH sets the name shown.
        reference: A file of `specmatch evaluate reference`, ADM's .npz, or pytorch-fid's .npz.
        out: Folder for scores.json.
        features: Extractor: inception:PATH, dinov2[:FOLDER], a TorchScript file, python:FILE.py:FACTORY. Without one,
            only the scores that need no weights.
        batch_size: Images at once in a process.
        workers: Processes that read PNG files, for each one that computes.
        seed: Of the directions of the sliced Wasserstein distance.
    """
    _check_counts(batch_size, workers, None)
    sources = _named_samples(samples)
    require_writable(out)
    accelerator = Accelerator(mixed_precision="no")
    rank, world = accelerator.process_index, accelerator.num_processes
    opened = {name: open_samples(path) for name, path in sources.items()}
    extractor = open_extractor(features, accelerator.device) if features else None
    known = open_reference(reference, extractor, batch_size=batch_size, accelerator=accelerator)
    found: list[Evaluation] = []
    with progress_bars(opened) as bars:
        for name, images in opened.items():
            batches = fixed_batches(images, batch_size, rank=rank, world=world, workers=workers)
            sampling = sampling_beside(sources[name])
            evaluation = evaluate_generation(
                name,
                _counted(batches, -(-len(images) // world), bars[name]),
                known,
                extractor,
                sampling=sampling,
                accelerator=accelerator,
                seed=seed,
                warnings=tuple(_of_record(sampling, len(images))),
            )
            found.append(evaluation)
    _finish(found, out, accelerator)
    return found


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
    """Score autoencoders by what they reconstruct of the same images; write scores.json. Several processes: torchrun.

    Args:
        autoencoders: As for `specmatch analyze`; NAME=SOURCE sets the name shown.
        data: A folder or parquet path, hub:NAME[:SPLIT], or "embedded".
        out: Folder for scores.json.
        size: Side of the square images in pixels; that of training by default, or 256.
        features: Extractor for rFID: inception:PATH, dinov2[:FOLDER], a TorchScript file, python:FILE.py:FACTORY.
        lpips: Weights of LPIPS, a path or hub name.
        keep: Diagonals of 15 that each low-pass rFID keeps.
        num_images: The first so many; by default all.
        split: By default what training on the same data held out; otherwise all.
        batch_size: Images at once in a process.
        workers: Processes that read images, for each one that computes.
        seed: Of the directions of the sliced Wasserstein distance.
    """
    _check_counts(batch_size, workers, num_images)
    if not all(1 <= k <= 14 for k in keep) or len(set(keep)) < len(keep):
        raise ValueError(f"keep is {keep}, expected different numbers of diagonals, each from 1 to 14")
    sources = named_sources(autoencoders)
    require_writable(out)
    accelerator = Accelerator(mixed_precision="no")
    rank, world = accelerator.process_index, accelerator.num_processes
    extractor = open_extractor(features, accelerator.device) if features else None
    perceptual = LPIPS.from_weights(lpips).to(accelerator.device) if lpips else None
    networks = {name: Autoencoder.from_pretrained(source) for name, source in sources.items()}
    trained = {name: training_data(source) for name, source in sources.items()}
    images, notes = choose_images(trained, data, size=size, split=split)
    found: list[Evaluation] = []
    n = min(len(images), num_images or len(images))
    with progress_bars(networks) as bars:
        for name, network in networks.items():
            batches = fixed_batches(images, batch_size, num_images, rank=rank, world=world, workers=workers)
            evaluation = evaluate_reconstruction(
                name,
                network,
                _counted(batches, -(-n // world), bars[name]),
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
            found.append(evaluation)
            network.to("cpu")
    _finish(found, out, accelerator)
    return found


def _named_samples(samples: Sequence[str]) -> dict[str, Path]:
    """By name, without the ending that all have."""
    if not samples:
        raise ValueError("no samples were given: name .npz files or folders of PNG files")
    named = named_sources(samples)
    short = [name.removesuffix(".npz") for name in named]
    names = short if len(set(short)) == len(named) else list(named)
    return dict(zip(names, (Path(source).expanduser() for source in named.values()), strict=True))


def sampling_beside(samples: Path) -> Sampling | None:
    """The record that `specmatch sample` wrote beside an .npz or into a folder; None where there is none to read."""
    return read_sampling(record_path(samples))


def _of_record(sampling: Sampling | None, n_images: int) -> Iterator[str]:
    if sampling is None:
        yield "no record beside the samples says how they were made"
    elif sampling.n_images != n_images:
        yield f"the record beside the samples speaks of {sampling.n_images} images, there are {n_images}"


def _finish(found: list[Evaluation], out: Path, accelerator: Accelerator) -> None:
    if accelerator.is_main_process:
        print_results(*scores(found))
        write_results(out, lambda folder: EVALUATIONS.write(folder / SCORES_FILE, found))
        print_results(str(out / SCORES_FILE))


def _check_counts(batch_size: int, workers: int, num_images: int | None) -> None:
    if batch_size < 1 or workers < 0 or (num_images is not None and num_images < 2):
        raise ValueError(
            f"expected batches of at least 1, no negative number of workers and at least 2 images; got {batch_size}, "
            f"{workers} and {num_images}"
        )


def _counted(batches: Iterable[ImageBatch], total: int, progress: Callback) -> Iterator[ImageBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.images) + len(batch.bad)
        progress(done, total)
