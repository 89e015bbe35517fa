"""Networks from the hub, and from folders that save_pretrained of diffusers or transformers wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files.documents import read_json

CONFIG = "config.json"


def read_config(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: if it holds anything else.
    """
    remedy = "download or copy its folder again"
    content = read_json(file, remedy)
    if not isinstance(content, dict):
        raise ValueError(f"{file} is damaged: it is not a JSON object; {remedy}")
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


def download(repository: str, patterns: Sequence[str]) -> Path:
    """Return the local folder with the files of a hub repository that match `patterns`; offline, the cached ones.

    Raises:
        ValueError: if the repository can be neither reached nor found in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except HFValidationError:
        raise ValueError(f"{repository!r} is neither a folder that exists nor a hub name ('owner/name')") from None
    except Exception as error:
        # The hub's client, its transport and the file system each raise their own; the first line says why.
        why = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{repository!r} is no local folder, and the hub did not give it ({why}): check the name, or run "
            f"`hf download {repository}` where there is network and give the folder that it prints"
        ) from error
