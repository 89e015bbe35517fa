"""Autoencoders side by side: their names, and the images on which all of them may be measured."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data import ImageSet, open_images
from ..data.decode import BadImageError
from ..data.images import Split
from ..data.latent_layouts import ImageChoice
from ..data.latents import LatentSet, open_latents
from ..data.sources import open_source
from ..data.training_targets import require_latents
from ..nets.autoencoder.custom import PREFIX
from ..records.training_data import TrainingData

DEFAULT_SIZE = 256
CACHED = "latents:"
# Folders that say what lies in them, not whose it is.
ANONYMOUS = {"export", "vae"}


class Choice(NamedTuple):
    """The images to measure on, and what a reader must know of how they were chosen."""

    images: ImageSet
    split: Split
    notes: tuple[str, ...]


class ToCache(NamedTuple):
    """The images to cache, and what opens them again."""

    images: ImageSet
    choice: ImageChoice


class CachedImages(NamedTuple):
    """Cached latents and, where they are known, the images that they are of."""

    latents: LatentSet
    images: ImageSet | None


def is_cached(source: str) -> bool:
    """Whether a source is a folder of cached latents: "latents:FOLDER"."""
    return source.startswith(CACHED)


def open_cached(source: str, data: str | None, size: int | None) -> CachedImages:
    """The latents of "latents:FOLDER" and the images of `data`, or else those that the cache says lie beside it.

    size: by default that of the cache where it tells, or the side of the first images where these are squares of one
    size, or 256. ValueError where it is no multiple of the latents' grid.
    """
    latents = open_latents(source.removeprefix(CACHED))
    require_latents(latents)
    where = data or latents.images
    if where is None:
        return CachedImages(latents, None)
    choice = latents.choice or ImageChoice(where)
    size = size or choice.size or _square_side(where) or DEFAULT_SIZE
    h, w = latents.grid
    if h != w or size % h:
        raise ValueError(
            f"{source}: {h} x {w} latents are not of images of {size} x {size} pixels; name the images' side by --size"
        )
    images = open_images(where, size, split=choice.split, held_out=choice.held_out, seed=choice.seed)
    return CachedImages(latents, images)


def named_sources(entries: Sequence[str]) -> dict[str, str]:
    """Folders and hub names under names of their own: NAME of NAME=SOURCE, or as much of a path's end as tells apart.

    ValueError when there are none, or when one name is given twice.
    """
    if not entries:
        raise ValueError("no autoencoder was given: name folders, hub names or NAME=FOLDER")
    pairs = [_split_name(entry) for entry in entries]
    paths = [_telling_parts(source) for _, source in pairs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = [
            name or "/".join(path[-depth:]).replace("//", "/") for (name, _), path in zip(pairs, paths, strict=True)
        ]
        if len(set(names)) == len(names):
            return {name: source for name, (_, source) in zip(names, pairs, strict=True)}
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"{twice} was given twice; tell them apart as NAME=FOLDER")


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


def _square_side(where: str) -> int | None:
    """The side of the first images of a folder if they are squares of one size, as caches have them."""
    if where == "embedded":
        return None
    source = open_source(where)
    sides: set[int] = set()
    for item in range(min(8, len(source.names))):
        try:
            sides.update(source.size(item))
        except BadImageError:
            continue
    return sides.pop() if len(sides) == 1 else None


def _telling_parts(source: str) -> list[str]:
    """A path's parts without what says nothing of whose it is; a factory's name comes last."""
    factory: list[str] = []
    if source.startswith(PREFIX):
        source, _, name = source.removeprefix(PREFIX).rpartition(":")
        factory = [name]
    path = Path(source.removeprefix(CACHED))
    path = path.with_suffix("") if path.suffix in (".py", ".safetensors") else path
    return [*(part for part in path.parts if part not in ANONYMOUS), *factory] or [source]


def _split_name(entry: str) -> tuple[str, str]:
    name, equals, source = entry.partition("=")
    return (name, source) if equals and name and source and not Path(entry).exists() else ("", entry)


def _is_same(one: str, other: str) -> bool:
    """Whether two sources are the same folder, however it is written."""
    paths = Path(one).expanduser(), Path(other).expanduser()
    return one == other or (all(path.exists() for path in paths) and paths[0].samefile(paths[1]))


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
