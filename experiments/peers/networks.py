"""Networks with the peers' weights copied into ours: SiT, REPA's SiT, U-ViT."""

from typing import Any

import torch
from torch import Tensor, nn

from peers.checkouts import Checkouts
from peers.rows import Row, compared
from spectrum_matching.diffusion import guided
from spectrum_matching.nets.denoiser.build import build_denoiser

CLASSES, CHANNELS, SIDE = 10, 4, 16
SIT_SIZES = {
    "S/2": {"hidden_size": 384, "depth": 12, "num_heads": 6, "patch_size": 2},
    "B/4": {"hidden_size": 768, "depth": 3, "num_heads": 12, "patch_size": 4},
    "S/8": {"hidden_size": 384, "depth": 2, "num_heads": 6, "patch_size": 8},
    "XL/2": {"hidden_size": 1152, "depth": 2, "num_heads": 16, "patch_size": 2},
}
UVIT_SIZES = {"S/2": (512, 12, 8, True), "L/4": (1024, 4, 16, True), "H/2": (1152, 2, 16, False)}


def rows(checkouts: Checkouts) -> list[Row]:
    """Compare all of this file."""
    torch.manual_seed(0)
    return [*sit(checkouts), *repa(checkouts), *uvit(checkouts)]


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Return latents, times and labels, one of them −1 for none."""
    return torch.randn(3, CHANNELS, SIDE, SIDE), torch.tensor([0.1, 0.5, 1.0]), torch.tensor([0, CLASSES - 1, -1])


def randomised(network: nn.Module) -> nn.Module:
    """Give a new network weights that are nowhere zero, but keep the fixed positions."""
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.05 if parameter.ndim > 1 else 0.02)
            if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
                parameter.data += 1
    return network.eval()


def copy_linear(ours: nn.Module, theirs: Any) -> None:
    """Copy weight and bias; a convolution over patches as a linear layer on patches, whose channel comes last."""
    weight = theirs.weight
    ours.weight.data.copy_(weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight)
    if theirs.bias is not None:
        ours.bias.data.copy_(theirs.bias)


def port_sit(ours: Any, theirs: Any) -> Any:
    """Copy a SiT's weights. Of a doubled output the second half is left out, and the null class comes first."""
    copy_linear(ours.first, theirs.x_embedder.proj)
    copy_linear(ours.time[0], theirs.t_embedder.mlp[0])
    copy_linear(ours.time[2], theirs.t_embedder.mlp[2])
    table = theirs.y_embedder.embedding_table.weight
    ours.label.table.weight.data.copy_(torch.cat([table[-1:], table[:-1]]))
    for mine, other in zip(ours.blocks, theirs.blocks, strict=True):
        copy_linear(mine.attention.qkv, other.attn.qkv)
        copy_linear(mine.attention.out, other.attn.proj)
        copy_linear(mine.perceptron.first, other.mlp.fc1)
        copy_linear(mine.perceptron.last, other.mlp.fc2)
        copy_linear(mine.modulation, other.adaLN_modulation[1])
    copy_linear(ours.modulation, theirs.final_layer.adaLN_modulation[1])
    last = theirs.final_layer.linear
    kept = last.weight.view(-1, theirs.out_channels, last.in_features)[:, :CHANNELS]
    ours.last.weight.data.copy_(kept.flatten(0, 1))
    ours.last.bias.data.copy_(last.bias.view(-1, theirs.out_channels)[:, :CHANNELS].flatten())
    return ours.eval()


@torch.no_grad()
def sit(checkouts: Checkouts) -> list[Row]:
    """Compare SiT's forward pass, with and without guidance of three channels, its positions and parameters."""
    with checkouts.at("SiT") as load:
        module = load("models")
    x, t, labels = inputs()
    y = torch.where(labels < 0, CLASSES, labels)
    forward, with_guidance, positions, parameters = [], [], [], {}
    for name, size in SIT_SIZES.items():
        built = module.SiT(**size, input_size=SIDE, num_classes=CLASSES)
        ours = build_denoiser(f"SiT-{name}", CHANNELS, (SIDE, SIDE), CLASSES, depth=size["depth"])
        port_sit(ours, randomised(built))
        positions.append((ours.positions, built.pos_embed[0]))
        forward.append((ours(x, t, labels)[0], built(x, t, y)))
        both = torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, torch.full_like(y, CLASSES)])
        mine = guided(ours, labels, 1.5, channels=3)(x, t)
        with_guidance.append((mine, built.forward_with_cfg(*both, 1.5)[: len(x)]))
        trainable = [sum(p.numel() for p in net.parameters() if p.requires_grad) for net in (built, ours)]
        parameters[name] = {"theirs": trainable[0], "ours": trainable[1], "difference": trainable[0] - trainable[1]}
    return [
        compared("sit_forward", "SiT", "SiT's network, without its doubled output", forward),
        compared("sit_guidance", "SiT", "SiT's network, three channels guided by 1.5", with_guidance),
        compared("sit_positions", "SiT", "SiT's position embeddings", positions),
        Row("sit_parameters", "SiT", "trainable parameters, of these depths", values=parameters),
    ]


@torch.no_grad()
def repa(checkouts: Checkouts) -> list[Row]:
    """Compare REPA's SiT: its prediction and the tokens that its projector takes."""
    with checkouts.at("REPA") as load:
        module = load("models.sit")
    x, t, labels = inputs()
    y, made = torch.where(labels < 0, CLASSES, labels), []
    for depth, tap in ((4, 2), (4, 4)):
        theirs = module.SiT(
            input_size=SIDE,
            hidden_size=384,
            decoder_hidden_size=384,
            depth=depth,
            num_heads=6,
            encoder_depth=tap,
            num_classes=CLASSES,
            z_dims=[24],
            projector_dim=32,
            fused_attn=True,
            qk_norm=False,
            use_cfg=True,
        )
        randomised(theirs)
        theirs.projectors = nn.ModuleList([nn.Identity()])
        ours = build_denoiser("SiT-S/2", CHANNELS, (SIDE, SIDE), CLASSES, depth=depth)
        prediction, tokens = port_sit(ours, theirs)(x, t, labels, tap)
        other, zs = theirs(x, t, y)
        made += [(prediction, other), (tokens, zs[0])]
    return [compared("repa_forward", "REPA", "REPA's SiT: prediction, and tokens after block 2 or 4", made)]


@torch.no_grad()
def uvit(checkouts: Checkouts) -> list[Row]:
    """Compare U-ViT's forward pass, with and without classes, and its numbers of parameters."""
    with checkouts.at("U-ViT") as load:
        module = load("libs.uvit")
    x, t, labels = inputs()
    made, parameters = [], {}
    for name, (width, depth, heads, conv) in UVIT_SIZES.items():
        for n_classes in (0, CLASSES):
            size = {"img_size": SIDE, "patch_size": int(name[-1]), "in_chans": CHANNELS, "embed_dim": width}
            size |= {"depth": depth, "num_heads": heads, "conv": conv}
            theirs = randomised(module.UViT(**size, num_classes=n_classes + 1 if n_classes else -1))
            ours = build_denoiser(f"UViT-{name}", CHANNELS, (SIDE, SIDE), n_classes, depth=depth)
            port_uvit(ours, theirs)
            y = torch.where(labels < 0, CLASSES, labels) if n_classes else None
            made.append((ours(x, t, labels if n_classes else None)[0], theirs(x, 999 * t, y)))
            counts = [sum(p.numel() for p in net.parameters()) for net in (theirs, ours)]
            parameters[f"{name}, {n_classes} classes"] = {"theirs": counts[0], "ours": counts[1]}
    return [
        compared("uvit_forward", "U-ViT", "U-ViT's network, with and without classes, t times 999", made),
        Row("uvit_parameters", "U-ViT", "parameters, of these depths", values=parameters),
    ]


def port_uvit(ours: Any, theirs: Any) -> None:
    """Copy a U-ViT's weights: its label comes before the time, ours after it, and its null class is the last."""
    copy_linear(ours.first, theirs.patch_embed.proj)
    order = [1, 0] if theirs.extras == 2 else [0]
    kept = theirs.pos_embed.data
    ours.positions.data.copy_(torch.cat([kept[:, order], kept[:, theirs.extras :]], 1))
    if ours.label is not None:
        table = theirs.label_emb.weight
        ours.label.table.weight.data.copy_(torch.cat([table[-1:], table[:-1]]))
    blocks = [*theirs.in_blocks, theirs.mid_block, *theirs.out_blocks]
    for mine, other in zip(ours.blocks, blocks, strict=True):
        copy_linear(mine.attention.qkv, other.attn.qkv)
        copy_linear(mine.attention.out, other.attn.proj)
        copy_linear(mine.perceptron.first, other.mlp.fc1)
        copy_linear(mine.perceptron.last, other.mlp.fc2)
        copy_linear(mine.attention_norm, other.norm1)
        copy_linear(mine.perceptron_norm, other.norm2)
        if mine.merge is not None:
            copy_linear(mine.merge, other.skip_linear)
    copy_linear(ours.norm, theirs.norm)
    copy_linear(ours.last, theirs.decoder_pred)
    if not isinstance(ours.final, nn.Identity):
        ours.final.load_state_dict(theirs.final_layer.state_dict())
    ours.eval()
