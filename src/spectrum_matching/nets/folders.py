"""Networks from folders that save_pretrained of diffusers or transformers wrote: from safetensors, and complete."""

import json
from pathlib import Path
from typing import Any

CONFIG = "config.json"


def read_config(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: if it holds anything else.
    """
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a JSON object: the download or copy is damaged")
    return content


def load_folder(
    network: Any, folder: Path, pattern: str = "diffusion_pytorch_model*.safetensors", strict: bool = False
) -> Any:
    """Return an instance of the class `network` in float32 and eval mode on the CPU, from files that match `pattern`.

    Weights that the class does not have are ignored, or with `strict` an error.

    Raises:
        ValueError: if there are no such files, or their weights are damaged, incomplete or those of another network.
    """
    if not any(folder.glob(pattern)):
        raise ValueError(
            f"no {pattern} in {folder}: pickled weights (.bin, .ckpt) are not opened; if you trust them, save them "
            f"again with {network.__name__}.save_pretrained"
        )
    try:
        model, report = network.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        # A truncated file, a wrong shape, sizes that do not fit: each library raises its own kind of exception.
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"weights in {folder} do not load as {network.__name__}: {why}") from error
    if absent := report["missing_keys"]:
        raise ValueError(f"weights in {folder} lack {len(absent)} tensors of {network.__name__}, first {min(absent)}")
    if strict and (others := report["unexpected_keys"]):
        raise ValueError(f"{network.__name__} has none of {len(others)} tensors in {folder}, first {min(others)}")
    return model.float().eval()
