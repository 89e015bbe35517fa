"""Load an AutoencoderKL from a single-file checkpoint in the layout of latent diffusion (Rombach et al., 2022)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

PREFIXES = ("first_stage_model.", "vae.")  # of the autoencoder within a whole model
PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")
N_GROUPS = 32  # of every group norm in that layout


def load_single_file(path: Path) -> "AutoencoderKL":
    """Load an AutoencoderKL in float32 from a .safetensors file of the autoencoder or of the whole model.

    Its configuration is inferred from the tensors' shapes. The scaling factor is the file's `scale_factor`, if it has
    one, else 1.

    Raises:
        ValueError: for any other layout and for incomplete weights.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in names)), "")
            parts = tuple(prefix + part for part in PARTS)
            tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(parts)}
            scale = float(file.get_tensor("scale_factor")) if "scale_factor" in names else 1.0
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({error}): the download or copy is damaged"
        ) from None
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models import AutoencoderKL

    config = _configuration(path, tensors) | {"scaling_factor": scale}
    try:
        with torch.device("meta"):
            model = AutoencoderKL(**config)
        report = model.load_state_dict(convert_ldm_vae_checkpoint(tensors, config), strict=False, assign=True)
    except Exception as error:
        # The conversion looks things up by name, the loader compares shapes: each fails in its own way.
        why = str(error).strip().rpartition("\n")[2].strip()
        raise ValueError(f"weights in {path} do not load: {why}") from error
    if absent := report.missing_keys:
        raise ValueError(f"weights in {path} lack {len(absent)} tensors, first {min(absent)}: they are incomplete")
    return model.float().eval()


def _configuration(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the arguments of AutoencoderKL, inferred from the tensors' shapes."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise ValueError(
                f"{path} has no {name}: expected an autoencoder in the layout of latent diffusion; "
                f"a folder that save_pretrained wrote is read too"
            )
        return tuple(tensors[name].shape)

    first = "encoder.down.{}.block.{}.conv1.weight"
    widths = [shape(first.format(0, 0))[0]]
    while first.format(len(widths), 0) in tensors:
        widths.append(shape(first.format(len(widths), 0))[0])
    n_moments, latent_channels = shape("encoder.conv_out.weight")[0], shape("decoder.conv_in.weight")[1]
    if n_moments != 2 * latent_channels or any(name.startswith("quantize.") for name in tensors):
        raise ValueError(
            f"{path} holds no KL autoencoder: its encoder gives {n_moments} for {latent_channels} channels"
        )
    if between := [name for name in tensors if ".attn." in name]:
        raise ValueError(f"{path} has attention between levels ({min(between)}), which diffusers does not convert")
    return {
        "in_channels": shape("encoder.conv_in.weight")[1],
        "out_channels": shape("decoder.conv_out.weight")[0],
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "block_out_channels": widths,
        "layers_per_block": sum(first.format(0, block) in tensors for block in range(len(tensors))),
        "latent_channels": latent_channels,
        "norm_num_groups": N_GROUPS,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
        "mid_block_add_attention": "encoder.mid.attn_1.q.weight" in tensors,
    }
