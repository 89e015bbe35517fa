"""Our own cache of latents: safetensors shards and an index.json that says what they are, of what, made by what.

Files are written atomically: a file that exists is complete. Until index.json exists, a hidden file
says what the cache will be, and one beside each finished shard what that shard is.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data.images import BadFile, ImageChoice, Split
from ..files.atomic import explain_write_errors, open_atomically
from ..files.digests import digest_files
from ..latent_space import LatentSpace
from ..metrics.latents.moments import ChannelMoments
from .foreign.layouts import Holds, OpenedLayout
from .sources import STATISTICS, ShardLatents, Statistic, open_shard
from .statistics import latent_space

FORMAT = "specmatch-latents-2"
INDEX = "index.json"
UNFINISHED = ".unfinished.json"
MOMENTS = ("mean", "logvar", "mean_flip", "logvar_flip")
NUMBERS = ("index", "label")
METADATA = "specmatch"
REMEDY = "delete it, then the same `specmatch cache` writes it again"
RAW = LatentSpace()
# What decides the latents, or which of them a shard holds; the rest only says by what names they came.
SETTINGS = (
    *("source_digest", "image_size", "autoencoder_digest", "holds", "dtype", "flips", "shard_images"),
    *("channels", "grid"),  # which a vision encoder's digest does not decide
)


class ShardEntry(NamedTuple):
    """A shard: its file, its images, its bytes and their SHA-256."""

    name: str
    n: int
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class CacheIndex:
    """What index.json says. Digests and versions are as their makers gave them; dtype is that of the moments.

    source, split, held_out, seed, image_size: what opens the n_source images; shard k is of the images from
    k · shard_images on. classes: names of the labels, if any. holds: what `mean` is. bad: images left out.
    latent_space: per-channel mean and std of samples of the cached posteriors, none of mirrored images; mean, std: the
    same over all channels.
    """

    source: str
    source_digest: str
    n_source: int
    split: Split
    held_out: float
    seed: int
    image_size: int
    classes: tuple[str, ...]
    autoencoder: str
    autoencoder_digest: str
    versions: Mapping[str, str]
    holds: Holds
    dtype: str
    flips: bool
    channels: int
    grid: tuple[int, int]
    factor: int
    shard_images: int
    shards: tuple[ShardEntry, ...] = ()
    bad: tuple[BadFile, ...] = ()
    latent_space: LatentSpace = RAW
    mean: float = 0.0
    std: float = 1.0


def shard_name(number: int) -> str:
    """latents-00000.safetensors for 0."""
    return f"latents-{number:05d}.safetensors"


def write_shard(folder: Path, number: int, tensors: Mapping[str, Tensor], bad: Sequence[BadFile] = ()) -> ShardEntry:
    """Write latents-NUMBER.safetensors and return its entry.

    tensors: `mean` (n, c, h, w) and `index` (n,) int64, the images' positions in the source; optionally `label` (n,)
    int64, and `logvar`, `mean_flip`, `logvar_flip` shaped as the mean. bad: images that should be among them. Raises
    ValueError for anything else, for values that are not finite, and where the file cannot be written.
    """
    from safetensors.torch import save

    _check_tensors(tensors)
    moments = ChannelMoments()
    moments.add(tensors["mean"], tensors.get("logvar"))
    payload = save(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()},
        # One key: the library writes several in any order, and the same latents have to give the same bytes.
        {METADATA: json.dumps({"moments": moments.state(), "bad": bad})},
    )
    entry = ShardEntry(shard_name(number), len(tensors["mean"]), len(payload), hashlib.sha256(payload).hexdigest())
    _write(folder / entry.name, payload)
    return entry


def note_shard(folder: Path, entry: ShardEntry) -> None:
    """Say, until index.json does, that a shard is finished."""
    _write(_entry_path(folder, entry.name), json.dumps(entry._asdict()).encode())


def start_cache(folder: Path, index: CacheIndex) -> None:
    """Write the hidden file that describes the unfinished cache."""
    _write(folder / UNFINISHED, json.dumps({"format": FORMAT, **asdict(index)}, indent=2).encode())


def started_cache(folder: Path) -> CacheIndex | None:
    """What a cache is or will be, finished or not; None where there is none. ValueError for a damaged one."""
    return next((_read(path) for path in (folder / INDEX, folder / UNFINISHED) if path.exists()), None)


def differences(old: CacheIndex, new: CacheIndex) -> tuple[str, ...]:
    """What would have to be equal for one to go on where the other stopped: "dtype is float16, not float32"."""
    pairs = {name: (getattr(old, name), getattr(new, name)) for name in SETTINGS}
    return tuple(f"{name} is {there}, not {asked}" for name, (there, asked) in pairs.items() if there != asked)


def finished_shards(folder: Path, index: CacheIndex) -> dict[int, ShardEntry]:
    """The whole shards by number: their files are as long as the index, or the hidden file beside each, has it."""
    entries = {entry.name: entry for entry in index.shards}
    for path in folder.glob(".latents-*.json"):
        try:
            entry = ShardEntry(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            continue
        entries[entry.name] = entry
    whole = [entry for entry in entries.values() if _length(folder / entry.name) == entry.n_bytes]
    return {int(re.sub(r"\D", "", entry.name)): entry for entry in whole}


def finish_cache(folder: Path, index: CacheIndex, shards: Iterable[ShardEntry]) -> CacheIndex:
    """Write index.json with statistics merged from those of the shards, and drop the hidden files.

    Raises ValueError where no image could be used.
    """
    shards = tuple(sorted(shards))
    if not any(shard.n for shard in shards):
        raise ValueError(f"{folder}: none of {index.n_source} images could be cached")
    notes = [_metadata(folder / shard.name) for shard in shards]
    moments = ChannelMoments()
    for note in notes:
        moments.merge(ChannelMoments.from_state(note["moments"]))
    space, (mean, std, *_) = latent_space(moments), moments.moments()
    bad = (*index.bad, *(BadFile(*file) for note in notes for file in note["bad"]))
    index = replace(index, shards=shards, bad=tuple(dict.fromkeys(bad)), latent_space=space, mean=mean, std=std)
    write_index(folder, index)
    for path in (folder / UNFINISHED, *(_entry_path(folder, shard.name) for shard in shards)):
        path.unlink(missing_ok=True)
    return index


def write_index(folder: Path, index: CacheIndex) -> None:
    """Write index.json, after which the folder is a cache. Raises ValueError where it cannot be written."""
    content = {"format": FORMAT, **asdict(index), "shards": [shard._asdict() for shard in index.shards]}
    _write(folder / INDEX, json.dumps(content, indent=2).encode())


def read_index(folder: Path) -> CacheIndex:
    """Raises ValueError in one line where index.json is missing, damaged or of another format."""
    if (folder / UNFINISHED).exists() and not (folder / INDEX).exists():
        raise ValueError(f"{folder} is a cache that was not finished; the same `specmatch cache` goes on with it")
    index = _read(folder / INDEX)
    if not index.shards or not all(re.fullmatch(r"latents-\d{5,}\.safetensors", shard.name) for shard in index.shards):
        raise ValueError(f"{folder / INDEX} names no shards {shard_name(0)}, …; cache the images again")
    return index


def is_cache(folder: Path) -> bool:
    """Whether the folder has an index.json of ours, or will have one."""
    if (folder / UNFINISHED).exists():
        return True
    try:
        return str(json.loads((folder / INDEX).read_bytes())["format"]).startswith("specmatch-latents")
    except (OSError, ValueError, TypeError, KeyError):
        return False


def verify_cache(folder: Path) -> None:
    """Read every shard. Raises ValueError, naming the shard and the remedy, where its SHA-256 is not the index's."""
    for shard in read_index(folder).shards:
        _check_shard(folder / shard.name, shard)
        if _sha256(folder / shard.name) != shard.sha256:
            raise ValueError(f"shard {folder / shard.name} is damaged: its checksum is not the index's; {REMEDY}")


def open_cache(folder: Path) -> OpenedLayout:
    """The shards that index.json names, checked by their lengths and headers.

    Raises ValueError naming the shard and the remedy.
    """
    index = read_index(folder)
    paths = [folder / shard.name for shard in index.shards]
    for path, shard in zip(paths, index.shards, strict=True):
        _check_shard(path, shard)
    image_keys = torch.cat([_stored_index(path, shard, index) for path, shard in zip(paths, index.shards, strict=True)])
    if len(image_keys.unique()) < len(image_keys):
        raise ValueError(f"{folder}: an image is in its shards more than once; cache the images again")
    names = set(open_shard(paths[0]).keys())
    tensors: dict[Statistic, str] = {name: name for name in STATISTICS if name in names}
    shapes = [(shard.n, index.channels, *index.grid) for shard in index.shards]
    statistic = {
        "posterior": "mean and log-variance of each posterior",
        "mean": "mean of each posterior",
        "sample": "one sample of each posterior, drawn when it was first cached,",
    }[index.holds]
    encoder = index.autoencoder or "an autoencoder that is not known"
    flips = "; mirrored images are left out" if "mean_flip" in names else ""
    return OpenedLayout(
        "specmatch",
        ShardLatents(paths, tensors, image_keys.tolist(), shapes),
        (f"Our own cache: {statistic} of {encoder}, {index.dtype}, before any scaling{flips}.",),
        (index.n_source, index.n_source),
        index.latent_space,
        ImageChoice(index.source, index.image_size, index.split, index.held_out, index.seed),
        index.source_digest,
        digest_files([folder / INDEX]),
        index.holds,
        index.classes,
        index.autoencoder,
    )


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    if not {"mean", "index"} <= set(tensors) <= {*MOMENTS, *NUMBERS}:
        raise ValueError(f"a shard holds mean and index, and of {MOMENTS + NUMBERS} what there is; not {set(tensors)}")
    shape = tensors["mean"].shape
    for name, tensor in tensors.items():
        if name in NUMBERS:
            if tensor.dtype != torch.int64 or tensor.shape != shape[:1]:
                raise ValueError(f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected int64 {shape[:1]}")
        elif len(shape) != 4 or tensor.shape != shape or not tensor.is_floating_point():
            raise ValueError(
                f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected floats (n, c, h, w), all of a shape"
            )
        elif not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")


def _check_shard(path: Path, shard: ShardEntry) -> None:
    if not path.exists():
        raise ValueError(f"shard {path} is missing; the same `specmatch cache` writes it again")
    if path.stat().st_size != shard.n_bytes:
        raise ValueError(f"shard {path} is damaged: {path.stat().st_size} bytes, not {shard.n_bytes}; {REMEDY}")


def _stored_index(path: Path, shard: ShardEntry, index: CacheIndex) -> Tensor:
    tensors = open_shard(path)
    shape, expected = tuple(tensors.get_slice("mean").get_shape()), (shard.n, index.channels, *index.grid)
    if shape != expected:
        raise ValueError(f"shard {path} holds latents {shape}, not {expected}; {REMEDY}")
    return tensors.get_tensor("index")


def _metadata(path: Path) -> dict[str, Any]:
    return json.loads(open_shard(path).metadata()[METADATA])


def _read(path: Path) -> CacheIndex:
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise ValueError("its format is another")
        space = content.pop("latent_space")
        space = LatentSpace(space["convention"], tuple(space["mean"]), tuple(space["std"]), space["patch"])
        shards = tuple(ShardEntry(**shard) for shard in content.pop("shards"))
        bad = tuple(BadFile(*file) for file in content.pop("bad"))
        (h, w), classes = content.pop("grid"), tuple(content.pop("classes"))
        return CacheIndex(**content, grid=(h, w), classes=classes, shards=shards, bad=bad, latent_space=space)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no index of format {FORMAT} ({error}); cache the images again") from error


def _entry_path(folder: Path, name: str) -> Path:
    return folder / f".{name.removesuffix('.safetensors')}.json"


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _write(path: Path, payload: bytes) -> None:
    with explain_write_errors(str(path)), open_atomically(path) as stream:
        stream.write(payload)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
