"""ESM and DSM in a loop like that of diffusers' own VAE script: three lines added, and one term of the loss.

    python examples/train_diffusers.py

The names are those of train_autoencoderkl.py among diffusers' research projects, where the same lines go.
"""

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler

from spectrum_matching import ESM, SpectralMask
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder

esm, dsm, generator = ESM(), SpectralMask(), torch.Generator().manual_seed(0)


def stacked(rows: list) -> Tensor:
    return torch.stack([row.image for row in rows])


def main(steps: int = 300, kl_scale: float = 1e-6) -> list[dict[str, float]]:
    accelerator = Accelerator()
    training = open_images("embedded", 32, split="train")
    sampler = RandomSampler(training, num_samples=8 * steps)
    train_dataloader = DataLoader(training, batch_size=8, sampler=sampler, collate_fn=stacked)
    vae = Autoencoder.from_preset("tiny").model  # AutoencoderKL.from_pretrained(…)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3)
    vae, optimizer, train_dataloader = accelerator.prepare(vae, optimizer, train_dataloader)
    history = []
    for step, targets in enumerate(train_dataloader):
        posterior = accelerator.unwrap_model(vae).encode(targets).latent_dist
        latents = posterior.sample()
        esm_loss = esm(posterior, latents, targets)  # added
        transform = dsm.draw(generator, grid=latents.shape[-2:])  # added
        latents, targets = transform(latents), transform(targets)  # added
        reconstructions = accelerator.unwrap_model(vae).decode(latents).sample
        rec_loss = F.l1_loss(reconstructions.float(), targets.float())
        kl_loss = posterior.kl().mean()
        loss = rec_loss + kl_scale * kl_loss + 0.1 * esm_loss  # its last term added
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        history.append({"rec_loss": rec_loss.item(), "esm_loss": esm_loss.item()})
        accelerator.log(history[-1], step=step)
    return history


if __name__ == "__main__":
    main()
