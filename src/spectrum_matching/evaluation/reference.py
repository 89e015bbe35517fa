"""References to compare images with: statistics of a data set, computed and saved once, or read from other files."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.arrays import IMAGES, ArchivedImages
from ..data.images import ImageBatch
from ..data.order import fixed_batches
from ..files.atomic import open_atomically
from ..files.digests import digest_files, digest_tensors
from ..files.documents import is_sealed, parse_json, seal
from ..files.manifest import MANIFEST
from ..files.npy import explain_npz_errors, read_npz_headers
from ..files.os_errors import explain_read_error
from ..files.outputs import METADATA
from ..files.regular import require_regular
from ..latents.shards import INDEX
from ..metrics.images.catalogue import SET_SCORES
from ..metrics.images.statistics import ImageStatistics, RunningMoments
from ..nets.folders import CONFIG
from ..nets.vision.extractors import Extractor
from ..records.coverage import Coverage
from ..records.measurement import Measurement
from .accumulate import accumulate, reduce_over

FORMAT = "specmatch-reference-3"
ROUNDING = "uint8"
SCORES = tuple(score for score in SET_SCORES if score.uses_reference)
MOMENTS = ("features", "spatial")  # those that scores compare
OTHERS = (MANIFEST, CONFIG, INDEX)  # beside weights and shards, which have checksums of their own
UNKNOWN_COUNT = 2  # moments from a file do not tell the number of images, and no distance needs it


@dataclass(frozen=True)
class Reference:
    """Statistics of the images that others are compared with.

    source: the data, or the file that the numbers come from. digest: of the numbers, or of that file. n_images: 0 if
    unknown. extractor, extractor_digest, resizer: "" if unknown. images: of the set that they are of. None if unknown.
    kept_images: of which there are rows. n_bad: files that could not be used. autoencoder, autoencoder_digest: what
    decoded these images, "" for images as they are; floor: the Fréchet distance of one half of them to the other, None
    there.
    """

    source: str
    digest: str
    n_images: int
    extractor: str
    extractor_digest: str
    resizer: str
    images: Coverage | None
    kept_images: Coverage | None
    n_bad: int
    statistics: ImageStatistics
    autoencoder: str = ""
    autoencoder_digest: str = ""
    floor: Measurement | None = None


FACTS = tuple(field.name for field in fields(Reference) if field.name != "statistics")


def compute_reference(
    source: str,
    batches: Iterable[Tensor | ImageBatch],
    extractor: Extractor | None,
    *,
    accelerator: Accelerator | None = None,
) -> Reference:
    """Compute a reference from batches of images (b, 3, size, size) in [-1, 1]; each process gives its share.

    Without an extractor it serves for scores that need no weights.

    Raises:
        ValueError: for fewer than two images in all.
    """
    return reference_of(source, reduce_over(accumulate(batches, extractor, SCORES), accelerator), extractor)


def reference_of(source: str, statistics: ImageStatistics, extractor: Extractor | None, digest: str = "") -> Reference:
    """Return statistics that `extractor` took part in as a reference; digest: by default of their numbers.

    Raises:
        ValueError: for fewer than two images.
    """
    if statistics.n_images < 2:
        raise ValueError(f"{source}: a reference needs at least 2 images, got {statistics.n_images}")
    digest = digest or digest_tensors(tensors_of(statistics))
    n, images, kept = statistics.n_images, statistics.images, statistics.kept_images
    names, n_bad = extractor_names(extractor), len(statistics.bad)
    return Reference(source, digest, n, *names, images, kept, n_bad, statistics)


def extractor_names(extractor: Extractor | None) -> tuple[str, str, str]:
    """Return name, digest and resizer of an extractor, empty without one."""
    return (extractor.name, extractor.digest, extractor.resizer) if extractor else ("", "", "")


def open_reference(
    path: Path, extractor: Extractor | None, *, batch_size: int = 64, accelerator: Accelerator | None = None
) -> Reference:
    """Open a file of `save_reference`, or an .npz of ADM or pytorch-fid: moments, images as `arr_0`, or both.

    The moments, `mu` and `sigma` (`mu_s` and `sigma_s` for sFID), serve for the Fréchet distances; the images are put
    through `extractor` for everything else.

    Raises:
        ValueError: in one line, for any other file, and if nothing in it can be compared.
    """
    if not path.is_file():
        raise ValueError(f"no reference {path}: make one by `specmatch evaluate reference DATA --out {path}`")
    if path.suffix != ".npz":
        return load_reference(path)
    names = read_npz_headers(path)
    moments = {
        name: RunningMoments.from_moments(UNKNOWN_COUNT, *_read_moments(path, mean, covariance))
        for name, mean, covariance in (("features", "mu", "sigma"), ("spatial", "mu_s", "sigma_s"))
        if mean in names and covariance in names
    }
    if IMAGES not in names and "features" not in moments:
        raise ValueError(f"{path} holds {', '.join(names) or 'nothing'}: expected mu and sigma, or images as {IMAGES}")
    if IMAGES not in names and extractor is None:
        raise ValueError(f"{path} holds moments of features alone: name the extractor that made them")
    statistics = ImageStatistics(moments=moments)
    if IMAGES in names:
        rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
        batches = fixed_batches(ArchivedImages(path), batch_size, rank=rank, world=world)
        statistics = reduce_over(accumulate(batches, extractor, SCORES), accelerator)
    digest = digest_files([path])
    if "features" not in moments:
        return reference_of(str(path), statistics, extractor, digest)
    statistics.moments = moments
    return Reference(str(path), digest, 0, *extractor_names(None), None, statistics.kept_images, 0, statistics)


def save_reference(reference: Reference, path: Path) -> None:
    """Write a reference to one safetensors file, atomically."""
    from safetensors.torch import save

    statistics = reference.statistics
    header = {name: getattr(reference, name) for name in FACTS}
    header |= {
        "format": FORMAT,
        "size": statistics.size,
        "n_kept": statistics.n_kept,
        "rounding": ROUNDING,
        "sha256": "",
    }
    with open_atomically(path) as stream:
        stream.write(save(tensors_of(statistics), {METADATA: seal(json.dumps(header, default=asdict))}))


def is_reference(path: Path) -> bool:
    """Return whether a file is a reference of `save_reference`, damaged or not, by its name and header."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as stored:
            text = (stored.metadata() or {}).get(METADATA, "")
            return any(f'"{name}"' in text for name in FACTS)
    except (OSError, SafetensorError):
        return not any((path.parent / name).exists() for name in OTHERS)


def load_reference(path: Path) -> Reference:
    """Read a file of `save_reference`.

    Raises:
        ValueError: in one line, for any other file, and for numbers that have changed.
    """
    from safetensors import safe_open

    remedy = "make one by `specmatch evaluate reference`"
    try:
        require_regular(path)
        with safe_open(path, "pt") as stored:
            text = (stored.metadata() or {})[METADATA]
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except KeyError as error:
        raise ValueError(f"{path} is not a reference written by specmatch: {remedy}") from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {explain_read_error(error)}") from error
    except Exception as error:  # the parser of the header raises its own
        raise ValueError(f"{path} cannot be read as a reference: {str(error).strip().partition(chr(10))[0]}") from error
    header = parse_json(text, path, remedy)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise ValueError(f"{path} has format {found!r}, this version reads {FORMAT!r}: {remedy}")
    if not is_sealed(text.encode(), header.get("sha256")) or digest_tensors(tensors) != header["digest"]:
        raise ValueError(f"{path} is damaged: its content is not that of its checksums; {remedy}")
    n_images = header["n_images"]
    statistics = ImageStatistics(n_kept=header["n_kept"], n_images=n_images, size=header["size"])
    for name, values in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "rows":
            statistics.keep(rest, values)
        elif rest == "mean":
            statistics.moments[kind] = RunningMoments.from_moments(n_images, values, tensors[f"{kind}.covariance"])
        elif not rest:
            statistics.sums[name] = values
    facts = {name: header[name] for name in FACTS}
    facts |= {name: Coverage(**facts[name]) for name in ("images", "kept_images") if facts[name]}
    facts |= {"floor": Measurement(**facts["floor"])} if facts["floor"] else {}
    return Reference(**facts, statistics=statistics)


def tensors_of(statistics: ImageStatistics) -> dict[str, Tensor]:
    """Return what a file of a reference holds, by name."""
    tensors = dict(statistics.sums)
    for name in MOMENTS:
        if (moments := statistics.moments.get(name)) and moments.count > 1:
            tensors |= {f"{name}.mean": moments.mean, f"{name}.covariance": moments.covariance().contiguous()}
    for name in statistics.row_names():
        if (rows := statistics.rows(name)) is not None:
            tensors[f"rows.{name}"] = rows.contiguous()
    return tensors


def _read_moments(path: Path, mean: str, covariance: str) -> tuple[Tensor, Tensor]:
    """Return a mean (d,) and a covariance (d, d) in float64; ValueError for other arrays."""
    with explain_npz_errors(path), np.load(path, allow_pickle=False) as archive:
        arrays = [torch.from_numpy(np.asarray(archive[name], dtype=np.float64)) for name in (mean, covariance)]
    if arrays[0].ndim != 1 or arrays[1].shape != (len(arrays[0]),) * 2 or not all(a.isfinite().all() for a in arrays):
        shapes = " and ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(f"{path}: {mean} and {covariance} are {shapes}, expected finite moments (d,) and (d, d)")
    return arrays[0], arrays[1]
