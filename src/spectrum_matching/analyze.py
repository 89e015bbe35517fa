"""The verb `analyze`: autoencoders measured side by side, on the same images."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Literal

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import arg

from .checkpoints import write_text_aside
from .data.images import Split
from .measure import analyze, check_size
from .nets.autoencoder import Autoencoder
from .report import render
from .results import Analysis, to_json
from .subjects import choose_images, named_sources, training_data
from .tables import summary_table


def analyze_all(
    autoencoders: Annotated[Sequence[str], arg(metavar="AUTOENCODER ...")],
    /,
    *,
    out: Path,
    data: str = "embedded",
    size: int | None = None,
    num_images: int = 256,
    batch_size: int = 16,
    seed: int = 0,
    split: Split | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
) -> list[Analysis]:
    """Measure autoencoders on the same images; write analysis.json and report.html.

    Args:
        autoencoders: Folders that AutoencoderKL.save_pretrained wrote, or hub names; NAME=FOLDER sets the name shown.
        out: Folder for analysis.json and report.html.
        data: "embedded", a folder or parquet path, or hub:NAME[:SPLIT].
        size: Side of the square images in pixels; that of training by default, or 256.
        num_images: The first so many images of the split.
        batch_size: Images at once.
        seed: Of posterior samples and of the bootstrap.
        split: By default what training on the same data held out; otherwise all.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        dtype: Of the networks; what is measured is in float32 or float64.
    """
    console = Console(stderr=True)
    if num_images < 2 or batch_size < 1:
        raise ValueError(f"expected at least 2 images, in batches of at least 1; got {num_images} and {batch_size}")
    sources = named_sources(autoencoders)
    chosen_device = _device(device)
    _require_writable(out)
    networks = {name: Autoencoder.from_pretrained(source) for name, source in sources.items()}
    trained = {name: training_data(source) for name, source in sources.items()}
    images, split, notes = choose_images(trained, data, size=size, split=split)
    for name, network in networks.items():
        check_size(name, network.factor, images.size)

    analyses = []
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        tasks = {name: bar.add_task(escape(name), total=min(num_images, len(images))) for name in networks}
        for name, network in networks.items():
            analyses.append(
                analyze(
                    network,
                    images,
                    name=name,
                    source=sources[name],
                    split=split,
                    n_images=num_images,
                    batch_size=batch_size,
                    seed=seed,
                    device=chosen_device,
                    dtype=getattr(torch, dtype),
                    notes=notes,
                    advance=partial(bar.advance, tasks[name]),
                )
            )
            network.to("cpu")
            bar.update(tasks[name], completed=min(num_images, len(images)))  # bad files have no part in the count
    for bad in analyses[0].sample.bad_files:
        console.print(f"[yellow]skipped[/] {escape(bad)}", highlight=False)
    write_analyses(analyses, out)
    console.print(summary(analyses))
    console.print(str(out / "report.html"), highlight=False, soft_wrap=True, markup=False)
    return analyses


def write_analyses(analyses: list[Analysis], out: Path) -> None:
    """analysis.json and report.html in the folder `out`, each complete or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    files = {"analysis.json": to_json(analyses) + "\n", "report.html": render(analyses)}
    for name, text in files.items():
        write_text_aside(out / name, text)


def summary(analyses: list[Analysis]) -> Table:
    """The first table of the report, for the terminal."""
    (_, *columns), rows = summary_table(analyses)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(f"{column.title}\n{column.unit.replace('-', ' ')}", justify="right")
    for place, (_, *cells) in rows:
        table.add_row(escape(analyses[place].subject.name), *(cell.value for cell in cells))
    return table


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({why}); cpu always can") from error


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write into {folder}: {error.strerror}; choose another --out") from error
