"""Train an autoencoder of one's own by ESM and DSM, in plain PyTorch, and measure its latents on the way.

python examples/train_plain.py
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from spectrum_matching.analysis import analyze, numbers
from spectrum_matching.data import open_images
from spectrum_matching.methods import esm_dsm, reconstruct


class MyAutoencoder(nn.Module):
    """Images (b, 3, H, W) in [-1, 1] to mean and logvar of latents (b, 8, H / 4, W / 4), and back."""

    def __init__(self) -> None:
        super().__init__()
        half = {"kernel_size": 4, "stride": 2, "padding": 1}
        self.encoder = nn.Sequential(nn.Conv2d(3, 32, **half), nn.SiLU(), nn.Conv2d(32, 16, **half))
        self.decoder = nn.Sequential(nn.ConvTranspose2d(8, 32, **half), nn.SiLU(), nn.ConvTranspose2d(32, 3, **half))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.encoder(images).chunk(2, dim=1)
        return mean, logvar

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)


def stacked(rows: list) -> Tensor:
    return torch.stack([row.image for row in rows])


def main(steps: int = 300, every: int = 100) -> list[dict[str, float]]:
    training, held_out = (open_images("embedded", 32, split=split) for split in ("train", "held_out"))
    loader = DataLoader(training, 8, sampler=RandomSampler(training, num_samples=8 * steps), collate_fn=stacked)
    validation = stacked([held_out[i] for i in range(16)])
    model, method = MyAutoencoder(), esm_dsm(esm_weight=0.1)
    optimizer, generator = torch.optim.AdamW(model.parameters(), lr=2e-3), torch.Generator().manual_seed(0)
    history = []
    for step, images in enumerate(loader, 1):
        result = reconstruct(model, method, images, generator)
        losses = method.encoding_losses(result.posterior, result.latents, result.images)
        loss = (result.output - result.target).abs().mean() + method.weigh(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0:
            history.append(numbers(analyze(model, validation, n_tests=4), prefix="val/"))
            psnr, delta = history[-1]["val/psnr"], history[-1]["val/best_delta"]
            print(f"step {step}: loss {loss.item():.3f}, PSNR {psnr:.1f} dB, best delta {delta:.2f}")
    return history


if __name__ == "__main__":
    main()
