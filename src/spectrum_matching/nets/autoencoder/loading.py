"""Load an autoencoder from a folder, a hub name, a single file, or a user's function."""

import difflib
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ...files.manifest import verify_folder
from ...files.run_folders import RECORD, exported
from ...records.training_data import training
from ..folders import CONFIG, LoadedNetwork, download, fill_with_zeros, load_folder, read_config, read_folder
from ..python_files import PREFIX, from_file, require_prefix
from .diffusers_classes import CLASSES, REFUSED
from .padding import set_padding
from .single_file import load_single_file

# Folders of the autoencoder within a pipeline.
SUBFOLDERS = (".", "vae", "vqvae", "movq", "vqgan")
PICKLED = (".ckpt", ".pt", ".pth", ".bin")
PIPELINE = "model_index.json"
MAP_FORMAT = "specmatch-latent-map-1"
"""What config.json says of the decoder of one autoencoder behind a map from the latents of another."""
_FILES = (
    CONFIG,
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model-*.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    RECORD,
)


class Loaded(NamedTuple):
    """An autoencoder, and the class of the diffusion pipeline in whose folder it lies; "" for none.

    missing, unexpected: names of tensors that a folder's weights lack, and of those that the model does not have.
    """

    model: Any
    pipeline: str = ""
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def load(source: str | Path, *, incomplete: bool = False) -> Loaded:
    """Load an autoencoder in float32 and eval mode on the CPU; "python:FILE.py:FACTORY" gives what the factory returns.

    A run directory of a training stands for the export in it. Only safetensors are read from folders and hub names.
    incomplete: tensors that a folder's weights lack are zero and named, instead of an error.

    Raises:
        ValueError: with the remedy, for anything that does not open.
    """
    if str(source).startswith(PREFIX):
        return Loaded(from_file(str(source)))
    require_prefix(str(source))
    root = exported(source)
    if root.is_file() and root.suffix == ".safetensors":
        return Loaded(load_single_file(root))
    if root.is_file() and root.suffix in PICKLED:
        raise ValueError(f"{source} is pickled and not opened; convert it:  {converting(root)}")
    if not root.exists() and root.suffix in (".safetensors", *PICKLED):
        raise ValueError(f"no such file: {source}; check the path")
    if not root.is_dir():
        if root.exists() or root.is_absolute() or str(source).startswith((".", "~")):
            raise ValueError(
                f"{source} is not a folder: give what save_pretrained wrote, a .safetensors file, a hub name, "
                f"or python:FILE.py:FACTORY"
            )
        files = [f"{name}/{file}".removeprefix("./") for name in SUBFOLDERS for file in _FILES]
        root = download(str(source), [PIPELINE, *files])
    folder = next((root / name for name in SUBFOLDERS if (root / name / CONFIG).is_file()), None)
    if folder is None:
        if (origin := training(root)) is not None:
            raise ValueError(
                f"{root} holds what an object of your own wrote ({origin.base}): open it by "
                f"python:FILE.py:FACTORY@{root}, whose FACTORY takes the folder"
            )
        looked = " or ".join(str(root / name) for name in SUBFOLDERS)
        raise ValueError(f"no {CONFIG} in {looked}: give what save_pretrained wrote")
    verify_folder(folder)
    config = read_config(folder / CONFIG)
    if config.get("format") == MAP_FORMAT:
        from .mapped import MappedAutoencoder  # which opens two autoencoders in turn

        return Loaded(MappedAutoencoder.from_pretrained(folder))
    kind = str(config.get("_class_name", "no diffusers class"))
    network = _class(folder, kind)
    loaded = read_folder(network, folder) if incomplete else LoadedNetwork(load_folder(network, folder))
    fill_with_zeros(loaded.network, loaded.missing)
    if (origin := training(folder)) is not None:
        set_padding(loaded.network, origin.padding)
    return Loaded(loaded.network, _pipeline(folder), loaded.missing, loaded.unexpected)


def converting(pickled: Path) -> str:
    """Return the command that saves a checkpoint's tensors as .safetensors, running nothing that the file says."""
    code = (
        "import torch; from safetensors.torch import save_file; "
        f"state = torch.load({str(pickled)!r}, map_location='cpu', weights_only=True); "
        "save_file({name: each.clone() for name, each in state.get('state_dict', state).items() "
        f"if torch.is_tensor(each)}}, {str(pickled.with_suffix('.safetensors'))!r})"
    )
    return shlex.join(["python", "-c", code])


def _pipeline(folder: Path) -> str:
    folder = folder.resolve()
    indices = [folder / PIPELINE, *([folder.parent / PIPELINE] if folder.name in SUBFOLDERS else [])]
    index = next((file for file in indices if file.is_file()), None)
    return "" if index is None else str(read_config(index).get("_class_name", ""))


def _class(folder: Path, kind: str) -> Any:
    import diffusers

    if kind in REFUSED:
        raise ValueError(f"{folder} holds {kind}, which cannot be measured: {REFUSED[kind]}")
    if kind not in CLASSES:
        near = ", ".join(difflib.get_close_matches(kind, CLASSES, n=3, cutoff=0.0))
        raise ValueError(f"{folder} holds {kind}, no known autoencoder (near it: {near}); use python:FILE.py:FACTORY")
    if not hasattr(diffusers, kind):
        raise ValueError(f"{folder} holds {kind}, which diffusers {diffusers.__version__} lacks: install a newer one")
    if kind == "AutoencoderRAE" and find_spec("transformers") is None:
        raise ValueError(f"{folder} holds {kind}, which needs transformers: pip install transformers")
    return getattr(diffusers, kind)
