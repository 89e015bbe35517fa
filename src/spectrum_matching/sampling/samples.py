"""Samples on disk: a grid, an .npz or a folder of PNG files, and the record beside them.

Earlier samples are replaced, recognised by their record; anything else is refused.
"""

import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from ..data.pictures import encode_png, grid, to_bytes, write_png
from ..files.atomic import explain_write_errors, open_atomically, write_folder_atomically
from ..files.manifest import MANIFEST
from ..files.settings import as_line, differences
from ..nets.precision import require_precision
from ..processes import exclusive_output, in_main, require_alike
from ..records.scores import SAMPLES_RECORD, Sampling
from .generate import SamplingChoice, check_sampling, generate_batch, sampling_record
from .model import DiffusionModel
from .parts import all_parts_of, begin_parts, joined, missing_batches, parts_of, write_part
from .sample_record import (
    SAMPLES,
    SampleRecord,
    read_sampling,
    record_path,
    verify_samples,
    without_names,
    write_record,
)

OTHER_FORMATS = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".npy", ".json", ".zip"}
SAMPLE_FILES = re.compile(rf"\d{{6,}}\.png|samples\.json|{MANIFEST}")  # in a folder of samples

log = logging.getLogger(__name__)


def write_samples(
    model: DiffusionModel,
    choice: SamplingChoice,
    n_images: int,
    out: Path,
    accelerator: Accelerator,
    progress: Callable[[int, int], None] = lambda done, total: None,
    overwrite: bool = False,
) -> None:
    """Write images 0 to n_images − 1 and their `Sampling` to `out`, resuming what was interrupted.

    progress: called with the number of finished images and the total, of this process. overwrite: replace other
    samples, finished or not, and a file that is not samples.

    Raises:
        ValueError: if the model cannot be sampled this way, `out` holds other samples or anything else, or cannot be
            written, or the device lacks the precision.
    """
    check_sampling(model, choice)
    record = sampling_record(model, choice, n_images)
    require_precision(choice.precision, accelerator.device)
    require_alike(accelerator, {"model": record.denoiser_digest, "autoencoder": record.autoencoder_digest})
    with exclusive_output(accelerator, out):
        batches: list[range] | None = in_main(accelerator, lambda: _begin(out, record, choice.batch_size, overwrite))
        if batches is None:
            return
        share, parts = batches[accelerator.process_index :: accelerator.num_processes], parts_of(out, record)
        done, total = 0, sum(map(len, share))
        for indices in share:
            pixels = to_bytes(generate_batch(model, choice, indices, accelerator.device)).numpy()
            with explain_write_errors(f"samples to {out}"):
                write_part(parts, indices, pixels)
            done += len(indices)
            progress(done, total)
        accelerator.wait_for_everyone()
        in_main(accelerator, lambda: _finish(out, record))


def _begin(out: Path, record: Sampling, batch_size: int, overwrite: bool) -> list[range] | None:
    """Begin or resume; return the batches that are missing, None where the samples are in `out` already."""
    check_out(out, overwrite)
    known = read_sampling(record_path(out)) if out.exists() else None
    changes = {} if known is None else differences(without_names(known), without_names(record))
    others = [parts for parts in all_parts_of(out) if parts != parts_of(out, record)]
    if not overwrite and (changes or others):
        what = f"other samples: {as_line(changes)}" if changes else "unfinished samples of other settings"
        raise ValueError(f"{out} holds {what}; choose another --out, or --overwrite")
    if known is not None and not changes:
        if is_whole(out, record.n_images):
            log.info("%s already contains these samples; nothing to do", out)
            for parts in all_parts_of(out):
                shutil.rmtree(parts, ignore_errors=True)
            return None
        log.warning("%s is incomplete or damaged: its images are sampled again", out)
    with explain_write_errors(f"samples to {out}"):
        batches = missing_batches(begin_parts(out, record), record.n_images, batch_size)
    if n_finished := record.n_images - sum(map(len, batches)):
        log.info("resuming: %s of %s images are finished", n_finished, record.n_images)
    return batches


def is_whole(out: Path, n_images: int) -> bool:
    """Return whether all samples are there, as they were written, and no others."""
    try:
        verified = verify_samples(out)
    except ValueError:
        return False
    if verified is None or verified[0].n_images != n_images:
        return False
    if out.suffix in (".npz", ".png"):
        return True
    expected = {f"{i:06d}.png" for i in range(n_images)} | {SAMPLES_RECORD, MANIFEST}
    return {path.name for path in out.iterdir()} == expected


def check_out(out: Path, overwrite: bool = False) -> None:
    """Check that samples can take this name; overwrite: also where a file has it that is not samples.

    Raises:
        ValueError: for a format that samples are not written in, and for a name that something else has.
    """
    formats = f"{out}: samples are written as X.npz, as a grid X.png, or into a folder"
    is_file, record = out.suffix in (".npz", ".png"), record_path(out)
    if out.suffix.lower() in OTHER_FORMATS | ({".npz", ".png"} - {out.suffix}):
        raise ValueError(formats)
    if record.exists() and not overwrite and read_sampling(record) is None:
        raise ValueError(
            f"{record} exists and is not a record of samples, whose name it has: choose another --out, or --overwrite"
        )
    if not out.exists():
        return
    if is_file and (out.is_dir() or not (overwrite or record.exists() or all_parts_of(out))):
        remedy = "choose another --out" if out.is_dir() else "choose another --out, or --overwrite"
        raise ValueError(f"{out} exists, and no {record.name} says that it is samples: {remedy}")
    if not is_file and not out.is_dir():
        raise ValueError(formats)
    if not is_file:
        others = sorted(path.name for path in out.iterdir() if not SAMPLE_FILES.fullmatch(path.name))
        if others or (any(out.iterdir()) and not record.exists()):
            what = others[0] if others else f"images without {SAMPLES_RECORD}"
            raise ValueError(f"{out} holds {what}: a folder of samples holds nothing else; choose another --out")


def _finish(out: Path, record: Sampling) -> None:
    """Write the finished batches in the format of `out`, with the record, then delete them."""
    parts = parts_of(out, record)
    batches = joined(parts, record.n_images)

    def write_folder(folder: Path) -> None:
        for i, image in enumerate(image for batch in batches for image in batch):
            (folder / f"{i:06d}.png").write_bytes(encode_png(torch.from_numpy(image)))
        (folder / SAMPLES_RECORD).write_text(SAMPLES.to_json(SampleRecord(record, None)))

    with explain_write_errors(f"samples to {out}"):
        if out.suffix in (".npz", ".png"):
            record_path(out).unlink(missing_ok=True)  # it never describes other samples than exist
            if out.suffix == ".npz":
                _write_npz(out, batches, record.n_images)
            else:
                images = torch.from_numpy(np.concatenate(list(batches))).permute(0, 3, 1, 2).float() / 127.5 - 1
                write_png(out, to_bytes(grid(images))[0])
            write_record(out, record)
        else:
            write_folder_atomically(out, write_folder)
    shutil.rmtree(parts, ignore_errors=True)


def _write_npz(path: Path, batches: Iterator[np.ndarray], n_images: int) -> None:
    """Write uint8 (n, H, W, 3) as `arr_0`, batch by batch."""
    with (
        open_atomically(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
        archive.open(zipfile.ZipInfo("arr_0.npy"), "w", force_zip64=True) as stream,
    ):
        first = next(batches)
        header = {"descr": "|u1", "fortran_order": False, "shape": (n_images, *first.shape[1:])}
        np.lib.format.write_array_header_1_0(stream, header)
        for batch in chain([first], batches):
            stream.write(batch.tobytes())
