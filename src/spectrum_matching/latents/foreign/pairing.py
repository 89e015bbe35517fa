"""Which image each cached latent is of: by name where the layout keeps names, else by the order of the images."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...data.tensors import Images
from ..dataset import LatentSet
from .array_files import BadLatentError

N_CHECKED = 128


class Pairs(NamedTuple):
    """For each latent the index of its image, and how the pairs were made ("by …")."""

    indices: tuple[int, ...]
    note: str


def pair(latents: LatentSet, images: Images) -> Pairs:
    """Find the image of each latent.

    Our own cache: by position in a source of the same digest. MAR: by class folder and name. REPA with its own images:
    by number. U-ViT, LightningDiT, REPA with other images: by the order in which the tool read them, which needs every
    image; class labels, where both sides have them, are compared on 128 latents spread over the set. Raises ValueError
    in one line where counts differ, names are missing, labels disagree, or the layout does not tell.
    """
    if latents.layout == "specmatch":
        if latents.image_digest != images.digest:
            raise ValueError(
                f"{latents.source} was cached from images of digest {latents.image_digest}, {images.source} has digest"
                f" {images.digest}; give the same images with the same split"
            )
        return Pairs(
            _all_found(latents, images, latents.image_keys), "by position in the source, whose digest is equal"
        )
    if latents.layout == "mar":
        return Pairs(_all_found(latents, images, _by_name(latents, images)), "by class folder and name")
    numbers = [re.search(r"img(\d+)\.\w+$", name) for name in images.names]
    if latents.layout == "repa" and all(numbers):
        places = {int(number[1]): place for place, number in enumerate(numbers) if number}
        found = [-1 if key is None else places.get(int(key), -1) for key in latents.image_keys]
        return Pairs(_all_found(latents, images, found), "by the numbers in the file names")
    return _by_order(latents, images)


def _by_name(latents: LatentSet, images: Images) -> list[int]:
    exact = {_last_two(name): place for place, name in enumerate(images.names)}
    # Of a.jpg beside a.png only the whole names tell which is meant.
    n_of_stem = Counter(map(_stem, exact))
    stems = {_stem(name): place for name, place in exact.items() if n_of_stem[_stem(name)] == 1}
    if len(exact) < len(images):
        raise ValueError(f"{images.source}: two images have one class folder and name, so that names make no pairs")
    keys = [str(key) for key in latents.image_keys]
    return [exact.get(key, stems.get(key, stems.get(_stem(key), -1))) for key in keys]


def _by_order(latents: LatentSet, images: Images) -> Pairs:
    positions = [key for key in latents.image_keys if isinstance(key, int)]
    if len(positions) < len(latents):
        raise ValueError(
            f"{latents.source}: ranks, shards or numbers are missing, so that the order of the images is unknown;"
            " complete the folder, or go without images"
        )
    fewest, most = latents.n_images
    if not fewest <= len(images) <= most:
        left_out = f" ({len(images.bad)} left out, such as {images.bad[0].name})" if images.bad else ""
        raise ValueError(
            f"{latents.source} was made from {most} images, {images.source} gives {len(images)}{left_out};"
            " pairs follow the order of the images: give all of them, and no others"
        )
    places = sorted(range(len(images)), key=lambda place: READING_ORDER[latents.layout](images.names[place]))
    # A last, incomplete round of processes is filled up with the first images.
    indices = tuple(places[position % len(images)] for position in positions)
    n_compared = _compare_labels(latents, images, indices)
    check = f"labels agree on {n_compared} of them" if n_compared else "there are no labels to check it by"
    return Pairs(indices, f"by the order of the images; {check}")


def _compare_labels(latents: LatentSet, images: Images, indices: Sequence[int]) -> int:
    """How many labels were compared. Raises ValueError at the first that disagrees."""
    prefixes = [posixpath.basename(name).split("_")[0] for name in images.names]
    ids = {prefix: label for label, prefix in enumerate(sorted(set(prefixes)))}
    n_compared = 0
    for row in range(0, len(latents), -(-len(latents) // N_CHECKED)):
        place = indices[row]
        try:
            label, sample = latents[row].label, images[place]
        except BadLatentError:
            continue
        if sample.bad or label < 0 or sample.label < 0:
            continue
        n_compared += 1
        # U-ViT takes the class from the file name, up to the first underscore.
        if label != sample.label and not (latents.layout == "uvit" and label == ids[prefixes[place]]):
            raise ValueError(
                f"labels disagree: {latents.name(row)} of {latents.source} is of class {label}, the image in its place,"
                f" {images.names[place]}, of class {sample.label}; these are not the images, or not in their order"
            )
    return n_compared


def _all_found(latents: LatentSet, images: Images, places: Sequence[str | int | None]) -> tuple[int, ...]:
    found = tuple(place for place in places if isinstance(place, int) and 0 <= place < len(images))
    if len(found) < len(latents):
        good = set(found)
        row = next(row for row, place in enumerate(places) if place not in good)
        raise ValueError(
            f"{len(latents) - len(found)} of {len(latents)} latents of {latents.source} have no image in"
            f" {images.source}, such as {latents.name(row)}; give the images that were cached, with split 'all'"
        )
    return found


def _read_by_folders(name: str) -> tuple[str, ...]:
    return tuple(name.split("/"))


def _read_by_class(name: str) -> tuple[str, str, str]:
    # torchvision's ImageFolder: classes, then the folders in each, then their files.
    return name.split("/")[0], posixpath.dirname(name), posixpath.basename(name)


def _last_two(name: str) -> str:
    return "/".join(name.split("/")[-2:])


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


READING_ORDER: dict[str, Callable[[str], tuple[str, ...]]] = {
    "uvit": _read_by_folders,
    "lightningdit": _read_by_class,
    "repa": lambda name: (name,),
}
