"""One face over diffusers' AutoencoderKL: images to a Gaussian posterior, latents to images."""

import difflib
import json
from pathlib import Path
from typing import Any, Literal, Self

import torch
from diffusers.models import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior
from torch import Tensor, nn

from .hub import download


def _kl(widths: tuple[int, ...], channels: int, **others: Any) -> dict[str, Any]:
    return {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "latent_channels": channels,
        "layers_per_block": 2,
        "scaling_factor": 1.0,
        "sample_size": 256,
        **others,
    }


# f8d4 and f16d16 have the widths of the paper's official configurations; the others follow the latent
# diffusion family of the same factor (Rombach et al., 2022). `tiny` is sized for training on two CPU cores.
PRESETS: dict[str, dict[str, Any]] = {
    "f4d4": _kl((128, 256, 512), 4),
    "f8d4": _kl((128, 256, 512, 512), 4),
    "f8d16": _kl((128, 256, 512, 512), 16),
    "f16d16": _kl((128, 128, 256, 256, 512), 16),
    "f16d32": _kl((128, 128, 256, 256, 512), 32),
    "f32d64": _kl((128, 128, 256, 256, 512, 512), 64),
    "tiny": _kl((16, 32, 64), 8, layers_per_block=1, norm_num_groups=8, mid_block_add_attention=False, sample_size=64),
}

_FILES = (
    "config.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model-*.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)


class Autoencoder(nn.Module):
    """Images (b,3,H,W) in [-1,1] to latents (b,channels,H/factor,W/factor) and back.

    Latents are raw: `scaling_factor` and `shift_factor` are what the model's configuration declares, for
    whoever trains on the latents, and nothing here applies them. A null counts as 1 and 0; a config.json
    without `scaling_factor` means 0.18215, as everywhere in diffusers.
    """

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.model = model
        self.factor: int = 2 ** (len(model.config["block_out_channels"]) - 1)
        self.channels: int = model.config["latent_channels"]
        self.scaling_factor = float(model.config["scaling_factor"] or 1.0)
        self.shift_factor = float(model.config["shift_factor"] or 0.0)

    def encode(self, images: Tensor) -> Posterior:
        """Posterior of images (b,3,H,W) in [-1,1] (the range is not checked), in float32 or wider.

        Raises ValueError unless there are three channels and H and W are multiples of `factor`.
        """
        if images.ndim != 4 or images.shape[1] != 3 or any(n == 0 or n % self.factor for n in images.shape[2:]):
            raise ValueError(
                f"images are {tuple(images.shape)}; expected (b, 3, H, W) with H and W multiples of "
                f"{self.factor}: crop or resize them"
            )
        moments = self.model.encode(images.to(self.last_layer.dtype)).latent_dist.parameters
        # Moments in bf16 (under autocast) would cost the samples, the KL and the spectra their digits.
        return Posterior(moments.to(torch.promote_types(moments.dtype, torch.float32)))

    def decode(self, latents: Tensor) -> Tensor:
        """Images (b,3,h·factor,w·factor) of raw latents (b,channels,h,w); ValueError for any other shape."""
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(f"latents are {tuple(latents.shape)}; this autoencoder decodes (b, {self.channels}, h, w)")
        return self.model.decode(latents.to(self.last_layer.dtype)).sample

    @property
    def last_layer(self) -> Tensor:
        """The decoder's last weight, on which adaptive adversarial weights compare gradients."""
        return self.model.decoder.conv_out.weight

    def train_only(self, part: Literal["all", "decoder"]) -> None:
        """Freeze what is not `part`: for "decoder" the encoder and its 1×1 convolution, for "all" nothing."""
        self.model.requires_grad_(True)
        if part == "decoder":
            self.model.encoder.requires_grad_(False)
            if self.model.quant_conv is not None:
                self.model.quant_conv.requires_grad_(False)

    @classmethod
    def from_preset(cls, name: str, seed: int = 0) -> Self:
        """A new autoencoder of `PRESETS`, on the CPU; the seed alone decides its weights.

        Raises ValueError for an unknown name.
        """
        if name not in PRESETS:
            near = difflib.get_close_matches(name, PRESETS, n=len(PRESETS), cutoff=0.0)
            raise ValueError(f"no preset {name!r}: the presets are {', '.join(near)}")
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)
            return cls(AutoencoderKL(**PRESETS[name]))

    @classmethod
    def from_pretrained(cls, source: str | Path, subfolder: str | None = None) -> Self:
        """An AutoencoderKL in float32 from a folder, a pipeline's folder (its `vae/`) or a hub name.

        Only safetensors are read. Raises ValueError when there is no such source, no configuration, one of
        another class, no safetensors, or when weights are missing from them.
        """
        places = (subfolder,) if subfolder else (".", "vae")
        root = Path(source).expanduser()
        if not root.is_dir():
            if root.exists() or root.is_absolute() or str(source).startswith((".", "~")):
                raise ValueError(f"{source} is no folder: give what AutoencoderKL.save_pretrained wrote, or a hub name")
            root = download(str(source), [f"{place}/{file}".removeprefix("./") for place in places for file in _FILES])
        folder = next((root / place for place in places if (root / place / "config.json").is_file()), None)
        if folder is None:
            looked = " or ".join(str(root / place) for place in places)
            raise ValueError(f"no config.json in {looked}: give what AutoencoderKL.save_pretrained wrote")
        return cls(_load(folder))

    def save_pretrained(
        self, folder: str | Path, scaling_factor: float | None = None, shift_factor: float | None = None
    ) -> None:
        """Write config.json and safetensors for `AutoencoderKL.from_pretrained`.

        The two factors, where given, replace what the configuration declares: diffusion models take
        (latents - shift_factor) · scaling_factor.
        """
        self.model.save_pretrained(folder, safe_serialization=True)
        path = Path(folder) / "config.json"
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # where these weights once came from: no business of the next reader
        measured = {"scaling_factor": scaling_factor, "shift_factor": shift_factor}
        config.update({name: value for name, value in measured.items() if value is not None})
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _load(folder: Path) -> AutoencoderKL:
    try:
        kind = json.loads((folder / "config.json").read_text()).get("_class_name", "no diffusers class")
    except (ValueError, AttributeError):
        raise ValueError(f"{folder / 'config.json'} is not a JSON object: the download or copy is damaged") from None
    if kind != "AutoencoderKL":
        raise ValueError(f"{folder} holds {kind}: only AutoencoderKL is read")
    if not any(folder.glob("diffusion_pytorch_model*.safetensors")):
        raise ValueError(
            f"no diffusion_pytorch_model*.safetensors in {folder}: pickled weights (.bin, .ckpt) are not "
            f"opened; if you trust them, save them anew with AutoencoderKL.save_pretrained"
        )
    try:
        model, report = AutoencoderKL.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    except Exception as error:
        # A truncated file, a wrong shape, a variant without plain weights: each library has its own kind.
        raise ValueError(f"weights in {folder} do not load: {str(error).strip().partition(chr(10))[0]}") from error
    if absent := report["missing_keys"]:
        raise ValueError(f"weights in {folder} lack {len(absent)} tensors, first {min(absent)}: they are incomplete")
    return model.float()
