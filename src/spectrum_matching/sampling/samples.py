"""Samples on disk: a grid, an .npz or a folder of PNG files, the record beside them, and the batches that become them.

Batches lie in a hidden folder beside `out` until all are there, so that a kill loses none. What is there is replaced
where a record says that it is samples as well; anything else is refused.
"""

import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from torch import Tensor

from ..data.pictures import encode_png, grid, to_bytes, write_png
from ..files.atomic import explain_write_errors, open_atomically, write_folder_atomically
from ..files.documents import Document
from ..records.scores import Sampling
from .generate import SamplingChoice, generate_batch, sampling_record
from .model import DiffusionModel

SAMPLING = Document(Sampling, "specmatch-samples-1", "sampling", "run `specmatch sample` again")
RECORD = "samples.json"
OTHER_FORMATS = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".npy", ".json", ".zip"}
OURS = re.compile(r"\d{6,}\.png|samples\.json")  # in a folder of samples


def record_of(out: Path) -> Path:
    """The file that says how the samples in `out` were made."""
    if out.suffix == ".npz":
        return out.with_suffix(".json")
    return out.with_name(f"{out.name}.json") if out.suffix == ".png" else out / RECORD


def read_sampling(path: Path) -> Sampling | None:
    """The record in a file; None where there is none that can be read."""
    try:
        return SAMPLING.read(path)
    except ValueError:
        return None


def is_there(out: Path, record: Sampling) -> bool:
    """Whether `out` holds these very samples, by whatever names their models were called."""
    return out.exists() and _same(read_sampling(record_of(out)), record)


def refuse_what_is_not_samples(out: Path) -> None:
    """ValueError for a name under which no samples can be written, or under which something else lies."""
    if out.suffix.lower() in OTHER_FORMATS | ({".npz", ".png"} - {out.suffix}):
        raise ValueError(f"{out}: samples are written as X.npz, as a grid X.png, or into a folder")
    begun = read_sampling(parts_of(out) / RECORD) is not None
    record = record_of(out)
    if record.exists() and read_sampling(record) is None:
        raise ValueError(f"{record} is there, and no record of samples, which belongs there: choose another out")
    if out.suffix in (".npz", ".png"):
        if out.is_dir() or (out.exists() and not record.exists() and not begun):
            raise ValueError(f"{out} is there, and no {record.name} says that it is samples: choose another out")
    elif out.exists():
        if not out.is_dir():
            raise ValueError(f"{out} is a file: samples are written as X.npz, as a grid X.png, or into a folder")
        others = sorted(path.name for path in out.iterdir() if not OURS.fullmatch(path.name))
        if others or (any(out.iterdir()) and not record.exists()):
            what = others[0] if others else f"images without {RECORD}"
            raise ValueError(f"{out} holds {what}: a folder of samples holds nothing else; choose another out")


def parts_of(out: Path) -> Path:
    """The folder in which batches wait."""
    return out.with_name(f".{out.name}.parts")


def drop_parts(parts: Path) -> None:
    """What waited, once all of it is in its place, or never will be."""
    shutil.rmtree(parts, ignore_errors=True)


def begin_parts(parts: Path, record: Sampling) -> None:
    """Make the folder for this sampling's batches; those of another one are dropped, those of this one stay."""
    if not _same(read_sampling(parts / RECORD), record):
        drop_parts(parts)
        parts.mkdir(parents=True)
        SAMPLING.write(parts / RECORD, record)


def missing(parts: Path, n_images: int, batch_size: int) -> list[range]:
    """Batches of the images that are not there yet, whatever the size of the batches that are."""
    gaps, end = [], 0
    for done in [*_parts(parts), range(n_images, n_images)]:
        gaps.append(range(end, done.start))
        end = done.stop
    return [gap[place : place + batch_size] for gap in gaps for place in range(0, len(gap), batch_size)]


def write_part(parts: Path, indices: range, pixels: np.ndarray) -> None:
    """A batch, uint8 (b, H, W, 3), of these images."""
    with open_atomically(_part(parts, indices)) as stream:
        np.save(stream, pixels, allow_pickle=False)


def join_parts(parts: Path, n_images: int, out: Path, record: Sampling) -> None:
    """The batches as what `out` asks for, with the record; then the batches go."""

    def batches() -> Iterator[np.ndarray]:
        for indices in _parts(parts):
            yield np.load(_part(parts, indices), allow_pickle=False)

    def write_folder(folder: Path) -> None:
        for indices, batch in zip(_parts(parts), batches(), strict=True):
            for i, image in zip(indices, batch, strict=True):
                (folder / f"{i:06d}.png").write_bytes(encode_png(torch.from_numpy(image)))
        (folder / RECORD).write_text(SAMPLING.to_json(record))

    if out.suffix in (".npz", ".png"):
        record_of(out).unlink(missing_ok=True)  # at no moment does it speak of other samples
        if out.suffix == ".npz":
            write_npz(out, batches(), n_images)
        else:
            write_png(out, to_bytes(grid(_images(np.concatenate(list(batches())))))[0])
        SAMPLING.write(record_of(out), record)
    else:
        write_folder_atomically(out, write_folder)
    drop_parts(parts)


def write_npz(path: Path, batches: Iterator[np.ndarray], n_images: int) -> None:
    """uint8 (n, H, W, 3) as `arr_0`, written batch by batch: memory does not grow with their number."""
    with (
        open_atomically(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
        archive.open(zipfile.ZipInfo("arr_0.npy"), "w", force_zip64=True) as stream,
    ):
        for i, batch in enumerate(batches):
            if not i:
                header = {"descr": "|u1", "fortran_order": False, "shape": (n_images, *batch.shape[1:])}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(batch.tobytes())


def _images(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def _same(one: Sampling | None, other: Sampling) -> bool:
    """Digests say which models; by what names they were called says nothing."""
    return one is not None and replace(one, denoiser="", autoencoder="") == replace(other, denoiser="", autoencoder="")


def _part(parts: Path, indices: Sequence[int]) -> Path:
    return parts / f"{indices[0]:08d}-{indices[-1] + 1:08d}.npy"


def _parts(parts: Path) -> list[range]:
    """The images of each batch that is there, in order."""
    return [range(*map(int, path.stem.split("-"))) for path in sorted(parts.glob("[0-9]*-[0-9]*.npy"))]


def write_samples(
    model: DiffusionModel,
    choice: SamplingChoice,
    n_images: int,
    out: Path,
    accelerator: Accelerator,
    console: Console,
) -> None:
    """Images 0 to n_images − 1 to `out`, with their `Sampling` beside them; what a kill left half done goes on.

    Samples that are there are replaced by others; ValueError where `out` is anything else, or cannot be written.
    """
    record = sampling_record(model, choice, n_images)
    refuse_what_is_not_samples(out)
    parts = parts_of(out)
    if is_there(out, record):
        said = f"{escape(str(out))} is there already, made by this very command"
        console.print(said, highlight=False, soft_wrap=True)
        drop_parts(parts)
        return
    accelerator.wait_for_everyone()  # until all know what is there
    if accelerator.is_main_process:
        with explain_write_errors(f"samples to {out}"):
            begin_parts(parts, record)
    accelerator.wait_for_everyone()
    todo = missing(parts, n_images, choice.batch_size)
    accelerator.wait_for_everyone()  # until all know what is missing
    if n_there := n_images - sum(map(len, todo)):
        console.print(f"going on: {n_there} of {n_images} images are there", highlight=False)
    with Progress(console=console, disable=console.quiet) as bar:
        for indices in bar.track(todo[accelerator.process_index :: accelerator.num_processes], description="sampling"):
            pixels = to_bytes(generate_batch(model, choice, indices, accelerator.device)).numpy()
            with explain_write_errors(f"samples to {out}"):
                write_part(parts, indices, pixels)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        with explain_write_errors(f"samples to {out}"):
            join_parts(parts, n_images, out, record)
    accelerator.wait_for_everyone()
