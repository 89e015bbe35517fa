"""Format of our own latent cache: safetensors shards, and an index.json that describes them.

Files are written atomically: a file that exists is complete. Until index.json exists, a hidden file holds the index of
the cache to be, and one beside each finished shard holds that shard's entry.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..data.fingerprint import Content, KnownContents, changes
from ..data.walk import BadFile
from ..files.atomic import explain_write_errors, open_atomically
from ..files.documents import Document
from ..files.manifest import Compared, are_unchanged, compare_files
from ..files.outputs import METADATA
from ..metrics.latents.moments import ChannelMoments
from .latent_set import LatentInfo
from .read_shards import STATISTICS, ShardLatents, Statistic, open_shard
from .rounding import RoundingErrors
from .statistics import latent_space

FORMAT = "specmatch-latents-4"
INDEX = "index.json"
UNFINISHED = ".unfinished.json"
REMEDY = "the same `specmatch cache` writes it again"

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class ShardEntry:
    """A shard: its file, how many images it holds, its length in bytes and their SHA-256."""

    name: str
    n: int
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class CacheIndex:
    """Content of index.json.

    encoder_digest: the encoder's; of an imported folder, that folder's. dtype: of the moments. versions: of
    the libraries that wrote them. Shard k holds images from k · shard_images on. labels: digest of the labels in the
    shards, with the names of their classes, "" without any.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - no field

    info: LatentInfo
    encoder_digest: str
    dtype: str
    shard_images: int
    versions: Mapping[str, str]
    shards: tuple[ShardEntry, ...] = ()
    labels: str = ""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors in each shard."""
        moments = ("mean", "logvar") if self.info.holds == "posterior" else ("mean",)
        sides = ("", "_flip") if self.info.flips else ("",)
        numbers = ("index", "label") if self.labels else ("index",)
        return (*(f"{name}{side}" for name in moments for side in sides), *numbers)

    def differences(self, other: "CacheIndex", names: Sequence[str] = ()) -> tuple[str, ...]:
        """Return what keeps the other from resuming this cache: "dtype is float16, not float32".

        names: of the other's images.
        """
        pairs = zip(self._settings().items(), other._settings().values(), strict=True)
        settings = (f"{name} is {value}, not {wanted}" for (name, value), wanted in pairs if value != wanted)
        changed = changes(self.info.fingerprint, other.info.fingerprint, names)
        origin = [f"of other images ({changed})"] if changed else []
        if not changed and self.labels and other.labels and self.labels != other.labels:
            origin = ["of the same images with other labels"]
        return (*origin, *settings)

    def _settings(self) -> dict[str, object]:
        """Return what decides the latents, or which of them a shard holds; the rest only names their origin."""
        info = {name: getattr(self.info, name) for name in ("image_size", "holds", "flips", "tile", "gain")}
        # A vision encoder's digest does not decide channels and grid.
        info |= {"channels": self.info.channels, "grid": self.info.grid}
        info |= {name: getattr(self, name) for name in ("encoder_digest", "dtype", "shard_images")}
        return info | {"labels": bool(self.labels)}


DOCUMENT = Document(CacheIndex, FORMAT, "cache", "delete its folder and cache the images again", sealed=True)
ENTRY = Document(ShardEntry, "specmatch-shard-1", "shard", REMEDY, sealed=True)


def write_shard(
    folder: Path,
    number: int,
    tensors: Mapping[str, Tensor],
    bad: Sequence[BadFile] = (),
    rounding: RoundingErrors | None = None,
) -> ShardEntry:
    """Write latents-NUMBER.safetensors, and its entry into a hidden file until the index holds it.

    tensors: `mean` (n, c, h, w) and `index` (n,) int64, the images' indices in the source; optionally `label` (n,)
    int64, and `logvar`, `mean_flip`, `logvar_flip` shaped as the mean. bad: images that could not be used. rounding: of
    mean and log-variance.

    Raises:
        ValueError: for other tensors, for values that are not finite, and when the file cannot be written.
    """
    from safetensors.torch import save

    _check_tensors(tensors)
    moments = ChannelMoments()
    moments.add(tensors["mean"], tensors.get("logvar"))
    metadata = {"moments": moments.state(), "rounding": (rounding or RoundingErrors()).state(), "bad": bad}
    payload = save(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()},
        # One key: the library writes several in any order, and the same latents have to give the same bytes.
        {METADATA: json.dumps(metadata)},
    )
    name, digest = f"latents-{number:05d}.safetensors", hashlib.sha256(payload).hexdigest()
    entry = ShardEntry(name, len(tensors["mean"]), len(payload), digest)
    _write(folder / name, payload)
    _write(_entry_path(folder, name), ENTRY.to_json(entry).encode())
    return entry


def start_cache(folder: Path, index: CacheIndex) -> None:
    """Write the hidden index of a cache whose shards are yet to be written."""
    _write(folder / UNFINISHED, DOCUMENT.to_json(index).encode())


def started_cache(folder: Path) -> CacheIndex | None:
    """Return the index of a finished or unfinished cache, None where there is none, or none of its shards yet."""
    if (folder / INDEX).exists():
        return DOCUMENT.read(folder / INDEX)
    if (folder / UNFINISHED).exists() and any(folder.glob(".latents-*.json")):
        return DOCUMENT.read(folder / UNFINISHED)
    return None


def finished_shards(folder: Path, index: CacheIndex, n_items: int) -> dict[int, ShardEntry]:
    """Return whole shards by number: with the SHA-256 of the index or their hidden entry, all tensors and all items.

    n_items: of the cache. An item of a shard is a latent in it, or a bad file that it names.
    """
    entries = {entry.name: entry for entry in index.shards}
    for path in folder.glob(".latents-*.json"):
        try:
            entry = ENTRY.read(path)
        except ValueError as error:
            log.warning("%s: its shard is written again", error)
            continue
        entries[entry.name] = entry
    complete = {int(re.sub(r"\D", "", name)): entry for name, entry in entries.items()}
    n_held = {number: min(index.shard_images, n_items - number * index.shard_images) for number in complete}
    unchanged = are_unchanged({folder / entry.name: entry.sha256 for entry in complete.values()})
    whole = {}
    for (number, entry), is_unchanged in zip(complete.items(), unchanged, strict=True):
        if is_unchanged and _holds(folder, entry, n_held[number], index.tensors):
            whole[number] = entry
        elif (folder / entry.name).exists():
            log.warning("shard %s is damaged: it is written again", folder / entry.name)
    return whole


def _holds(folder: Path, entry: ShardEntry, n_items: int, tensors: Sequence[str]) -> bool:
    """Return whether a shard that is what was written holds as many items, and these tensors."""
    try:
        shard = open_shard(folder / entry.name)
        if set(shard.keys()) != set(tensors):
            return False
        n_bad = len(json.loads(shard.metadata()[METADATA])["bad"])
        return entry.n + n_bad == n_items and len(set(shard.get_tensor("index").tolist())) == entry.n
    except (ValueError, KeyError, TypeError):  # of another format
        return False


def finish_cache(folder: Path, index: CacheIndex, shards: Iterable[ShardEntry]) -> CacheIndex:
    """Write index.json with statistics merged from those of the shards.

    Raises:
        ValueError: when no image could be used, or rounding to the dtype is not small.
    """
    shards = tuple(sorted(shards))
    if not any(shard.n for shard in shards):
        raise ValueError(f"{folder}: none of {index.info.n_images[1]} images could be cached")
    moments, rounding, bad = ChannelMoments(), RoundingErrors(), list(index.info.bad)
    for shard in shards:
        metadata = json.loads(open_shard(folder / shard.name).metadata()[METADATA])
        moments.merge(ChannelMoments.from_state(metadata["moments"]))
        rounding.merge(RoundingErrors.from_state(metadata["rounding"]))
        bad += [BadFile(*file) for file in metadata["bad"]]
    rounding.require_small(index.dtype)
    spaces = latent_space(moments), latent_space(moments, "global")
    info = replace(index.info, bad=tuple(dict.fromkeys(bad)), latent_space=spaces[0], global_space=spaces[1])
    index = replace(index, info=info, shards=shards)
    write_index(folder, index)
    return index


def write_index(folder: Path, index: CacheIndex) -> None:
    """Write index.json, after which the folder is a cache, and delete the hidden files.

    Raises:
        ValueError: when it cannot be written.
    """
    _write(folder / INDEX, DOCUMENT.to_json(index).encode())
    remove_hidden(folder)


def remove_hidden(folder: Path) -> None:
    """Delete what only a cache without its index needs."""
    for path in (folder / UNFINISHED, *folder.glob(".latents-*.json")):
        path.unlink(missing_ok=True)


def read_index(folder: Path) -> CacheIndex:
    """Read index.json.

    Raises:
        ValueError: when it is missing, damaged or of another format.
    """
    if (folder / UNFINISHED).exists() and not (folder / INDEX).exists():
        raise ValueError(f"{folder} is an unfinished cache; rerun the same `specmatch cache` to resume")
    index = DOCUMENT.read(folder / INDEX)
    if not index.shards or not all(re.fullmatch(r"latents-\d{5,}\.safetensors", shard.name) for shard in index.shards):
        raise ValueError(f"{folder / INDEX} names no shards latents-00000.safetensors, …; cache the images again")
    return index


def is_cache(folder: Path) -> bool:
    """Return whether the folder has an index.json, or will have one."""
    return (folder / INDEX).is_file() or (folder / UNFINISHED).exists()


def verify_cache(folder: Path) -> Compared:
    """Compare every shard with its SHA-256 in the index.

    Raises:
        ValueError: when a shard's SHA-256 is not that of the index.
    """
    return _compare(folder, read_index(folder).shards)


def _compare(folder: Path, shards: Sequence[ShardEntry]) -> Compared:
    for shard in shards:
        _require_shard(folder, shard)  # a wrong length needs no reading
    expected = {folder / shard.name: shard.sha256 for shard in shards}
    return compare_files(expected, REMEDY, f"its SHA-256 is not that of {INDEX}")


def open_cache(folder: Path) -> ShardLatents:
    """Open the shards that index.json names, having compared them with their SHA-256 there.

    Raises:
        ValueError: when the index or a shard is damaged.
    """
    index = read_index(folder)
    info, image_keys, names = index.info, [], set[str]()
    _compare(folder, index.shards)
    for shard in index.shards:
        tensors = open_shard(folder / shard.name)
        if (held := set(tensors.keys())) != (names := names or held):
            found, first = (", ".join(sorted(each)) for each in (held, names))
            raise ValueError(
                f"shard {folder / shard.name} holds {found}, the first one {first}: delete {folder} and cache again"
            )
        shape, expected = tuple(tensors.get_slice("mean").get_shape()), (shard.n, info.channels, *info.grid)
        if shape != expected:
            raise ValueError(f"shard {folder / shard.name} holds latents {shape}, not {expected}; {REMEDY}")
        image_keys += tensors.get_tensor("index").tolist()
    if len(set(image_keys)) < len(image_keys):
        raise ValueError(f"{folder}: an image is in its shards more than once; cache the images again")
    stored: dict[Statistic, str] = {name: name for name in STATISTICS if name in names}
    moments = {"posterior": "mean and log-variance", "mean": "mean", "sample": "one sample"}[info.holds]
    encoder = info.autoencoder or "an unknown autoencoder"
    flips = "; mirrored images are left out" if "mean_flip" in names else ""
    return ShardLatents(
        folder,
        "specmatch",
        info,
        [folder / shard.name for shard in index.shards],
        [(shard.n, info.channels, *info.grid) for shard in index.shards],
        stored,
        image_keys,
        notes=(f"Our own cache: {moments} of each posterior of {encoder}, {index.dtype}, before any scaling{flips}.",),
        files=KnownContents(
            {shard.name: Content(shard.n_bytes, bytes.fromhex(shard.sha256)) for shard in index.shards}
        ),
    )


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    if not {"mean", "index"} <= tensors.keys() <= {"index", *STATISTICS}:
        raise ValueError(f"a shard holds mean and index, perhaps {', '.join(STATISTICS[1:])}; not {', '.join(tensors)}")
    shape = tensors["mean"].shape
    for name, values in tensors.items():
        found = f"{name} is {values.dtype} {tuple(values.shape)}"
        if name in ("index", "label"):
            if values.dtype != torch.int64 or values.shape != shape[:1]:
                raise ValueError(f"{found}, expected int64 ({shape[0]},), one for each latent")
        elif len(shape) != 4 or values.shape != shape or not values.is_floating_point():
            raise ValueError(f"{found}, expected floats (n, c, h, w), of one shape in all statistics")
        elif not values.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")


def _require_shard(folder: Path, shard: ShardEntry) -> None:
    path = folder / shard.name
    if not path.exists():
        raise ValueError(f"shard {path} is missing; {REMEDY}")
    if path.stat().st_size != shard.n_bytes:
        raise ValueError(f"shard {path} is damaged: {path.stat().st_size} bytes, not {shard.n_bytes}; {REMEDY}")


def _entry_path(folder: Path, name: str) -> Path:
    return folder / f".{name.removesuffix('.safetensors')}.json"


def _write(path: Path, payload: bytes) -> None:
    with explain_write_errors(str(path)), open_atomically(path) as stream:
        stream.write(payload)
