"""Choice of the images that an autoencoder is measured on, or whose latents are cached, given its training data."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..files.names import quoted
from ..records.training_data import TrainingData
from .images import ImageChoice, ImageSet, Split

DEFAULT_SIZE = 256


class ChosenImages(NamedTuple):
    """The images to measure on, and notes for the reader on how they were chosen."""

    images: ImageSet
    notes: tuple[str, ...]


def choose_images(
    trained: Mapping[str, TrainingData | None],
    data: str,
    *,
    size: int | None,
    split: Split | None,
    labels: bool | None = None,
) -> ChosenImages:
    """Open `data` so that, unless `split` says otherwise, no autoencoder is measured on its own training images.

    trained: training records by name. If some autoencoders were trained on `data`, the images that they held out are
    the default, and otherwise all of it; "embedded" has a split of its own. size: by default that of training, or 256.
    labels: as for `open_images`.

    Raises:
        ValueError: when the records disagree on the size or on which images were held out.
    """
    records = {name: record for name, record in trained.items() if record}
    sizes = {record.size for record in records.values()} or {DEFAULT_SIZE}
    if size is None and len(sizes) > 1:
        which = ", ".join(f"{quoted(name)} {record.size}" for name, record in records.items())
        raise ValueError(f"the autoencoders were trained at several sizes ({which}): choose one with --size")
    size = min(sizes) if size is None else size

    insiders = {name: record for name, record in records.items() if is_same_source(record.source, data)}
    held_out, seed = 0.05, 0
    if insiders and data != "embedded":
        rules = {(record.held_out, record.seed) for record in insiders.values()}
        if len(rules) > 1 and split != "all":
            which = ", ".join(f"{quoted(name)} {r.held_out:g} with seed {r.seed}" for name, r in insiders.items())
            raise ValueError(f"the autoencoders held out different images of {data} ({which}): take --split all")
        held_out, seed = min(rules)
    elif data != "embedded":
        split = split or "all"
    was_chosen = split is None
    split = split or ("held_out" if held_out else "all")
    notes: tuple[str, ...] = ()
    if insiders:
        whose = f"the training images of {_listed(insiders)}"
        if split == "held_out" and data != "embedded":
            whose += f" (a fraction of {held_out:g} was held out, with seed {seed})"
        among = {
            "held_out": "None of these images is among",
            "train": "These images are",
            "all": "These images include",
        }
        notes = (f"{among[split]} {whose}.",)
    images = ImageChoice(data, size, split, held_out, seed).open(size, labels=labels)
    if insiders and was_chosen and split == "held_out" and data != "embedded":
        n = f"{len(images):,} of {len(images.part('all')):,}"
        notes += (f"They are {n}: --split all takes all, another --data others that training never saw.",)
    return ChosenImages(images, notes)


def choose_reference(source: str, images: ImageSet) -> ChosenImages:
    """Open images that models of the latents of `images` are fitted to: of the same size, others than these if it can.

    Where `images` are the held-out part of `source`, the reference is the rest; otherwise it is all of `source`. Labels
    are taken where there are any that can be classes.

    Raises:
        ValueError: when they do not open.
    """
    choice = ImageChoice(source, images.size)
    if is_same_source(images.choice.source, source):
        choice = replace(images.choice, split="train" if images.choice.split == "held_out" else "all")
    try:
        chosen = choice.open(images.size, labels=True)
    except ValueError:  # of the labels, or else once more
        chosen = choice.open(images.size, labels=None)
    return ChosenImages(chosen, overlap(choice, images.choice))


def overlap(reference: ImageChoice, images: ImageChoice) -> tuple[str, ...]:
    """Return a note on a reference that holds the images measured, as far as their sources tell."""
    of_one_split = (reference.held_out, reference.seed) == (images.held_out, images.seed)
    is_apart = of_one_split and {reference.split, images.split} == {"train", "held_out"}
    if is_apart or not is_same_source(reference.source, images.source):
        return ()
    return (
        f"The reference {reference.source} holds images that are measured: interpolation finds their own latents, and "
        "distances come out too small.",
    )


def images_to_cache(
    trained: TrainingData | None, data: str | None, *, size: int | None, split: Split | None, labels: bool = True
) -> ImageSet:
    """Open the images whose latents are to be cached: by default those that the autoencoder was trained on.

    data, size: by default those of training, or 256 pixels. split: by default "train" where it was trained on `data`,
    with the same held-out fraction and seed, and otherwise "all". labels: whether they are to be cached as well.

    Raises:
        ValueError: when no images are named, or they do not open.
    """
    data = trained.source if data is None and trained else data
    if data is None:
        raise ValueError('nothing says of which images: name them by --data FOLDER, or "embedded"')
    if data != "embedded" and (path := Path(data).expanduser()).exists():
        data = str(path.resolve())  # so that readers find them from any working directory
    if size is None:
        size = trained.size if trained else DEFAULT_SIZE
    if trained is not None and is_same_source(trained.source, data):
        return ImageChoice(data, size, split or "train", trained.held_out, trained.seed).open(size, labels=labels)
    return ImageChoice(data, size, split or "all").open(size, labels=labels)


def is_same_source(one: str, other: str) -> bool:
    """Return whether two sources are the same folder, however it is written."""
    paths = Path(one).expanduser(), Path(other).expanduser()
    return one == other or (all(path.exists() for path in paths) and paths[0].samefile(paths[1]))


def _listed(names: Iterable[str]) -> str:
    *most, last = map(quoted, names)
    return f"{', '.join(most)} and {last}" if most else last
