"""The command `evaluate`: scores of generated images and of reconstructions, with the protocol they depend on."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from accelerate.utils import gather_object
from pydantic import NonNegativeInt, PositiveInt
from tyro.conf import OmitArgPrefixes, arg

from ..data.arrays import ArchivedImages, Images
from ..data.fingerprint import fingerprint
from ..data.given import given_images
from ..data.images import ImageBatch, ImageSet, Split, open_images
from ..data.order import fixed_batches, spread_items
from ..data.selection import choose_images
from ..data.tables import TABLE, read_tables
from ..data.tars import TAR
from ..data.walk import BadFile, walk
from ..evaluation.decoded_reference import compute_decoded_reference
from ..evaluation.generation import evaluate_generation
from ..evaluation.reconstruction import KEEP, evaluate_reconstruction
from ..evaluation.reference import compute_reference, load_reference, open_reference, save_reference
from ..evaluation.samples import open_samples
from ..files.settings import validate
from ..nets.autoencoder import Autoencoder, check_size
from ..nets.vision.extractors import open_extractor
from ..nets.vision.perceptual import LPIPS
from ..processes import open_accelerator, require_alike
from ..records.scores import EVALUATIONS, Evaluation
from ..records.training_data import training_data
from ..report.terminal import scores
from ..sampling.sample_record import verify_samples
from .names import named_sources
from .output import Callback, claims, print_document, print_results, progress_bar, progress_bars, write_results

log = logging.getLogger(__name__)

SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class Reading:
    """Options for reading images and extracting their features."""

    # inception:PATH, dinov2[:FOLDER], shufflenet:PATH, a TorchScript file, python:FILE.py:FACTORY; without an extractor
    # only scores that need no features
    features: str | None = None
    batch_size: PositiveInt = 64  # images at once in a process
    workers: NonNegativeInt = 0  # processes that read images, for each process that computes


Options = Annotated[Reading, OmitArgPrefixes]


@claims(shared=True)
def reference(
    data: Annotated[str, arg(metavar="DATA")],
    /,
    *,
    out: Path,
    size: int | None = None,
    num_images: int | None = None,
    split: Split = "all",
    autoencoder: str | None = None,
    overwrite: bool = False,
    reading: Options = Reading(),
) -> Path:
    """Compute the statistics of real images, or of their reconstructions, that generated ones are compared with.

    To use several processes, launch it by torchrun.
    It runs where Accelerate says: on a GPU if there is one, or where ACCELERATE_TORCH_DEVICE=cpu or cuda:1 says.

    For example:
        specmatch evaluate reference photos --size 256 --features dinov2 --out reference.safetensors

    Args:
        data: A folder, parquet or tar path, URL, (hub|stream):NAME[:SPLIT], "embedded", or an .npz of images as arr_0.
        out: File to write, X.safetensors.
        size: Side of the square images in pixels, by ADM's centre crop; an .npz has its own.
        num_images: Number of images, spread over the set; all by default.
        split: Part of the data, as training on it divides it: train, held_out or all.
        autoencoder: Take what this autoencoder decodes the images to, for `evaluate generation --reconstructions`.
        overwrite: Replace a file of this name that specmatch did not write.
        reading: How images are read, and their features extracted.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}, expected the name of a file, X.safetensors")
    images: Images
    if data.endswith(".npz"):
        images = ArchivedImages(Path(data))
    elif size is None:
        raise ValueError(f"{data} has images of any size: give the side that they are resized to by --size")
    else:
        images = open_real(data, size, split)
    if autoencoder and not reading.features:
        raise ValueError("--autoencoder: reconstructions are compared by features, so name an extractor by --features")
    network = Autoencoder.from_pretrained(autoencoder) if autoencoder else None
    if network:
        check_size(str(autoencoder), network, images.size)
    evaluator = Evaluator(reading)
    with progress_bar("reference") as progress:
        batches = evaluator.share(images, progress, num_images, network)
        if network and evaluator.extractor:
            digest, device = network.digest, evaluator.accelerator.device
            processes = {"accelerator": evaluator.accelerator, "device": device}
            result = compute_decoded_reference(
                data, batches, evaluator.extractor, str(autoencoder), digest, network, **processes
            )
        else:
            result = compute_reference(data, batches, evaluator.extractor, accelerator=evaluator.accelerator)
    evaluator.name_bad_files()
    if evaluator.accelerator.is_main_process:
        write_results(out.parent, lambda folder: save_reference(result, folder / out.name))
    return out


@claims(SCORES_FILE, shared=True)
def generation(
    samples: Annotated[Sequence[str], arg(metavar="SAMPLES ...")],
    /,
    *,
    reference: Path,
    out: Path,
    reconstructions: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    reading: Options = Reading(),
) -> list[Evaluation]:
    """Score sets of generated images against one reference; write scores.json.

    To use several processes, launch it by torchrun.
    It runs where Accelerate says: on a GPU if there is one, or where ACCELERATE_TORCH_DEVICE=cpu or cuda:1 says.

    For example:
        specmatch evaluate generation samples.npz --reference reference.safetensors --features dinov2 --out scores

    Args:
        samples: An .npz with uint8 arr_0 or a folder of PNG files each, as `specmatch sample` writes them with the
            record of how they were generated; NAME=PATH sets the name shown.
        reference: A file of `specmatch evaluate reference`, ADM's .npz, or pytorch-fid's .npz.
        out: Folder for scores.json.
        reconstructions: A file of `specmatch evaluate reference --autoencoder`, with the samples' autoencoder; adds the
            Fréchet distance to what it decodes images to.
        seed: Seed of the directions of the sliced Wasserstein distance.
        overwrite: Replace a file of this name that specmatch did not write.
        reading: How images are read, and their features extracted.
    """
    if not samples:
        raise ValueError("no samples were given: name .npz files or folders of PNG files")
    paths = {name: Path(source).expanduser() for name, source in named_sources(samples).items()}
    short = {name.removesuffix(".npz"): path for name, path in paths.items()}
    sources = short if len(short) == len(paths) else paths
    verified = {name: verify_samples(path) for name, path in sources.items()}
    recorded = {name: found[0] if found else None for name, found in verified.items()}
    opened = {name: open_samples(path) for name, path in sources.items()}
    evaluator = Evaluator(reading)
    opened_reference = open_reference(
        reference, evaluator.extractor, batch_size=reading.batch_size, accelerator=evaluator.accelerator
    )
    decoded = load_reference(reconstructions) if reconstructions else None
    evaluations: list[Evaluation] = []
    with progress_bars(opened) as bars:
        for name, images in opened.items():
            sampling, warnings = recorded[name], tuple[str, ...]()
            if sampling is None:
                warnings = ("no record beside the samples says how they were generated",)
            elif sampling.n_images != len(images):
                counts = f"{sampling.n_images} images, there are {len(images)}"
                warnings = (f"the record beside the samples is of {counts}",)
            share, protocol = evaluator.share(images, bars[name]), evaluator.protocol(seed, warnings)
            protocol |= {"sampling": sampling, "reconstructions": decoded}
            evaluations.append(evaluate_generation(name, share, opened_reference, **protocol))
    return evaluator.finish(evaluations, out)


@claims(SCORES_FILE, shared=True)
def reconstruction(
    autoencoders: Annotated[Sequence[str], arg(metavar="AUTOENCODER ...")],
    /,
    *,
    data: str,
    out: Path,
    size: int | None = None,
    lpips: str | None = None,
    keep: tuple[int, ...] = KEEP,
    num_images: int | None = None,
    split: Split | None = None,
    tiling: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    reading: Options = Reading(batch_size=16),
) -> list[Evaluation]:
    """Score autoencoders by their reconstructions of the same images; write scores.json.

    To use several processes, launch it by torchrun.
    It runs where Accelerate says: on a GPU if there is one, or where ACCELERATE_TORCH_DEVICE=cpu or cuda:1 says.

    For example:
        specmatch evaluate reconstruction runs/tiny stabilityai/sd-vae-ft-mse --data photos --size 256 --out scores

    Args:
        autoencoders: As for `specmatch analyze`; NAME=SOURCE sets the name shown.
        data: A folder, parquet or tar path, URL, (hub|stream):NAME[:SPLIT], or "embedded".
        out: Folder for scores.json.
        size: Side of the square images in pixels; by default that of training, or 256.
        lpips: Weights of LPIPS, a path or hub name.
        keep: Numbers of diagonals, of 15, that low-pass rFIDs keep, one rFID for each.
        num_images: Number of images, spread over the set; all by default.
        split: Part of the data; by default what training on the same data held out, otherwise all.
        tiling: Run networks in the tiles of their classes, one image at a time, so that large images fit; numbers
            change.
        seed: Seed of the directions of the sliced Wasserstein distance.
        overwrite: Replace a file of this name that specmatch did not write.
        reading: How images are read, and their features extracted.
    """
    if not all(1 <= k <= 14 for k in keep) or len(set(keep)) < len(keep):
        raise ValueError(f"keep is {keep}, expected different numbers of diagonals, each from 1 to 14")
    sources = named_sources(autoencoders)
    evaluator = Evaluator(reading)
    device = evaluator.accelerator.device
    perceptual = LPIPS.from_weights(lpips).to(device) if lpips else None
    networks = {name: Autoencoder.from_pretrained(source, tiling=tiling) for name, source in sources.items()}
    trained = {name: training_data(source) for name, source in sources.items()}
    images, notes = choose_images(trained, data, size=size, split=split)
    protocol = evaluator.protocol(seed, notes) | {"keep": keep}
    protocol |= {"source_digest": fingerprint(images, spread_items(images, num_images)).digest}
    protocol |= {"device": device, "lpips": perceptual}
    evaluations: list[Evaluation] = []
    with progress_bars(networks) as bars:
        for name, network in networks.items():
            batches = evaluator.share(images, bars[name], num_images, network)
            evaluations.append(evaluate_reconstruction(name, network, batches, source=data, **protocol))
            network.to("cpu")
    return evaluator.finish(evaluations, out)


def open_real(data: str, size: int, split: Split) -> ImageSet:
    """Open the images of a reference: all files of a folder, or as training does.

    As training does if a split is asked for, or tables of images are there.
    """
    folder = Path(data).expanduser()
    if split == "all" and data and folder.is_dir():
        listing = walk(folder)
        tables = [name for name in listing.names if name.lower().endswith(TABLE)]
        has_tars = any(name.lower().endswith(TAR) for name in listing.names)
        if not has_tars and not read_tables(folder, tables).holding:
            return given_images(listing, size)
    return open_images(data, size, split=split, labels=None)


class Evaluator:
    """State that the three commands share: processes, extractor, and options for reading images."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self.accelerator = validate(reading), open_accelerator()
        self.extractor = open_extractor(reading.features, self.accelerator.device) if reading.features else None
        self._bad: dict[BadFile, None] = {}

    def share(
        self, images: Images, progress: Callback, n: int | None = None, network: Autoencoder | None = None
    ) -> Iterator[ImageBatch]:
        """Return this process's share of `n` images (None: all) spread over the set, in batches.

        The first batch names what opening found unusable. network: what the images go through.

        Raises:
            ValueError: for no image; where processes see other images or networks than the first.
        """
        if n is not None and n < 1:
            raise ValueError(f"num_images is {n}, expected at least 1")
        if self.accelerator.num_processes > 1:
            mine: dict[str, object] = {"images": fingerprint(images, spread_items(images, n))}
            mine |= {"features": self.extractor.digest} if self.extractor else {}
            mine |= {"autoencoder": network.digest} if network else {}
            require_alike(self.accelerator, mine)
        return self._share(images, progress, n)

    def _share(self, images: Images, progress: Callback, n: int | None) -> Iterator[ImageBatch]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        done, total = 0, -(-min(len(images), n or len(images)) // world)
        size, workers = self._reading.batch_size, self._reading.workers
        found = () if rank else images.bad
        for batch in fixed_batches(images, size, n, rank=rank, world=world, workers=workers):
            done += len(batch.images) + len(batch.bad)
            bad, found = (*found, *batch.bad), ()
            self._bad |= dict.fromkeys(bad)
            yield batch._replace(bad=bad)
            progress(done, total)

    def name_bad_files(self) -> None:
        """Show each file that a process could not use, once; all processes must call it."""
        bad = list(self._bad)
        for file in dict.fromkeys(gather_object(bad) if self.accelerator.num_processes > 1 else bad):
            log.warning("skipped %s", file)

    def protocol(self, seed: int, warnings: Sequence[str]) -> dict[str, Any]:
        """Return what all scores are computed with."""
        shared = {"extractor": self.extractor, "accelerator": self.accelerator}
        return shared | {"seed": seed, "warnings": tuple(warnings)}

    def finish(self, evaluations: list[Evaluation], out: Path) -> list[Evaluation]:
        """Name the bad files, then write and print the scores, in the main process."""
        self.name_bad_files()
        if self.accelerator.is_main_process:
            try:
                write_results(out, lambda folder: EVALUATIONS.write(folder / SCORES_FILE, evaluations))
            finally:  # a table to read is what is left of them where nothing can be written
                print_results(*scores(evaluations))
                print_document(EVALUATIONS, evaluations)
            print_results(str(out / SCORES_FILE))
        return evaluations
