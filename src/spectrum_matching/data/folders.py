"""A folder of image files: which of its files are images, and of which class."""

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from .decode import SUFFIXES, BadImageError, Frame, decode_image, image_frame, image_size
from .fingerprint import Content, file_content
from .labels import number_labels
from .parts import is_train, train_parts
from .summary import counted, listed
from .walk import BadFile, Listing

N_LOOKED_INTO = 64
SUFFIX = re.compile(r"\.(?=.*[a-z])[a-z0-9]{1,8}")


class ImageFiles:
    """Image files below a folder, by their names relative to it."""

    groups: Sequence[int] | None = None

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self.root = root, str(root)
        self.names: Sequence[str] = names

    def frame(self, item: int) -> Frame:
        """Return size and orientation from the header."""
        return image_frame(self._root / self.names[item])

    def read(self, item: int) -> Image.Image:
        """Return the image as 8-bit RGB."""
        return decode_image(self._root / self.names[item])

    def content(self, item: int) -> Content:
        """Return what a fingerprint takes of the file."""
        return file_content(self._root / self.names[item])


class FolderSource(ImageFiles):
    """Image files below a folder; for its members see `sources.Source`.

    Where training parts lie beside others, they alone are taken; names are relative to a single one. The classes are
    the folders at the top that hold images. Images outside of them are left out; but where no fewer lie outside than
    inside, all are taken and there are no classes.

    names: of those files of the listing that are images.

    Raises:
        ValueError: when labels are asked for and the folders are too many to be classes.
    """

    def __init__(self, listing: Listing, names: Sequence[str], *, labels: bool | None) -> None:
        n_bytes = dict(zip(listing.names, listing.n_bytes, strict=True))
        folders = dict.fromkeys(map(posixpath.dirname, listing.names), False)
        folders |= dict.fromkeys(map(posixpath.dirname, names), True)
        parts = train_parts(folders)
        part_of = {name: parts.get(posixpath.dirname(name), "") for name in names}
        trains = sorted(filter(is_train, set(part_of.values())))
        chosen = set(trains or [""])
        taken = [name for name, part in part_of.items() if part in chosen]
        others = [name for name, part in part_of.items() if part and part not in chosen]
        astray = [name for name, part in part_of.items() if trains and not part]

        empty = [name for name in taken if n_bytes[name] == 0]
        top = f"{trains[0]}/" if len(trains) == 1 else ""
        paths = {
            name: name.removeprefix(top) if top else _without(part_of[name], name) for name in taken if n_bytes[name]
        }
        outside = [name for name, path in paths.items() if "/" not in path]
        has_classes = 2 * len(outside) < len(paths)
        images = [name for name, path in paths.items() if not has_classes or "/" in path]

        super().__init__(listing.root / top, [name.removeprefix(top) for name in images])
        self.part = listed(trains)
        self.classes: tuple[str, ...] = ()
        self.labels: Sequence[int] = [-1] * len(images)
        if labels is not False and has_classes:
            tops = [paths[name].partition("/")[0] for name in images]
            try:
                self.classes, self.labels = number_labels(tops, f"{self._root}: names of folders")
            except ValueError:
                if labels:
                    raise
        unread = [BadFile(file.name.removeprefix(top), file.reason) for file in listing.unread]
        self.bad = (*unread, *(BadFile(name.removeprefix(top), "empty file") for name in empty))
        self.left_out = (
            *counted(others, "image of another part", "images of other parts"),
            *counted(astray, "image outside of the parts", "images outside of the parts"),
            *counted(
                outside if has_classes else [], "image outside of class folders", "images outside of class folders"
            ),
            *counted(listing.again, "second name", "second names"),
        )


def find_images(root: Path, names: Sequence[str]) -> list[str]:
    """Return which files are images: by a known suffix, and for other suffixes, or none, by how they begin.

    Of more than 64 files of one other suffix, 64 spread evenly are looked into, and the majority decides for all.
    """
    suffixes = [_suffix(name) for name in names]
    groups: dict[str, list[str]] = {}
    for name, suffix in zip(names, suffixes, strict=True):
        if suffix not in SUFFIXES:
            groups.setdefault(suffix, []).append(name)
    found: set[str] = set()
    for group in groups.values():
        n = min(len(group), N_LOOKED_INTO)
        images = [name for k in range(n) if _is_image(root / (name := group[k * len(group) // n]))]
        if n == len(group):
            found.update(images)
        elif 2 * len(images) > n:
            found.update(group)
    return [name for name, suffix in zip(names, suffixes, strict=True) if suffix in SUFFIXES or name in found]


def _suffix(name: str) -> str:
    # Numbers and hashes after a dot tell no format, and there may be as many as there are files.
    suffix = posixpath.splitext(name)[1].lower()
    return suffix if SUFFIX.fullmatch(suffix) else ""


def _is_image(path: Path) -> bool:
    try:
        return bool(image_size(path))
    except BadImageError:
        return False


def _without(part: str, name: str) -> str:
    """Return a name without the folder that says which part it belongs to."""
    above, _, _ = part.rpartition("/")
    return posixpath.join(above, name.removeprefix(f"{part}/")) if part else name
