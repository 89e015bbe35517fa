"""What REPA and VA-VAE give DINOv2, and its tokens, with timm's weights copied into transformers' model."""

import tempfile
from types import SimpleNamespace
from typing import Any

import torch

from peers.checkouts import Checkouts
from peers.networks import copy_linear, randomised
from peers.rows import Row, compared
from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.nets.vision.encoders import open_vision
from spectrum_matching.spectrum import resize

WIDTH, HEADS, DEPTH, SIDE, N_IMAGES = 64, 4, 2, 256, 8
NOTE = "DINOv2 of width 64 and two blocks, with random weights: the published ones are not here"


@torch.no_grad()
def rows(checkouts: Checkouts) -> list[Row]:
    """Compare all of this file."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    torch.manual_seed(0)
    photographs = open_images("embedded", SIDE, split="all")
    values = next(fixed_batches(photographs, N_IMAGES, N_IMAGES)).images
    images = 127.5 * (values + 1)
    at_518 = small_dinov2(518)
    with tempfile.TemporaryDirectory() as folder:
        as_transformers(at_518).save_pretrained(folder)
        ours = {recipe: open_vision(f"{recipe}{folder}")(values).tokens for recipe in ("repa:", "va_vae:", "")}
    absent = ("wandb", "clip")
    with checkouts.at("REPA", absent=absent) as load:
        train = load("train")
    pixels = train.preprocess_raw_image(images, "dinov2")
    at_224 = small_dinov2(224)
    at_224.load_state_dict(at_518.state_dict() | {"pos_embed": resample_abs_pos_embed(at_518.pos_embed, [16, 16])})
    repa = at_224.forward_features(pixels)[:, 1:]
    with checkouts.at("LightningDiT/vavae") as load:
        models = load("ldm.models.foundation_models")
    models.timm = SimpleNamespace(create_model=lambda *_, **__: at_518)
    field = models.aux_foundation_model("dinov2")(values)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (train.IMAGENET_DEFAULT_MEAN, train.IMAGENET_DEFAULT_STD))
    default = (((resize(values, (224, 224), "bicubic") + 1) / 2).clamp(0, 1) - mean) / std
    sizes = {"rms": float((default - pixels).square().mean().sqrt()), "of": float(pixels.square().mean().sqrt())}
    return [
        compared("repa_dinov2", "REPA", "DINOv2's tokens as REPA has them, `repa:`", [(ours["repa:"], repa)], NOTE),
        compared(
            "va_vae_dinov2",
            "LightningDiT",
            "DINOv2's tokens as VA-VAE has them, `va_vae:`",
            [(ours["va_vae:"], field.flatten(2).mT)],
            NOTE,
        ),
        Row("dinov2_pixels", "REPA", "rms difference of pixels, antialiased or as REPA's", values=sizes),
    ]


def small_dinov2(side: int) -> Any:
    """Build timm's DINOv2 for images of a side, small, with random weights."""
    import timm

    model = timm.create_model(
        "vit_small_patch14_dinov2",
        img_size=side,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        dynamic_img_size=side == 518,
    )
    randomised(model)
    for block in model.blocks:
        block.ls1.gamma.data.fill_(0.7)
        block.ls2.gamma.data.fill_(0.8)
    return model


def as_transformers(theirs: Any) -> Any:
    """Copy timm's DINOv2 into transformers'."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=518, patch_size=14
    )
    ours: Any = Dinov2Model(config)
    ours.embeddings.cls_token.data.copy_(theirs.cls_token)
    ours.embeddings.position_embeddings.data.copy_(theirs.pos_embed)
    ours.embeddings.patch_embeddings.projection.load_state_dict(theirs.patch_embed.proj.state_dict())
    for mine, other in zip(ours.encoder.layer, theirs.blocks, strict=True):
        attention = mine.attention
        for part, weight, bias in zip(
            (attention.q_proj, attention.k_proj, attention.v_proj),
            other.attn.qkv.weight.chunk(3),
            other.attn.qkv.bias.chunk(3),
            strict=True,
        ):
            part.weight.data.copy_(weight)
            part.bias.data.copy_(bias)
        copy_linear(mine.attention.o_proj, other.attn.proj)
        copy_linear(mine.norm1, other.norm1)
        copy_linear(mine.norm2, other.norm2)
        copy_linear(mine.mlp.fc1, other.mlp.fc1)
        copy_linear(mine.mlp.fc2, other.mlp.fc2)
        mine.layer_scale1.lambda1.data.copy_(other.ls1.gamma)
        mine.layer_scale2.lambda1.data.copy_(other.ls2.gamma)
    copy_linear(ours.layernorm, theirs.norm)
    return ours.eval()
