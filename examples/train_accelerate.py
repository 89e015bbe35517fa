"""Train a VAE of diffusers by ESM and DSM with Accelerate: one process or many, also in mixed precision.

python examples/train_accelerate.py
torchrun --nproc_per_node 8 examples/train_accelerate.py
"""

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from spectrum_matching.analysis import analyze, numbers
from spectrum_matching.data import open_images
from spectrum_matching.methods import esm_dsm, reconstruct
from spectrum_matching.nets.autoencoder import Autoencoder


def stacked(rows: list) -> Tensor:
    return torch.stack([row.image for row in rows])


def main(steps: int = 300, every: int = 100) -> list[dict[str, float]]:
    accelerator = Accelerator()
    training, held_out = (open_images("embedded", 32, split=split) for split in ("train", "held_out"))
    loader = DataLoader(training, 8, sampler=RandomSampler(training, num_samples=8 * steps), collate_fn=stacked)
    validation = stacked([held_out[i] for i in range(16)])
    vae = Autoencoder.from_preset("tiny").model  # a diffusers.AutoencoderKL
    vae, optimizer, loader = accelerator.prepare(vae, torch.optim.AdamW(vae.parameters(), lr=1e-3), loader)
    method = esm_dsm(esm_weight=0.1)
    generator = torch.Generator().manual_seed(accelerator.process_index)
    history = []
    for step, images in enumerate(loader, 1):
        with accelerator.autocast():
            result = reconstruct(vae, method, images, generator)  # as the wrapper's forward: gradients are averaged
        losses = method.encoding_losses(result.posterior, result.latents, result.images)
        accelerator.backward((result.output - result.target).abs().mean() + method.weigh(losses))
        optimizer.step()
        optimizer.zero_grad()
        if step % every == 0 and accelerator.is_main_process:
            history.append(numbers(analyze(vae, validation, n_tests=4), prefix="val/"))
            accelerator.log(history[-1], step=step)
    return history


if __name__ == "__main__":
    main()
