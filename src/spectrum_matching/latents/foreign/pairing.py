"""Pairing of cached latents with images: by name where the layout keeps names, otherwise by the order of the images."""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ...data.arrays import Images
from ...data.fingerprint import changes
from ...seeding import spread
from ..latent_set import BadLatentError, LatentSet

N_CHECKED = 128


class Pairs(NamedTuple):
    """The index of each latent's image, and how they were paired ("by …")."""

    indices: tuple[int, ...]
    note: str


def pair(latents: LatentSet, images: Images) -> Pairs:
    """Find the image of each latent.

    Our own cache: by index in a source of the same digest. MAR: by class folder and name. REPA with its own images: by
    number. LightningDiT, REPA with other images: by the order in which the tool read them, which needs every image;
    class labels, where both sides have them, are compared on 128 latents spread over the set.

    Raises:
        ValueError: when counts differ, names are missing, labels disagree, or the layout does not record the image.
    """
    if latents.layout == "specmatch":
        if changed := changes(latents.info.fingerprint, images.fingerprint, images.names):
            raise ValueError(
                f"{latents.source} was cached from other images than those of {images.source} ({changed}); give the"
                " same images with the same split"
            )
        indices = _require_all(latents, images, latents.image_keys)
        return Pairs(indices, "by position in the source, whose digest is equal")
    if latents.layout == "mar":
        return Pairs(_require_all(latents, images, _by_name(latents, images)), "by class folder and name")
    numbers = [re.search(r"img(\d+)\.\w+$", name) for name in images.names]
    if latents.layout == "repa" and all(numbers):
        index_of = {int(number[1]): index for index, number in enumerate(numbers) if number}
        found = [-1 if key is None else index_of.get(int(key), -1) for key in latents.image_keys]
        return Pairs(_require_all(latents, images, found), "by the numbers in the file names")
    return _by_order(latents, images)


def _by_name(latents: LatentSet, images: Images) -> list[int]:
    exact = {_last_two(name): index for index, name in enumerate(images.names)}
    # Of a.jpg beside a.png only the whole names tell which is meant.
    n_of_stem = Counter(map(_stem, exact))
    stems = {_stem(name): index for name, index in exact.items() if n_of_stem[_stem(name)] == 1}
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
    fewest, most = latents.info.n_images
    if not fewest <= len(images) <= most:
        left_out = f" ({len(images.bad)} left out, such as {images.bad[0].name})" if images.bad else ""
        raise ValueError(
            f"{latents.source} was made from {most} images, {images.source} gives {len(images)}{left_out};"
            " pairs follow the order of the images: give all of them, and no others"
        )
    key = _by_class if latents.layout == "lightningdit" else str
    order = sorted(range(len(images)), key=lambda index: key(images.names[index]))
    # A last, incomplete round of processes is filled up with the first images.
    indices = tuple(order[position % len(images)] for position in positions)
    n_compared = _compare_labels(latents, images, indices)
    check = f"labels agree on {n_compared} of them" if n_compared else "there are no labels to check it by"
    return Pairs(indices, f"by the order of the images; {check}")


def _compare_labels(latents: LatentSet, images: Images, indices: Sequence[int]) -> int:
    """Return how many labels were compared; raise ValueError at the first that disagrees."""
    n_compared = 0
    for row in spread(len(latents), N_CHECKED):
        index = indices[row]
        try:
            label, image = latents[row].label, images[index]
        except BadLatentError:
            continue
        if image.bad or label < 0 or image.label < 0:
            continue
        n_compared += 1
        if label != image.label:
            raise ValueError(
                f"labels disagree: {latents.name(row)} of {latents.source} is of class {label}, the image in its place,"
                f" {images.names[index]}, of class {image.label}; these are not the images, or not in their order"
            )
    return n_compared


def _require_all(latents: LatentSet, images: Images, indices: Sequence[str | int | None]) -> tuple[int, ...]:
    """Return the indices; raise ValueError when one of them is not that of an image."""
    good = tuple(index for index in indices if isinstance(index, int) and 0 <= index < len(images))
    if len(good) < len(latents):
        row = next(row for row, index in enumerate(indices) if index not in set(good))
        raise ValueError(
            f"{len(latents) - len(good)} of {len(latents)} latents of {latents.source} have no image in"
            f" {images.source}, such as {latents.name(row)}; give the images that were cached, with split 'all'"
        )
    return good


def _by_class(name: str) -> tuple[str, ...]:
    # torchvision's ImageFolder: classes, then the folders in each, then their files.
    return name.split("/")[0], posixpath.dirname(name), posixpath.basename(name)


def _last_two(name: str) -> str:
    return "/".join(name.split("/")[-2:])


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]
