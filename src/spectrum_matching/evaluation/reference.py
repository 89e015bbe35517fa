"""What images are compared with: statistics of a user's own data, computed once and saved in one safetensors file."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data.images import ImageBatch
from ..files.atomic import open_atomically
from ..files.digests import digest_tensors
from ..metrics.images.catalogue import SET_SCORES
from ..metrics.images.moments import RunningMoments
from ..metrics.images.statistics import ImageStatistics
from ..nets.vision.extractors import Extractor
from .accumulate import accumulate, reduce_over

if TYPE_CHECKING:
    from accelerate import Accelerator

FORMAT = "specmatch-reference-1"
METADATA = "specmatch"
ROUNDING = "uint8"
SCORES = tuple(score for score in SET_SCORES if score.uses_reference)


@dataclass(frozen=True)
class Reference:
    """digest: 16 hexadecimal digits of SHA-256 over the numbers. extractor, its digest, resizer: "" where unknown.

    n_images: 0 where the file does not say. source: the data, or the file that the numbers came from.
    """

    source: str
    digest: str
    n_images: int
    extractor: str
    extractor_digest: str
    resizer: str
    statistics: ImageStatistics

    @property
    def n_features(self) -> int:
        """Values of a feature vector; 0 where there are none."""
        return self.statistics.n_features

    def check(self, extractor: Extractor | None) -> None:
        """ValueError where the features of `extractor` cannot be compared with these."""
        if extractor is None or not self.n_features or not self.extractor_digest:
            return
        if extractor.digest != self.extractor_digest or extractor.resizer != self.resizer:
            raise ValueError(
                f"reference {self.source} was made by {self.extractor} {self.extractor_digest}, but the images' "
                f"features are of {extractor.name} {extractor.digest}: make a reference anew, or name that extractor"
            )


def compute_reference(
    source: str,
    batches: Iterable[Tensor | ImageBatch],
    extractor: Extractor | None,
    *,
    accelerator: "Accelerator | None" = None,
) -> Reference:
    """From batches of images (b, 3, size, size) in [-1, 1]: in each process those of its share, numbered.

    Without an extractor it serves for what needs no weights. ValueError for fewer than two images in all.
    """
    statistics = reduce_over(accumulate(batches, extractor, SCORES), accelerator)
    if statistics.n_images < 2:
        raise ValueError(f"{source}: a reference needs at least 2 images, got {statistics.n_images}")
    return reference_of(source, statistics, extractor)


def reference_of(source: str, statistics: ImageStatistics, extractor: Extractor | None) -> Reference:
    """Statistics that `extractor` has made, as a reference."""
    names = (extractor.name, extractor.digest, extractor.resizer) if extractor else ("", "", "")
    return Reference(source, digest_tensors(tensors_of(statistics)), statistics.n_images, *names, statistics)


def save_reference(reference: Reference, path: Path) -> None:
    """Write one file, atomically."""
    from safetensors.torch import save

    statistics = reference.statistics
    said = {
        "format": FORMAT,
        "source": reference.source,
        "digest": reference.digest,
        "n_images": reference.n_images,
        "size": statistics.size,
        "n_kept": statistics.n_kept,
        "extractor": reference.extractor,
        "extractor_digest": reference.extractor_digest,
        "resizer": reference.resizer,
        "rounding": ROUNDING,
    }
    with open_atomically(path) as stream:
        stream.write(save(tensors_of(statistics), {METADATA: json.dumps(said)}))


def load_reference(path: Path) -> Reference:
    """Inverse of `save_reference`. ValueError in one line for any other file, also one whose numbers have changed."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as stored:
            said: dict[str, Any] = json.loads((stored.metadata() or {})[METADATA])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except KeyError as error:
        raise ValueError(
            f"{path} is no reference written by specmatch: make one by `specmatch evaluate reference`"
        ) from error
    except Exception as error:  # the parsers of header and JSON raise their own
        raise ValueError(f"{path} cannot be read as a reference: {str(error).strip().partition(chr(10))[0]}") from error
    if said.get("format") != FORMAT:
        raise ValueError(
            f"{path} is written as {said.get('format')!r}, and this version reads {FORMAT!r}: make it anew"
        )
    if digest_tensors(tensors) != said["digest"]:
        raise ValueError(f"{path} is damaged: its numbers are not those of its digest {said['digest']}; make it anew")
    statistics = ImageStatistics(n_kept=said["n_kept"], n_images=said["n_images"], size=said["size"])
    for name in [name.removesuffix(".mean") for name in tensors if name.endswith(".mean")]:
        moments = tensors.pop(f"{name}.mean"), tensors.pop(f"{name}.covariance")
        statistics.moments[name] = RunningMoments.from_moments(said["n_images"], *moments)
    for name, values in tensors.items():
        if name.startswith("rows."):
            statistics.keep(name.removeprefix("rows."), values)
        else:
            statistics.sums[name] = values
    names = said["extractor"], said["extractor_digest"], said["resizer"]
    return Reference(said["source"], said["digest"], said["n_images"], *names, statistics)


def tensors_of(statistics: ImageStatistics) -> dict[str, Tensor]:
    """What the file holds, by name."""
    tensors = dict(statistics.sums)
    for name, moments in statistics.moments.items():
        if moments.count > 1:
            tensors |= {f"{name}.mean": moments.mean, f"{name}.covariance": moments.covariance().contiguous()}
    for name in statistics.row_names():
        if (rows := statistics.rows(name)) is not None:
            tensors[f"rows.{name}"] = rows.contiguous()
    return tensors
