"""What a training run was started on, in its directory: a resume on anything else is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.fingerprint import Contents, Fingerprint, changes, warn_if_rewritten
from ..files.documents import Document
from ..files.settings import as_line, differences
from ..latent_space import LatentSpace
from ..latents.gain_choice import GainChoice

FILE = "data.json"


@dataclass(frozen=True)
class DataFingerprint:
    """Content of data.json.

    data: fingerprints by what they are of, such as "training images". networks: digests of what makes data
    of others, such as a vision encoder's. shape (c, h, w), latent_space, gain (the choice, a cache's too): of what a
    diffusion model learns. labels: digest of those that it learns, with the names of their classes, "" without any.
    """

    data: Mapping[str, Fingerprint]
    networks: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, int, int] | None = None
    latent_space: LatentSpace | None = None
    labels: str = ""
    gain: GainChoice = field(default_factory=GainChoice)


DOCUMENT = Document(
    DataFingerprint, "specmatch-data-3", "data", "choose another out, or remove the folder it is in", sealed=True
)


def read_fingerprint(directory: Path) -> DataFingerprint | None:
    """Return what the run in a directory was started on; None where none was.

    Raises:
        ValueError: when it cannot be read.
    """
    path = directory / FILE
    return DOCUMENT.read(path) if path.exists() else None


def write_fingerprint(directory: Path, started_on: DataFingerprint) -> None:
    """Write what the run in a directory is started on."""
    directory.mkdir(parents=True, exist_ok=True)
    DOCUMENT.write(directory / FILE, started_on)


def require_same_data(directory: Path, now: DataFingerprint, data: Mapping[str, Contents]) -> None:
    """Check that the run in a directory was not started on other data than these.

    data: what the fingerprints of `now` were taken of. Where files were only written again, with the same bytes as far
    as these are sampled, a warning says so.

    Raises:
        ValueError: naming what differs: how many there were, the first that is another; labels, of the same images.
    """
    before = read_fingerprint(directory)
    if before is None:
        return
    lines = []
    for name, contents in data.items():
        known, taken = before.data.get(name), now.data[name]
        if changed := changes(known, taken, contents.names):
            lines.append(f"{name}: {changed}")
        warn_if_rewritten(f"the {name} of {directory}", known, taken)
    for name in {**before.networks, **now.networks}:
        if before.networks.get(name) != now.networks.get(name):
            lines.append(f"another {name}")
    if not lines and before.labels != now.labels:
        lines.append("the labels, or the names of their classes, are others")
    was, is_now = (replace(each, data={}, networks={}, labels="") for each in (before, now))
    if was.gain != is_now.gain:  # the scale then differs as well, in numbers that say less
        was, is_now = (replace(each, latent_space=None) for each in (was, is_now))
    if changed_settings := differences(was, is_now):
        lines.append(as_line(changed_settings))
    if lines:
        raise ValueError(
            f"{directory} was started on other data: {'; '.join(lines)}; restore the data, or choose another out"
        )
