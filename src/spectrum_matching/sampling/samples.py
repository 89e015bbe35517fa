"""Samples on disk: a grid, an .npz or a folder of PNG files, the record beside them, and the batches that become them.

Finished batches are kept in a hidden folder beside `out` until all are there, so that a kill loses none. Earlier
samples are replaced, recognised by their record; anything else is refused.
"""

import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from ..data.pictures import encode_png, grid, to_bytes, write_png
from ..files.atomic import explain_write_errors, open_atomically, write_folder_atomically
from ..files.documents import Document
from ..records.scores import Sampling
from .generate import SamplingChoice, generate_batch, sampling_record
from .model import DiffusionModel

SAMPLING = Document(Sampling, "specmatch-samples-1", "sampling", "run `specmatch sample` again")
RECORD = "samples.json"
OTHER_FORMATS = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".npy", ".json", ".zip"}
SAMPLE_FILES = re.compile(r"\d{6,}\.png|samples\.json")  # in a folder of samples

log = logging.getLogger(__name__)


def write_samples(
    model: DiffusionModel,
    choice: SamplingChoice,
    n_images: int,
    out: Path,
    accelerator: Accelerator,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write images 0 to n_images − 1 and their `Sampling` to `out`, resuming what was interrupted.

    progress: called with the number of finished images and the total, of this process.

    Raises:
        ValueError: if `out` holds anything but samples, or cannot be written.
    """
    record = sampling_record(model, choice, n_images)
    check_out(out)
    parts = parts_of(out)
    if out.exists() and _is_same(read_sampling(record_path(out)), record):
        log.info("%s already contains these samples; nothing to do", out)
        shutil.rmtree(parts, ignore_errors=True)
        return
    accelerator.wait_for_everyone()  # until all know what exists
    if accelerator.is_main_process and not _is_same(read_sampling(parts / RECORD), record):
        with explain_write_errors(f"samples to {out}"):
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
            SAMPLING.write(parts / RECORD, record)
    accelerator.wait_for_everyone()
    batches = missing_batches(parts, n_images, choice.batch_size)
    accelerator.wait_for_everyone()  # until all know what is missing
    if n_finished := n_images - sum(map(len, batches)):
        log.info("resuming: %s of %s images are finished", n_finished, n_images)
    share = batches[accelerator.process_index :: accelerator.num_processes]
    done, total = 0, sum(map(len, share))
    for indices in share:
        pixels = to_bytes(generate_batch(model, choice, indices, accelerator.device)).numpy()
        with explain_write_errors(f"samples to {out}"):
            write_part(parts, indices, pixels)
        done += len(indices)
        progress(done, total)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        with explain_write_errors(f"samples to {out}"):
            join_parts(parts, n_images, out, record)
    accelerator.wait_for_everyone()


def record_path(out: Path) -> Path:
    """Return the file that records how the samples in `out` were generated."""
    if out.suffix == ".npz":
        return out.with_suffix(".json")
    return out.with_name(f"{out.name}.json") if out.suffix == ".png" else out / RECORD


def read_sampling(path: Path) -> Sampling | None:
    """Return the record in a file; None if there is none that can be read."""
    try:
        return SAMPLING.read(path)
    except ValueError:
        return None


def check_out(out: Path) -> None:
    """Check that samples can take this name.

    Raises:
        ValueError: for a format that samples are not written in, and for a name that something else has.
    """
    formats = f"{out}: samples are written as X.npz, as a grid X.png, or into a folder"
    is_file, record = out.suffix in (".npz", ".png"), record_path(out)
    if out.suffix.lower() in OTHER_FORMATS | ({".npz", ".png"} - {out.suffix}):
        raise ValueError(formats)
    if record.exists() and read_sampling(record) is None:
        raise ValueError(f"{record} exists and is no record of samples, whose name it has: choose another out")
    if not out.exists():
        return
    if is_file and (out.is_dir() or not (record.exists() or read_sampling(parts_of(out) / RECORD))):
        raise ValueError(f"{out} exists, and no {record.name} says that it is samples: choose another out")
    if not is_file and not out.is_dir():
        raise ValueError(formats)
    if not is_file:
        others = sorted(path.name for path in out.iterdir() if not SAMPLE_FILES.fullmatch(path.name))
        if others or (any(out.iterdir()) and not record.exists()):
            what = others[0] if others else f"images without {RECORD}"
            raise ValueError(f"{out} holds {what}: a folder of samples holds nothing else; choose another out")


def parts_of(out: Path) -> Path:
    """Return the folder of finished batches."""
    return out.with_name(f".{out.name}.parts")


def missing_batches(parts: Path, n_images: int, batch_size: int) -> list[range]:
    """Divide the images that are not finished into batches; finished batches may be of any size."""
    gaps, end = [], 0
    for finished in [*_finished(parts), range(n_images, n_images)]:
        gaps.append(range(end, finished.start))
        end = finished.stop
    return [gap[start : start + batch_size] for gap in gaps for start in range(0, len(gap), batch_size)]


def write_part(parts: Path, indices: range, pixels: np.ndarray) -> None:
    """Write a finished batch, uint8 (b, H, W, 3), of the images with these indices."""
    with open_atomically(_part(parts, indices)) as stream:
        np.save(stream, pixels, allow_pickle=False)


def join_parts(parts: Path, n_images: int, out: Path, record: Sampling) -> None:
    """Write the finished batches in the format of `out`, with the record, then delete them."""
    batches = (np.load(_part(parts, indices), allow_pickle=False) for indices in _finished(parts))

    def write_folder(folder: Path) -> None:
        for i, image in enumerate(image for batch in batches for image in batch):
            (folder / f"{i:06d}.png").write_bytes(encode_png(torch.from_numpy(image)))
        (folder / RECORD).write_text(SAMPLING.to_json(record))

    if out.suffix in (".npz", ".png"):
        record_path(out).unlink(missing_ok=True)  # it never describes other samples than exist
        if out.suffix == ".npz":
            _write_npz(out, batches, n_images)
        else:
            images = torch.from_numpy(np.concatenate(list(batches))).permute(0, 3, 1, 2).float() / 127.5 - 1
            write_png(out, to_bytes(grid(images))[0])
        SAMPLING.write(record_path(out), record)
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


def _is_same(one: Sampling | None, other: Sampling) -> bool:
    """Return whether two records describe the same samples: digests tell models apart, names do not."""
    return one is not None and replace(one, denoiser="", autoencoder="") == replace(other, denoiser="", autoencoder="")


def _part(parts: Path, indices: range) -> Path:
    return parts / f"{indices.start:08d}-{indices.stop:08d}.npy"


def _finished(parts: Path) -> list[range]:
    """Return the indices of each finished batch, in order."""
    return [range(*map(int, path.stem.split("-"))) for path in sorted(parts.glob("[0-9]*-[0-9]*.npy"))]
