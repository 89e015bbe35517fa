"""Choice of the images that an autoencoder is measured on, or whose latents are cached, given its training data."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..files.names import quoted
from ..records.training_data import TrainingData
from .images import ImageChoice, ImageSet, Split
from .relation import n_shared, relation

DEFAULT_SIZE = 256

log = logging.getLogger(__name__)


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
    the default, and otherwise all of it, with a note where training saw some of it; "embedded" has a split of its own.
    size: by default that of training, or 256. labels: as for `open_images`.

    Raises:
        ValueError: when the records disagree on the size or on which images were held out.
    """
    records = {name: record for name, record in trained.items() if record}
    sizes = {record.size for record in records.values()} or {DEFAULT_SIZE}
    if size is None and len(sizes) > 1:
        which = ", ".join(f"{quoted(name)} {record.size}" for name, record in records.items())
        raise ValueError(f"the autoencoders were trained at several sizes ({which}): choose one with --size")
    size = min(sizes) if size is None else size

    relations = {source: relation(source, data) for source in {record.source for record in records.values()}}
    insiders = {name: record for name, record in records.items() if relations[record.source] == "same"}
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
    related: dict[TrainingData, list[str]] = {}
    for name, record in records.items():
        if relations[record.source] == "related":
            related.setdefault(record, []).append(name)
    notes += tuple(note for record, names in related.items() for note in _seen(images, record, names))
    return ChosenImages(images, notes)


def choose_reference(source: str, images: ImageSet) -> ChosenImages:
    """Open images that models of the latents of `images` are fitted to: of the same size, others than these if it can.

    Where `images` are the held-out part of `source`, the reference is the rest; otherwise it is all of `source`. Labels
    are taken where there are any that can be classes.

    Raises:
        ValueError: when they do not open.
    """
    choice = ImageChoice(source, images.size)
    if relation(images.choice.source, source) == "same":
        choice = replace(images.choice, split="train" if images.choice.split == "held_out" else "all")
    try:
        chosen = choice.open(images.size, labels=True)
    except ValueError:  # of the labels, or else once more
        chosen = choice.open(images.size, labels=None)
    return ChosenImages(chosen, overlap(choice, images))


def overlap(reference: ImageChoice, images: ImageSet) -> tuple[str, ...]:
    """Return a note on a reference that holds the images measured, as far as their sources tell."""
    choice, related = images.choice, relation(reference.source, images.choice.source)
    of_one_split = (reference.held_out, reference.seed) == (choice.held_out, choice.seed)
    is_apart = of_one_split and {reference.split, choice.split} == {"train", "held_out"}
    if related == "apart" or (related == "same" and is_apart):
        return ()
    n = len(images) if related == "same" else n_shared(images, reference)
    if n == 0:
        return ()
    return (
        f"The reference {reference.source} {'may hold' if n is None else 'holds'} images that are measured: "
        "interpolation finds their own latents, and distances come out too small.",
    )


def images_to_cache(
    trained: TrainingData | None, data: str | None, *, size: int | None, split: Split | None, labels: bool = True
) -> ImageSet:
    """Open the images whose latents are to be cached: by default those that the autoencoder was trained on.

    data, size: by default those of training, or 256 pixels. split: by default "train" where it was trained on `data`,
    with the same held-out fraction and seed, and otherwise "all". labels: whether they are to be cached as well. A
    warning is logged where "all" holds images that training held out.

    Raises:
        ValueError: when no images are named, or they do not open.
    """
    data = trained.source if data is None and trained else data
    if data is None:
        raise ValueError('nothing says of which images: name them by --data FOLDER, or "embedded"')
    related = relation(trained.source, data) if trained else "apart"
    if data != "embedded" and (path := Path(data).expanduser()).exists():
        data = str(path.resolve())  # so that readers find them from any working directory
    if size is None:
        size = trained.size if trained else DEFAULT_SIZE
    if trained is not None and related == "same":
        return ImageChoice(data, size, split or "train", trained.held_out, trained.seed).open(size, labels=labels)
    images = ImageChoice(data, size, split or "all").open(size, labels=labels)
    if trained is not None and related == "related" and trained.held_out:
        n = n_shared(images, _choice_of(trained, "held_out"))
        if n != 0:
            log.warning(
                "%s of these %s images were held out when the autoencoder was trained on %s: without --data, the "
                "images that it was trained on are cached, and no others",
                "perhaps some" if n is None else f"{n:,}",
                f"{len(images):,}",
                trained.source,
            )
    return images


def _seen(images: ImageSet, record: TrainingData, names: Iterable[str]) -> tuple[str, ...]:
    """Return a note on images that are among the training images of the autoencoders of these names."""
    n = n_shared(images, _choice_of(record, "train"))
    if n == 0:
        return ()
    count = "Perhaps some" if n is None else f"{n:,}"
    remedy = f": --data {record.source} takes those that were held out" if record.held_out else ""
    return (f"{count} of these {len(images):,} images are among the training images of {_listed(names)}{remedy}.",)


def _choice_of(record: TrainingData, split: Split) -> ImageChoice:
    return ImageChoice(record.source, record.size, split, record.held_out, record.seed)


def _listed(names: Iterable[str]) -> str:
    *most, last = map(quoted, names)
    return f"{', '.join(most)} and {last}" if most else last
