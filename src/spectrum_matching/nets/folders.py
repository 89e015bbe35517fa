"""Networks from the hub, and from folders that save_pretrained of diffusers or transformers wrote."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

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


class LoadedNetwork(NamedTuple):
    """A network, the names of its tensors that its files lack, and of those in the files that it does not have."""

    network: Any
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def load_folder(
    network: Any, folder: Path, pattern: str = "diffusion_pytorch_model*.safetensors", strict: bool = False
) -> Any:
    """Return an instance of the class `network` in float32 and eval mode on the CPU, from files that match `pattern`.

    Weights that the class does not have are ignored, or with `strict` an error.

    Raises:
        ValueError: if there are no such files, or their weights are damaged, incomplete or those of another network.
    """
    model, missing, others = read_folder(network, folder, pattern)
    if missing:
        raise ValueError(f"weights in {folder} lack {len(missing)} tensors of {network.__name__}, first {missing[0]}")
    if strict and others:
        raise ValueError(f"{network.__name__} has none of {len(others)} tensors in {folder}, first {others[0]}")
    return model


def read_folder(network: Any, folder: Path, pattern: str = "diffusion_pytorch_model*.safetensors") -> LoadedNetwork:
    """Load as `load_folder` does, and name what does not match; tensors that the files lack may be on no device.

    Raises:
        ValueError: if there are no such files, or their weights are damaged or of other shapes.
    """
    if not any(folder.glob(pattern)):
        raise ValueError(
            f"no {pattern} in {folder}: pickled weights (.bin, .ckpt) are not opened; if you trust them, save them "
            f"again with {network.__name__}.save_pretrained"
        )
    logging.getLogger("diffusers.configuration_utils").addFilter(_is_news)
    try:
        model, report = network.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        # A truncated file, a wrong shape, sizes that do not fit: each library raises its own kind of exception.
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"weights in {folder} do not load as {network.__name__}: {why}") from error
    missing, others = (tuple(sorted(report[f"{kind}_keys"])) for kind in ("missing", "unexpected"))
    return LoadedNetwork(model.float().eval(), missing, others)


def _is_news(record: logging.LogRecord) -> bool:
    """Return False for a warning of AutoencoderTiny of a key of its configuration that it wrote itself."""
    message = record.getMessage()
    return "block_out_channels" not in message or "AutoencoderTiny" not in message


def fill_with_zeros(network: nn.Module, names: Sequence[str]) -> None:
    """Set the tensors of these names to zero, on the CPU."""
    for name in names:
        owner, _, last = name.rpartition(".")
        module = network.get_submodule(owner)
        zeros = torch.zeros_like(getattr(module, last), device="cpu")
        setattr(module, last, nn.Parameter(zeros) if last in module._parameters else zeros)


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
    except Exception as error:  # the hub's client, its transport and the file system each raise their own
        raise ValueError(
            f"{repository!r} is no local folder, and the hub did not give it ({_why_not(error)}): check the name, or "
            f"run `hf download {repository}` where there is network and give the folder that it prints"
        ) from error


def _why_not(error: Exception) -> str:
    """Return why the hub did not give a repository, in a few words; its own errors have several sentences."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError):
        is_set = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
        return f"{'HF_HUB_OFFLINE is set' if is_set else 'it cannot be reached'}, and the cache has no copy"
    if isinstance(error, errors.GatedRepoError):
        return "its terms have to be accepted on its page, by an account that `hf auth login` knows"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is none of this name, or it is private and needs `hf auth login`"
    return str(error).strip().partition("\n")[0] or type(error).__name__
