"""README.md of an exported autoencoder: what it is, how it is opened, what it was trained on, numbers, citations."""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import ModelCardData

from ..files.atomic import write_text_atomically
from ..files.names import printable
from ..latent_space import LatentSpace
from ..methods.method import Method
from ..methods.zoo import SPECTRUM_MATCHING
from ..nets.autoencoder import Autoencoder
from ..records.training_data import AutoencoderTraining
from .autoencoder_config import AutoencoderRun

CARD = "README.md"
MARK = "<!-- specmatch wrote the text above; SHA-256 {} -->\n"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class Quality(NamedTuple):
    """Mean scores of reconstructions of `n_images` held-out images, of `n_total`, from posterior means."""

    n_images: int
    n_total: int
    psnr: float
    ssim: float


class Exported(NamedTuple):
    """What a card is about.

    before: the quality of the autoencoder that was fine-tuned, where there was one. distilled: of a student, what
    `measure_distillation` returns.
    """

    autoencoder: Autoencoder
    origin: AutoencoderTraining
    method: Method
    latent_space: LatentSpace
    before: Quality | None
    after: Quality
    distilled: dict[str, Any] | None = None


def model_card(run: AutoencoderRun, exported: Exported) -> str:
    """Return the card, in Markdown with the hub's YAML header. Paths on this machine are given by their last part."""
    autoencoder, origin = exported.autoencoder, exported.origin
    base = last_part(origin.base)
    is_on_hub = base == origin.base and bool(HUB_NAME.fullmatch(base))
    header = ModelCardData(
        library_name="diffusers" if autoencoder.is_of_diffusers else None,
        base_model=base if is_on_hub else None,
        tags=["autoencoder", "latent-diffusion", "spectrum-matching"],
    )
    parts = [
        f"---\n{header.to_yaml()}\n---\n",
        f"# {printable(run.name)}\n",
        _what(exported, base),
        "## How it is opened\n",
        _opening(exported),
        "## Scale of its latents\n",
        _scale(exported, base),
        "## Reconstructions\n",
        _numbers(run, exported),
        "## Training\n",
        _training(run, exported),
        "## Citation\n",
        "".join(f"- {citation}\n" for citation in dict.fromkeys((exported.method.citation, SPECTRUM_MATCHING))),
    ]
    return "\n".join(parts)


def write_card(folder: Path, card: str) -> bool:
    """Write the card into an export; return False where one lies there that somebody else wrote or changed."""
    path = folder / CARD
    if path.exists() and not _is_ours(path.read_text(errors="replace")):
        return False
    write_text_atomically(path, card + "\n" + MARK.format(hashlib.sha256(card.encode()).hexdigest()))
    return True


def _is_ours(text: str) -> bool:
    card = text.rpartition("\n" + MARK.partition("{}")[0])[0]
    return text == card + "\n" + MARK.format(hashlib.sha256(card.encode()).hexdigest())


def _what(exported: Exported, base: str) -> str:
    autoencoder, origin = exported.autoencoder, exported.origin
    kind = f"`{autoencoder.kind}`, f{autoencoder.factor} with {autoencoder.channels} latent channels"
    if not base:
        return f"{kind}, trained from scratch.\n"
    if exported.distilled:
        scale = "at unit scale" if exported.distilled["unit_scale"] else "as they are, raw"
        return (
            f"{kind}, distilled from {base}. Its latents approximate those of {base} {scale}, so that it stands in for "
            f"it where speed counts, such as in previews.\n"
        )
    if origin.trained == "decoder":
        return (
            f"{kind}, fine-tuned from {base}: the decoder alone. Its latents are those of {base}, bit for bit, so that "
            f"diffusion models of those latents go on working.\n"
        )
    return (
        f"{kind}, fine-tuned from {base}. Its latents differ from those: a diffusion model has to be trained or "
        f"fine-tuned on them.\n"
    )


def _opening(exported: Exported) -> str:
    kind, padding = exported.autoencoder.kind, exported.origin.padding
    if not exported.autoencoder.is_of_diffusers:
        return f"By the `from_pretrained` of its own class, `{kind}`.\n"
    lines = [f"from diffusers import {kind}\n", f'autoencoder = {kind}.from_pretrained("path/to/this/folder")']
    if not any(padding):
        return _code(lines)
    lines[0] = f"import torch\nfrom diffusers import {kind}\n"
    encoding, decoding = (mode or "zeros" for mode in padding)
    lines += [
        "for name, part in autoencoder.named_children():",
        f'    mode = "{decoding}" if name in ("decoder", "post_quant_conv") else "{encoding}"',
        "    for layer in part.modules():",
        "        if isinstance(layer, torch.nn.Conv2d) and any(layer.padding):",
        "            layer.padding_mode = mode",
    ]
    return f"Its convolutions pad otherwise than with zeros, which `config.json` cannot say:\n\n{_code(lines)}"


def _code(lines: list[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```\n"


def _scale(exported: Exported, base: str) -> str:
    space = exported.latent_space
    if exported.distilled:
        if exported.distilled["unit_scale"]:
            return f"Its latents are at the unit scale of {base}: nothing is to be scaled.\n"
        return f"Its latents are raw ones of {base}: scale them as {base} declares it.\n"
    if exported.origin.trained == "decoder":
        return f"As {base} declares it.\n"
    if len(space.std) > 1:
        packed = f" of {space.patch} × {space.patch} packed positions" if space.patch > 1 else ""
        return f"Its files hold mean and standard deviation of each channel{packed}, measured on training images.\n"
    centred = f"(z − {space.mean[0]:.6g})" if space.mean[0] else "z"
    return f"Unit-scale latents are {centred} · {1 / space.std[0]:.6g}, measured on training images.\n"


def _numbers(run: AutoencoderRun, exported: Exported) -> str:
    before, after = exported.before, exported.after
    columns = [("before", before)] if before else []
    columns += [("after" if before else "value", after)]
    rows = [
        ("PSNR, dB", [f"{quality.psnr:.2f}" for _, quality in columns]),
        ("SSIM", [f"{quality.ssim:.4f}" for _, quality in columns]),
    ]
    lines = [
        f"Means over {after.n_images} of {after.n_total} held-out images of {run.data.size} × {run.data.size}.\n",
        f"| | {' | '.join(name for name, _ in columns)} |",
        f"|---|{'---|' * len(columns)}",
        *(f"| {name} | {' | '.join(values)} |" for name, values in rows),
    ]
    if distilled := exported.distilled:
        bands = ", ".join("none" if value is None else f"{value:.3f}" for value in distilled["r2_by_band"])
        lines += [
            f"\nR² of its latents on these images, the teacher's as the truth: {distilled['r2']:.4f}; by band of",
            f"frequency, from low to high: {bands}. On the teacher's latents its decoder reaches a PSNR of",
            f"{distilled['psnr_of_teacher_latents']:.2f} dB, the teacher's own {distilled['psnr_of_teacher']:.2f} dB.",
        ]
    return "\n".join(lines) + "\n"


def _training(run: AutoencoderRun, exported: Exported) -> str:
    origin, losses = exported.origin, run.losses
    options = ", ".join(f"{key} {value}" for key, value in origin.method.items() if key != "name")
    weights = {"L1": losses.l1, "L2": losses.l2, "LPIPS": losses.perceptual, "adversarial": run.discriminator.weight}
    used = [f"{name} {weight:g}" for name, weight in weights.items() if weight]
    unused = [name for name, weight in weights.items() if not weight]
    size, ratios = f"{origin.data.size} × {origin.data.size}", sorted({*run.data.aspect_ratios})
    if ratios != [1.0]:
        size = f"about {size} pixels in aspect ratios {', '.join(f'{ratio:g}' for ratio in ratios)}"
    lines = [
        f"- Method: {origin.method['name']}{f' ({options})' if options else ''}",
        f"- Losses on images: {', '.join(used)}; without {', '.join(unused) or 'none'}",
        f"- {origin.step} updates of {run.batch_size} images, AdamW at {run.optimizer.lr:g}, {run.precision}",
        f"- Images: {last_part(origin.data.source)}, {size}, "
        f"but {origin.data.held_out:.1%} held out (seed {origin.data.seed})",
        f"- spectrum-matching {origin.version}{f', commit {origin.commit}' if origin.commit else ''}",
    ]
    return "\n".join(lines) + "\n"


def last_part(source: str) -> str:
    """Return the last part of a path on this machine; a name of the hub, and what is no path, as it is."""
    is_path = Path(source).is_absolute() or Path(source).exists() or source.startswith(("python:", ".", "~"))
    return printable(Path(source).name if is_path else source)
