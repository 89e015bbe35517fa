"""The verb `study`: one question asked of encoders or of saved analyses, answered in numbers and on one page."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import arg

from ..data.images import Split, open_images
from ..data.masks import open_masks
from ..files.atomic import require_writable, write_text_atomically
from ..records.analysis import ANALYSES, Sample
from ..records.provenance import provenance
from ..report.study_page import render_study
from ..report.terminal import terminal_table
from ..studies.directional_energy import measure as directional
from ..studies.directional_energy import record as directional_records
from ..studies.directional_energy.page import directional_blocks, directional_lead, number_table
from ..studies.unified_view import measure as unified
from ..studies.unified_view import record as unified_records
from ..studies.unified_view.page import unified_blocks, unified_lead
from .names import chosen_device, named_sources
from .progress import progress_bars
from .results import print_results, write_results

log = logging.getLogger(__name__)

STUDY_FILE, PAGE_FILE = "study.json", "report.html"


def directional_energy(
    encoders: Annotated[Sequence[str], arg(metavar="ENCODER ...")],
    /,
    *,
    data: str,
    out: Path,
    size: int = 256,
    num_images: int = 100,
    split: Split = "all",
    gamma: tuple[float, ...] = directional.GAMMAS,
    inner: float = directional.INNER,
    outer: float | None = None,
    masks: Path | None = None,
    batch_size: int = 16,
    device: str = "auto",
) -> directional_records.DirectionalEnergy:
    """Draw the directional spectrum of encoders' tokens, before and after each target filter of alignment.

    Args:
        encoders: gradients[:CELL] (no weights), a folder of transformers' format, hub:OWNER/NAME, or
            autoencoder:SOURCE for latents, as `specmatch analyze` names them; NAME=ENCODER sets the name shown.
        data: A folder or parquet path, hub:NAME[:SPLIT], or "embedded".
        out: Folder for study.json and report.html.
        size: Side of the square images in pixels.
        num_images: The first so many images of the split.
        split: Part of the data: train, held_out or all.
        gamma: Shares of the mean token that spatial normalisation takes off.
        inner: Smaller standard deviation of the difference of Gaussians, in tokens.
        outer: The larger one, that of the high-pass too; by default a fifth of the grid's shorter side.
        masks: Folder of foreground masks named as the images; adds SRSS.
        batch_size: Images at once.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
    """
    if not encoders:
        raise ValueError('no encoder was given: name "gradients", folders, hub:OWNER/NAME or autoencoder:SOURCE')
    if num_images < 2 or batch_size < 1:
        raise ValueError(f"expected at least 2 images in batches of at least 1; got {num_images} and {batch_size}")
    sources, place = named_sources(encoders), chosen_device(device)
    require_writable(out)
    images = open_images(data, size, split=split)
    foreground = open_masks(masks, images) if masks else None
    opened = {name: directional.open_encoder(source, place) for name, source in sources.items()}
    filters = {name: directional.filters_of(name, own, size, gamma, inner, outer) for name, own in opened.items()}
    readings: list[directional.Reading] = []
    with progress_bars(opened) as bars:
        for name, encoder in opened.items():
            readings.append(
                directional.read_encoder(
                    name,
                    encoder,
                    images,
                    filters[name],
                    n_images=num_images,
                    masks=foreground,
                    batch_size=batch_size,
                    device=place,
                    progress=bars[name],
                )
            )
    bad = tuple(dict.fromkeys(line for reading in readings for line in reading.bad))
    for line in bad:
        log.warning("skipped %s", line)
    options = [f"--gamma {' '.join(f'{g:g}' for g in gamma)}", f"--inner {inner:g}"]
    options += [f"--outer {outer:g}"] if outer is not None else []
    options += [f"--masks {shlex.quote(str(masks))}"] if masks else []
    words = shlex.join(["specmatch", "study", "directional-energy", *encoders, "--data", data, "--out", str(out)])
    study = directional_records.DirectionalEnergy(
        encoders=tuple(reading.encoder for reading in readings),
        sample=Sample(images.source, split, readings[0].n_images, size, images.digest, bad),
        masks=str(masks or ""),
        command=f"{words} --size {size} --num-images {num_images} --split {split} {' '.join(options)}",
        provenance=provenance(place, torch.float32, 0),
        notes=tuple(directional.notes_of([reading.encoder for reading in readings], foreground)),
    )
    page = render_study(
        "Where an encoder’s directions vary",
        directional_lead(study),
        directional_blocks(study),
        [encoder.name for encoder in study.encoders],
        study.provenance,
        study.command,
        study.notes,
        [(encoder.name, f"{encoder.source} {encoder.digest}; {encoder.resizer}") for encoder in study.encoders],
    )
    write_study(out, directional_records.DIRECTIONAL_ENERGY.to_json(study), page)
    table = terminal_table(number_table(study), [encoder.name for encoder in study.encoders], brief=True)
    print_results(table, str(out / PAGE_FILE))
    return study


def unified_view(
    analyses: Annotated[Sequence[Path], arg(metavar="ANALYSIS ...")],
    /,
    *,
    control: str,
    out: Path,
    delta: float = 1.0,
) -> unified_records.UnifiedView:
    """Say which side of spectrum matching each method acts on, from saved analyses; those of one name are its seeds.

    Args:
        analyses: analysis.json files of `specmatch analyze` or `specmatch compare`, or folders with any number below.
        control: Name of the method that the others are held against.
        out: Folder for study.json and report.html.
        delta: Flattening of the images that the latents' spectrum is held against.
    """
    if not analyses:
        raise ValueError("no analysis was given: name analysis.json files, or the folders that hold them")
    paths = [own for path in analyses for own in _analysis_files(path)]
    words = shlex.join(["specmatch", "study", "unified-view", *map(str, analyses), "--control", control])
    command = f"{words} --out {shlex.quote(str(out))} --delta {delta:g}"
    study = unified.unified_view([own for path in paths for own in ANALYSES.read(path)], control, command, delta)
    require_writable(out)
    names = [method.name for method in study.methods]
    page = render_study(
        "Which side of spectrum matching each method acts on",
        unified_lead(study),
        unified_blocks(study),
        names,
        study.provenance,
        study.command,
        study.notes,
        [("measured on", study.images), ("latents", " × ".join(map(str, study.latent_shape)))],
    )
    write_study(out, unified_records.UNIFIED_VIEW.to_json(study), page)
    print_results(*unified_lead(study), str(out / PAGE_FILE))
    return study


def _analysis_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("analysis.json"))
    if not found:
        raise ValueError(f"{path} holds no analysis.json: name a folder that `specmatch analyze` or `compare` wrote")
    return found


def write_study(out: Path, numbers: str, page: str) -> None:
    """Write study.json and report.html into the folder `out`."""

    def write(folder: Path) -> None:
        write_text_atomically(folder / STUDY_FILE, numbers + "\n")
        write_text_atomically(folder / PAGE_FILE, page)

    write_results(out, write)
