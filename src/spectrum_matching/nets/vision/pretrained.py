"""What vision models of transformers share: their weights from a folder, and pixels as they were trained on them."""

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from ...spectrum.filters import Resampler, resize

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_pretrained(model: str, folder: Path, copy_of: str) -> Any:
    """transformers' class of that name, frozen, in float32 and eval mode, from the safetensors of a folder.

    ValueError in one line without transformers, and for a folder whose weights are not those of the class, or not all;
    copy_of: what the line asks for instead. Weights of other parts of a larger model stay unread.
    """
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"{folder} needs transformers: pip install 'spectrum-matching[vision]'") from error
    talk = logging.getLogger("transformers")
    level = talk.level
    talk.setLevel(logging.ERROR)  # it lists all that was left unread; what is missing is looked at below
    try:
        network, report = getattr(transformers, model).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # the library raises whatever its parsers do
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"{folder} holds no {model} of transformers ({why}): give {copy_of}") from error
    finally:
        talk.setLevel(level)
    if absent := report["missing_keys"]:
        raise ValueError(f"{folder} lacks {len(absent)} tensors of {model}, first {min(absent)}: give {copy_of}")
    return network.float().requires_grad_(False).eval()


def standardised(images: Tensor, side: int, mode: Resampler, mean: Tensor, std: Tensor) -> Tensor:
    """Images (b, 3, H, W) in [-1, 1] → (b, 3, side, side), float32: resized, clamped to [0, 1], less mean, over std.

    mean, std: (3, 1, 1). The resampling is antialiased.
    """
    pixels = (resize(images.float(), (side, side), mode) + 1) / 2
    return (pixels.clamp(0, 1) - mean) / std
