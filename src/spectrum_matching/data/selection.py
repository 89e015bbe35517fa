"""Which images an autoencoder is measured on or cached from, given what it was trained on."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..records.training_data import TrainingData
from . import ImageSet, open_images
from .images import Split


class ImageChoice(NamedTuple):
    """What opens the images that latents are of: `open_images(source, size, split=…, held_out=…, seed=…)`.

    size: None where the layout does not tell.
    """

    source: str
    size: int | None = None
    split: Split = "all"
    held_out: float = 0.05
    seed: int = 0


DEFAULT_SIZE = 256


class Choice(NamedTuple):
    """The images to measure on, and what a reader must know of how they were chosen."""

    images: ImageSet
    split: Split
    notes: tuple[str, ...]


class ToCache(NamedTuple):
    """The images to cache, and what opens them again."""

    images: ImageSet
    choice: ImageChoice


def choose_images(
    trained: Mapping[str, TrainingData | None], data: str, *, size: int | None, split: Split | None
) -> Choice:
    """Open `data` so that, unless `split` says otherwise, no autoencoder is measured on what it was trained on.

    trained: by name. If some were trained on `data`, what they held out is the default, and else all of it
    ("embedded" has a split of its own). size: by default that of training, or 256. ValueError where the records do
    not agree on the size or on what was held out.
    """
    records = {name: record for name, record in trained.items() if record}
    sizes = {record.size for record in records.values()} or {DEFAULT_SIZE}
    if size is None and len(sizes) > 1:
        said = ", ".join(f"{name} {record.size}" for name, record in records.items())
        raise ValueError(f"the autoencoders were trained at several sizes ({said}): choose one with --size")
    if size is None:
        size = min(sizes)

    insiders = {name: record for name, record in records.items() if _is_same(record.source, data)}
    held_out, seed = 0.05, 0
    if insiders and data != "embedded":
        rules = {(record.held_out, record.seed) for record in insiders.values()}
        if len(rules) > 1 and split != "all":
            said = ", ".join(f"{name} {r.held_out:g} with seed {r.seed}" for name, r in insiders.items())
            raise ValueError(f"the autoencoders held out different images of {data} ({said}): take --split all")
        held_out, seed = min(rules)
    elif data != "embedded":
        split = split or "all"
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
    return Choice(open_images(data, size, split=split, held_out=held_out, seed=seed), split, notes)


def images_to_cache(
    trained: TrainingData | None, data: str | None, *, size: int | None, split: Split | None
) -> ToCache:
    """The images that an autoencoder's latents are wanted of: by default those it was trained on.

    data, size: by default those of training, or 256 pixels. split: by default "train" where it was trained on `data`,
    by the rule of that training, and else "all". ValueError where nothing says which images.
    """
    data = data or (trained.source if trained else None)
    if data is None:
        raise ValueError('nothing says of which images: name them by --data FOLDER, or "embedded"')
    if data != "embedded" and (path := Path(data).expanduser()).exists():
        data = str(path.resolve())  # so that readers find them from wherever they are
    trained_on_these = trained is not None and _is_same(trained.source, data)
    choice = ImageChoice(
        data, size or (trained.size if trained else DEFAULT_SIZE), split or ("train" if trained_on_these else "all")
    )
    if trained is not None and trained_on_these:
        choice = choice._replace(held_out=trained.held_out, seed=trained.seed)
    images = open_images(
        data, choice.size or DEFAULT_SIZE, split=choice.split, held_out=choice.held_out, seed=choice.seed
    )
    return ToCache(images, choice)


def _is_same(one: str, other: str) -> bool:
    """Whether two sources are the same folder, however it is written."""
    paths = Path(one).expanduser(), Path(other).expanduser()
    return one == other or (all(path.exists() for path in paths) and paths[0].samefile(paths[1]))


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
