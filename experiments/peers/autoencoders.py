"""Losses on latents, transforms shared by latents and images, discriminators: Spectrum Matching, EQ-VAE, VA-VAE."""

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from peers.checkouts import Checkouts
from peers.rows import Row, compared
from spectrum_matching.methods import ESM, KL, ScaleRotate, SpectralMask, feature_gap, zoo
from spectrum_matching.methods.shared_transforms import Lowpass, ScaleTurn
from spectrum_matching.nets.discriminator import PatchDiscriminator, hinge_discriminator_loss
from spectrum_matching.spectrum import rmsc
from spectrum_matching.training.train_autoencoder import balance

SHAPES = (((4, 32, 32), 256), ((16, 16, 16), 256), ((4, 64, 64), 512), ((8, 8, 8), 32))  # of latents; side of images
STDS, DELTAS = (0.1, 1.0, 5.0, 20.0), (0.0, 0.4, 1.2)
MASKS = {0: 15, 8: 7, 10: 5, 12: 3}  # n of the paper's code: our keep
N_DRAWS = 4000


def rows(checkouts: Checkouts) -> list[Row]:
    """Compare all of this file."""
    torch.manual_seed(0)
    return [
        *esm(checkouts),
        *dsm(checkouts),
        *discriminators(checkouts),
        *eq_vae(checkouts),
        *va_vae(checkouts),
        Row("scale_equivariance", "none", "Scale Equivariance: snap-research/diffusability cannot be had here"),
    ]


def esm(checkouts: Checkouts) -> list[Row]:
    """Compare the paper's loss on both branches, its gradient, its distributions, and RMS spatial contrast."""
    made = []
    for peer in ("SpectrumMatching", "SpectrumMatching-ESM"):
        losses, gradients, bands, contrasts = [], [], [], []
        with checkouts.at(peer) as load:
            theirs = load("utils_DCT")
        for (shape, side), std, delta in ((s, std, delta) for s in SHAPES for std in STDS for delta in DELTAS):
            images = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8) * 2 - 1, (side, side), mode="bicubic")
            images = (images + 0.1 * torch.randn_like(images)).clamp(-1, 1)
            latents = (std * torch.randn(2, *shape)).requires_grad_()
            loss = ESM(delta, 16, "paper")
            other = theirs.latent_spectral_reg_dct(images, latents, delta=delta)
            ours = loss(None, latents, images)
            losses.append((ours, other))
            gradients.append(tuple(torch.autograd.grad(value, latents)[0] for value in (ours, other)))
            target, actual, _ = theirs.latent_spectral_reg_dct(images, latents, delta=delta, return_dist=True)
            bands += list(zip(loss.distributions(latents, images), (target, actual), strict=True))
            contrasts += [(rmsc(latents, patch), theirs.rmsc(latents, patch)) for patch in (1, 2, 4)]
        key = "esm" if peer == "SpectrumMatching" else "esm_branch"
        made += [
            compared(f"{key}_loss", peer, "ESM, `paper`: loss", losses),
            compared(f"{key}_gradient", peer, "ESM, `paper`: gradient", gradients),
            compared(f"{key}_bands", peer, "ESM, `paper`: the two distributions", bands),
            compared(f"{key}_rmsc", peer, "RMS spatial contrast, patches of 1, 2, 4", contrasts),
        ]
    return made


def dsm(checkouts: Checkouts) -> list[Row]:
    """Compare a training step of their autoencoder with ours on the same network: masks, loss, gradients, KL."""
    peer = "SpectrumMatching"
    with checkouts.at(peer, absent=("lpips",)) as load:
        config = load("modules.config").LDMConfig(vae_channels_per_block=(32, 32), groupnorm_groups=8)
        theirs = load("modules.vae").VAE(config)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    targets, latents, losses, gradients = [], [], [], []
    for mask, keep in MASKS.items():
        torch.manual_seed(mask)
        made = theirs(images, mask, 8)
        their_loss = nn.functional.l1_loss(made["img"], made["reconstruction"])
        torch.manual_seed(mask)
        transform = Lowpass(keep, 8)
        sampled = theirs.encode(images)["posterior"]
        target, transformed = transform(images), transform(sampled)
        loss = nn.functional.l1_loss(target, theirs.forward_dec(transformed))
        targets.append((target, made["img"]))
        latents.append((transformed, made["posterior"]))
        losses.append((loss, their_loss))
        parameters = list(theirs.parameters())
        pair = (torch.autograd.grad(value, parameters) for value in (loss, their_loss))
        gradients.append(tuple(torch.cat([g.flatten() for g in one]) for one in pair))
    assert SpectralMask().keep == tuple(MASKS.values())
    mean, logvar = made["mu"], made["logvar"]
    posterior: Any = SimpleNamespace(mean=mean, logvar=logvar)
    kl = [(KL("sum")(posterior, None, None), theirs.kl_loss(mean, logvar).mean())]
    for folder in ("LightningDiT/vavae", "eqvae/train_eqvae"):
        with checkouts.at(folder) as load:
            module = load("ldm.modules.distributions.distributions")
        other = module.DiagonalGaussianDistribution(torch.cat([mean, logvar], 1)).kl()
        kl.append((KL("sum")(posterior, None, None), other.sum() / len(other)))
    return [
        compared("dsm_images", peer, "DSM, n = 0, 8, 10, 12: images", targets),
        compared("dsm_latents", peer, "DSM: latents", latents),
        compared("dsm_loss", peer, "DSM: L1 of a step through their network", losses),
        compared("dsm_gradient", peer, "DSM: gradient of its weights", gradients),
        compared("kl_sum", f"{peer}, LightningDiT, eqvae", "KL, summed over elements", kl),
    ]


def discriminators(checkouts: Checkouts) -> list[Row]:
    """Compare PatchGANs on the same weights, their first logits, and hinge losses."""
    images, made = torch.rand(4, 3, 64, 64) * 2 - 1, []
    ours = PatchDiscriminator()
    with checkouts.at("SpectrumMatching", absent=("lpips",)) as load:
        module = load("modules.discriminator")
    with checkouts.at("taming-transformers", absent=("taming.modules.losses.lpips",)) as load:
        taming = load("taming.modules.losses.vqperceptual")
    theirs = {"SpectrumMatching": module.PatchGAN(), "taming-transformers": taming.NLayerDiscriminator()}
    for peer, network in theirs.items():
        for mine, other in zip(ours.parameters(), network.parameters(), strict=True):
            other.data.copy_(mine.data)
        made.append(compared(f"patchgan_{peer}", peer, "PatchGAN: logits", [(ours(images), network(images))]))
    weights = torch.cat(
        [m.weight.flatten() for m in module.PatchGAN().apply(module.init_weights).model if isinstance(m, nn.Conv2d)]
    )
    stds = {"theirs": float(weights.std()), "ours": 0.02, "preset": 0.2}
    logits = {name: PatchDiscriminator(initial_std=stds[name])(images).detach() for name in ("ours", "preset")}
    ratio = float(logits["preset"].std() / logits["ours"].std())
    made.append(Row("discriminator_std", "SpectrumMatching", "first weights", values=stds | {"ratio_of_logits": ratio}))
    real, fake = (torch.randn(4, 1, 6, 6).requires_grad_() for _ in range(2))
    expression = checkouts.expression("SpectrumMatching/vae_trainer.py", "loss", "1 + fake")
    hinges = {
        "ours": hinge_discriminator_loss(real, fake),
        "SpectrumMatching": expression(F=nn.functional, real=real, fake=fake),
        "taming-transformers": taming.hinge_d_loss(real, fake),
    }
    slopes = {name: torch.cat(torch.autograd.grad(loss, [real, fake])) for name, loss in hinges.items()}
    made.append(
        compared(
            "hinge",
            "taming-transformers",
            "hinge loss and its gradient",
            [(each["ours"], each["taming-transformers"]) for each in (hinges, slopes)],
        )
    )
    values = {
        "loss": float(hinges["SpectrumMatching"] / hinges["ours"]),
        "gradient": float(slopes["SpectrumMatching"].norm() / slopes["ours"].norm()),
        "largest_slope": float(slopes["SpectrumMatching"].abs().max() * slopes["SpectrumMatching"][:4].numel()),
        "largest_slope_ours": float(slopes["ours"].abs().max() * slopes["ours"][:4].numel()),
    }
    made.append(Row("hinge_factor", "SpectrumMatching", "their hinge loss over ours", values=values))
    return made


class Recorded(nn.Module):
    """Takes the place of EQ-VAE's loss, to see what its training step compares."""

    def forward(self, inputs: Tensor, reconstructions: Tensor, posterior: Any, *_: Any, **__: Any) -> Any:
        """Keep what was given."""
        self.inputs, self.reconstructions, self.posterior = inputs, reconstructions, posterior
        return reconstructions.sum(), {}


def eq_vae(checkouts: Checkouts) -> list[Row]:
    """Compare EQ-VAE's training step: what becomes of latents and images, and how often."""
    peer, folder = "eqvae", "eqvae/train_eqvae"
    sizes = {"double_z": True, "z_channels": 4, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32}
    sizes |= {"ch_mult": [1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    with checkouts.at(folder, absent=("taming.modules.vqvae.quantize",)) as load:
        theirs = load("ldm.models.autoencoder").AutoencoderKL(sizes, {"target": "torch.nn.Identity"}, 4)
    theirs.loss, theirs.log, theirs.log_dict = Recorded(), lambda *_, **__: None, lambda *_, **__: None
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    theirs.get_input = lambda *_: images
    seen: Counter[str] = Counter()
    decoded, targets = [], []
    with torch.no_grad():
        for seed in range(24):
            random.seed(seed)
            torch.manual_seed(seed)
            theirs.training_step({}, 0, 0)
            random.seed(seed)
            torch.manual_seed(seed)
            kind, scale, turns = eq_vae_draw()
            mine = ScaleTurn(scale, 32, 4 - turns)  # theirs turn the other way round
            before = mine(images) if kind == "image" else images
            z = theirs.encode(before).sample()
            decoded.append((theirs.decode(mine(z) if kind == "latent" else z), theirs.loss.reconstructions))
            targets.append((mine(images) if kind == "latent" else before, theirs.loss.inputs))
        random.seed(0)
        for _ in range(N_DRAWS):
            seen[eq_vae_draw()[0]] += 1
    method, generator = zoo.eq_vae(), torch.Generator().manual_seed(0)
    draws = [method.draw(generator, (32, 32)) for _ in range(N_DRAWS)]
    shared = sum(isinstance(draw.shared, ScaleTurn) for draw in draws) / N_DRAWS
    before_encoding = sum(isinstance(draw.before, ScaleTurn) for draw in draws) / N_DRAWS
    shares = {"latent": seen["latent"] / N_DRAWS, "image": seen["image"] / N_DRAWS}
    noise, left = torch.randn(64, 4, 32, 32), {}
    theirs.encode, theirs.decode = lambda _: SimpleNamespace(sample=lambda: noise), lambda z: z
    for name, scale in (("quarter", 8), ("half", 16), ("largest", 31)):
        both = {"theirs": theirs(images, scale / 32)[2], "ours": ScaleTurn(scale, 32)(noise)}
        both["bicubic_antialiased"] = ScaleTurn(scale, 32, 0, "bicubic", antialias=True)(noise)
        left[name] = {key: float(each.var()) for key, each in both.items()}
    whole = {str(side): sum(side * n % 32 == 0 for n in ScaleRotate().scales) for side in (8, 32)}
    return [
        compared("eq_vae_images", peer, "EQ-VAE's training step: images compared", targets),
        compared("eq_vae_decoded", peer, "EQ-VAE's training step: decoded latents", decoded),
        Row(
            "eq_vae_shares",
            peer,
            "steps with a transform, and of images before encoding",
            values=shares | {"ours_latent": shared, "ours_image": before_encoding},
        ),
        Row("eq_vae_noise", peer, "variance of white noise that a scale leaves", values=left),
        Row("eq_vae_scales", peer, "scales that give whole latents, of 24", values=whole),
    ]


def eq_vae_draw() -> tuple[str, int, int]:
    """Draw as EQ-VAE's training step does, in its order: kind of step, scale × 32, quarter turns."""
    if random.random() < 0.5:
        return "latent", int(32 * random.choice([s / 32 for s in range(8, 32)])), random.choice([1, 2, 3])
    if random.random() < 0.25:
        return "image", int(32 * random.choice([s / 32 for s in range(8, 32)])), 0
    return "none", 32, 0


def va_vae(checkouts: Checkouts) -> list[Row]:
    """Compare VA-VAE's loss on features, its gradient and its balanced weight."""
    peer = "LightningDiT"
    folders, absent = ("LightningDiT/vavae", "taming-transformers"), ("taming.modules.losses.lpips",)
    losses, gradients, weights = [], [], []
    term = zoo.va_vae(nn.Identity(), 8, 8).terms[1]
    with checkouts.at(*folders, absent=absent) as load:
        module = load("ldm.modules.losses.contperceptual")
        module.LPIPS = nn.Identity  # needs weights of VGG; its part of the loss is switched off
        theirs = module.LPIPSWithDiscriminator(
            10**9,
            perceptual_weight=0,
            vf_weight=term.weight,
            adaptive_vf=True,
            cos_margin=0.5,
            distmat_margin=0.25,
            pp_style=True,
        )
    for shape in ((2, 32, 8, 8), (2, 16, 16, 16), (1, 64, 4, 4)):
        last, last_encoder = torch.randn(3, 3, requires_grad=True), torch.randn(shape[1], shape[1], requires_grad=True)
        features, inputs = torch.randn(shape), torch.rand(shape[0], 3, 32, 32)
        z = torch.einsum("oc,bchw->bohw", last_encoder, features + torch.randn(shape))
        output = torch.einsum("oc,bchw->bohw", last, inputs) + z.mean()
        posterior = SimpleNamespace(kl=lambda no_sum=True: torch.zeros(()))
        _, log = theirs(
            inputs,
            output,
            posterior,
            0,
            0,
            last_layer=last,
            z=z,
            aux_feature=features,
            enc_last_layer=last_encoder,
            split="train",
        )
        mine = sum(feature_gap(z, features))
        losses.append((mine, log["train/vf_loss"]))
        slope = torch.autograd.grad((inputs - output).abs().mean(), output, retain_graph=True)[0]
        ours = balance([term], {term.name: mine}, output, slope, last_encoder, Accelerator(cpu=True))
        weights.append((ours[term.name], log["train/vf_weight"]))
        theirs.adaptive_vf, theirs.vf_weight = False, 1.0  # of a reconstruction without a graph, the total is this loss
        total, _ = theirs.eval()(inputs, output.detach(), posterior, 0, 0, last_layer=last, z=z, aux_feature=features)
        theirs.adaptive_vf, theirs.vf_weight = True, term.weight
        theirs.train()
        pair = (torch.autograd.grad(loss, last_encoder, retain_graph=True)[0] for loss in (mine, total))
        gradients.append(tuple(pair))
    note = "LPIPS needs weights of VGG and is switched off"
    return [
        compared("va_vae_loss", peer, "VA-VAE's loss on features", losses, note),
        compared("va_vae_gradient", peer, "VA-VAE's loss on features: gradient", gradients, note),
        compared("va_vae_weight", peer, "VA-VAE's balanced weight, with a mean reconstruction", weights, note),
    ]
