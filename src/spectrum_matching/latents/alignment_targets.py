"""Alignment targets cached beside latents: those of the same images, by the same keys."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .dataset import LatentSet
from .training import Key, TrainingLatents, open_training_latents

VISION = "vision:"  # before the name of a cache's encoder: what it holds are targets
REMEDY = f"cache them by `specmatch cache {VISION}ENCODER --beside LATENTS`"


def targets_beside(latents: str) -> Path:
    """Where the targets of a cache's images lie, unless a run says otherwise."""
    return Path(latents).expanduser() / "targets"


def require_latents(latents: LatentSet | TrainingLatents) -> None:
    """ValueError where a cache holds alignment targets."""
    if (latents.autoencoder or "").startswith(VISION):
        raise ValueError(f"{latents.source} holds alignment targets, not latents: name the folder of the latents")


class TrainingTargets:
    """What a vision encoder saw in the images of cached latents.

    encoder: its name; width, grid: d and (h, w) of a target. digest: of the cache.
    """

    def __init__(self, targets: TrainingLatents, latents: TrainingLatents) -> None:
        self.encoder, self.digest = targets.autoencoder.removeprefix(VISION), targets.digest
        self.width, self.grid = targets.channels, targets.grid
        places = {key: place for place, key in enumerate(targets.image_keys)}
        self._targets, self._places = targets, [places[key] for key in latents.image_keys]

    def read(self, keys: Sequence[Key]) -> Tensor:
        """(b, d, h, w) float32 of these latents' images, mirrored if a key says so; ValueError for a damaged shard."""
        return self._targets.read([(self._places[item], is_mirrored) for item, is_mirrored in keys]).mean


def open_training_targets(folder: str | Path | None, latents: TrainingLatents, flip: bool) -> TrainingTargets:
    """ValueError for a folder without targets, and for those of other images or without mirrored ones."""
    path = targets_beside(latents.source) if folder is None else Path(folder).expanduser()
    if latents.image_digest is None:
        raise ValueError(
            f"{latents.source} does not say of which images it is, so that no targets belong to it: cache the images "
            f"by `specmatch cache`, or train from source.images"
        )
    if not path.is_dir():
        raise ValueError(f"no alignment targets in {path}: {REMEDY}")
    targets = open_training_latents(path)
    if not targets.autoencoder.startswith(VISION):
        raise ValueError(f"{path} holds latents, not alignment targets: {REMEDY}")
    if targets.image_digest != latents.image_digest or not set(latents.image_keys) <= set(targets.image_keys):
        raise ValueError(f"{path} holds targets of other images than {latents.source}: {REMEDY}")
    if flip and not targets.has_flips:
        cause = "" if latents.has_flips else f" (nor does {latents.source}: cache it with --flips first)"
        raise ValueError(
            f"{path} holds no targets of mirrored images{cause}: {REMEDY} --out ANOTHER and name it by "
            f"alignment.targets, or train without flips"
        )
    return TrainingTargets(targets, latents)
