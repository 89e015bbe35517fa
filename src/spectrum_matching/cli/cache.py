"""The command `cache`: encode images once into a folder that training, analysis and other tools read."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from ..data.images import Split
from ..data.selection import images_to_cache
from ..latents.alignment_targets import VISION, targets_beside
from ..latents.encode import autoencoder_encoder, encode_images, images_of, import_cache, vision_encoder
from ..latents.foreign.export import ForeignLayout, export_latents
from ..latents.gain_choice import GainChoice
from ..latents.latent_set import LatentSet
from ..latents.open_latents import CACHED, is_cached, open_latents
from ..latents.write_cache import Storage, write_cache
from ..nets.autoencoder import Autoencoder
from ..nets.vision.encoders import open_vision
from ..processes import exclusive_output, in_main, open_accelerator
from ..records.training_data import training_data
from .names import chosen_device
from .output import progress_bar


def cache_latents(
    source: Annotated[str, arg(metavar="AUTOENCODER")],
    /,
    *,
    out: Path | None = None,
    data: str | None = None,
    size: int | None = None,
    split: Split | None = None,
    beside: Path | None = None,
    encoder_size: int | None = None,
    dtype: Literal["float16", "bfloat16", "float32"] = "float16",
    flips: bool = False,
    batch_size: int = 16,
    shard_images: int | None = None,
    workers: int = 0,
    labels: bool = True,
    device: str = "auto",
    tiling: bool = False,
    flatten: float | None = None,
    whiten: float | None = None,
    whiten_by: Literal["ring", "coefficient"] = "ring",
    gain_channels: Literal["all", "each", "decorrelated"] = "all",
    export: ForeignLayout | None = None,
) -> Path:
    """Encode images once: posterior moments in safetensors shards with an index. Rerun the same command to resume.

    Launched by torchrun or `accelerate launch`, several processes share the shards.

    For example:
        specmatch cache runs/tiny --out latents
        specmatch cache stabilityai/sd-vae-ft-mse --data photos --size 256 --flips --out latents
        specmatch cache latents:latents --export repa --out repa

    Args:
        source: A folder in diffusers' format, a hub name, an LDM checkpoint (X.safetensors), python:FILE.py:FACTORY for
            your own; latents:FOLDER, to import what another tool cached; or vision:ENCODER for alignment targets, with
            ENCODER gradients[:CELL], a folder in transformers' format, or hub:NAME.
        out: Folder for index.json and the shards; by default `targets` in the folder of --beside.
        data: "embedded", a folder, parquet or tar path, URL, or (hub|stream):NAME[:SPLIT]; by default what the
            autoencoder was trained on.
        size: Side of the square images in pixels; that of training by default, or 256.
        split: By default "train" where the autoencoder was trained on this data, and otherwise "all".
        beside: With vision:ENCODER: cached latents whose images, mirrored ones as well, to encode.
        encoder_size: With vision:ENCODER: side in pixels to which its input is resized; by default its native size.
        dtype: Type of the stored moments; a value outside its range is an error.
        flips: Also store the moments of the mirrored images, which training with flips needs.
        batch_size: Images encoded at once.
        shard_images: Images in a shard, by default 2048, or as many targets as fit in 256 MiB; after an interruption
            each process encodes at most so many again.
        workers: Processes that read images, for each process that encodes.
        labels: Also store the labels of the images, if there are any.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        tiling: Encode in the tiles of the autoencoder's class, one image at a time, so that large images fit.
        flatten: Recorded for what learns these latents: multiply their power spectrum by frequency to this power, and
            undo it before decoding; they are stored as they are.
        whiten: Instead: divide their power spectrum by itself to this power; 1 makes it white.
        whiten_by: Resolution of the spectrum for --whiten.
        gain_channels: One gain for all channels, one for each (--whiten), or channels decorrelated first.
        export: With latents:FOLDER: write them into `out` in the layout of this tool, in float32.
    """
    if batch_size < 1 or (shard_images is not None and shard_images < 1) or workers < 0:
        raise ValueError("batches and shards must have at least one image, and workers must not be negative")
    accelerator = open_accelerator()
    is_vision = source.startswith(VISION)
    if (beside is not None or encoder_size is not None) and not is_vision:
        raise ValueError(f"--beside and --encoder-size apply only to {VISION}ENCODER, not to {source}")
    if out is None and beside is None:
        raise ValueError("name the folder of the cache by --out")
    if tiling and (is_cached(source) or is_vision):
        raise ValueError(f"--tiling is for an autoencoder that encodes, not for {source}: leave it out")
    if (is_cached(source) or beside is not None) and (data, size, split) != (None, None, None):
        raise ValueError(f"{beside or source} is encoded already: --data, --size and --split have no effect")
    if export and not is_cached(source):
        raise ValueError(f"--export is of cached latents: cache {source} first, then export latents:FOLDER")
    out = out or targets_beside(str(beside))
    chosen = accelerator.device if device == "auto" else chosen_device(device)
    latents = open_latents(beside or source.removeprefix(CACHED)) if beside or is_cached(source) else None
    gain = GainChoice(flatten, whiten, whiten_by, gain_channels)
    gain.check()
    if gain.is_given and (is_vision or export):
        raise ValueError(f"--flatten and --whiten are of latents to learn, not of {export or source}")
    if not gain.is_given and latents is not None and not is_vision:
        gain = latents.info.gain
    storage = Storage(dtype, flips, shard_images, gain)
    if latents is not None and export:
        with exclusive_output(accelerator, out):
            in_main(accelerator, lambda: _export(latents, export, out))
        return out
    if latents is not None and not is_vision:
        job = import_cache(latents, storage, labels=labels)
    else:
        if latents is not None:
            images = images_of(latents)
            storage = replace(storage, flips=flips or latents.info.flips)
        else:
            trained = None if is_vision else training_data(source)
            images = images_to_cache(trained, data, size=size, split=split, labels=labels)
        if is_vision:
            name = source.removeprefix(VISION)
            encoder = vision_encoder(name, open_vision(name, chosen, encoder_size), images.size, chosen)
        else:
            network = Autoencoder.from_pretrained(source, tiling=tiling)
            encoder = autoencoder_encoder(source, network, images.size, chosen)
        job = encode_images(encoder, images, storage, batch_size=batch_size, workers=workers)
    title = "caching" if accelerator.num_processes == 1 else f"caching, 1 of {accelerator.num_processes} shares"
    with progress_bar(title) as progress:
        write_cache(job, out, accelerator, progress)
    return out


def _export(latents: LatentSet, layout: ForeignLayout, out: Path) -> None:
    names = None
    with suppress(ValueError):  # MAR's files then bear numbers
        names = images_of(latents).names
    with progress_bar("exporting") as progress:
        export_latents(latents, layout, out, names=names, progress=progress)
