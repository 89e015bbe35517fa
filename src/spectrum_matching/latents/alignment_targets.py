"""Alignment targets cached beside latents, of the same images and read by the same keys."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .latent_set import Key, LatentSet
from .open_latents import open_latents

VISION = "vision:"  # before the name of a cache's encoder: what it holds are targets
REMEDY = f"cache them by `specmatch cache {VISION}ENCODER --beside LATENTS`"


def targets_beside(latents: str) -> Path:
    """Return the folder of the targets of a cache's images, unless a run names another."""
    return Path(latents).expanduser() / "targets"


def require_latents(latents: LatentSet) -> None:
    """Check that a cache holds latents.

    Raises:
        ValueError: when it holds alignment targets.
    """
    if latents.info.autoencoder.startswith(VISION):
        raise ValueError(f"{latents.source} holds alignment targets, not latents: name the folder of the latents")


class TrainingTargets:
    """Tokens of a vision encoder for the images of cached latents.

    encoder: its name. width, grid: d and (h, w) of a target. files: of the cache.
    """

    def __init__(self, targets: LatentSet, latents: LatentSet) -> None:
        self.encoder, self.files = targets.info.autoencoder.removeprefix(VISION), targets.files
        self.width, self.grid = targets.info.channels, targets.info.grid
        rows = {key: row for row, key in enumerate(targets.image_keys)}
        self._targets, self._rows = targets, [rows[key] for key in latents.image_keys]

    def read(self, keys: Sequence[Key]) -> Tensor:
        """Read targets (b, d, h, w) float32 of these latents' images, mirrored if a key says so.

        Raises:
            ValueError: when a shard is damaged.
        """
        return self._targets.read_batch([(self._rows[row], is_mirrored) for row, is_mirrored in keys]).mean


def open_training_targets(folder: str | Path | None, latents: LatentSet, flip: bool) -> TrainingTargets:
    """Open the targets in a folder, by default that beside the latents.

    Raises:
        ValueError: when there are no targets, they are of other images, or lack mirrored images that `flip` needs.
    """
    path = targets_beside(latents.source) if folder is None else Path(folder).expanduser()
    if latents.info.fingerprint is None:
        raise ValueError(
            f"{latents.source} does not say of which images it is, so that no targets belong to it: cache the images "
            f"by `specmatch cache`, or train from source.images"
        )
    if not path.is_dir():
        raise ValueError(f"no alignment targets in {path}: {REMEDY}")
    targets = open_latents(path)
    if not targets.info.autoencoder.startswith(VISION):
        raise ValueError(f"{path} holds latents, not alignment targets: {REMEDY}")
    of_targets, of_latents = targets.info.fingerprint, latents.info.fingerprint
    is_same = of_targets is not None and of_targets.digest == of_latents.digest
    if not is_same or not set(latents.image_keys) <= set(targets.image_keys):
        raise ValueError(f"{path} holds targets of other images than {latents.source}: {REMEDY}")
    if flip and not targets.info.flips:
        cause = "" if latents.info.flips else f" (nor does {latents.source}: cache it with --flips first)"
        raise ValueError(
            f"{path} holds no targets of mirrored images{cause}: {REMEDY} --out ANOTHER and name it by "
            f"alignment.targets, or train without flips"
        )
    return TrainingTargets(targets, latents)
