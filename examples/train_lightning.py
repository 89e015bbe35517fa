"""Train a VAE of diffusers by ESM and DSM with Lightning, and log how easy its latents are to diffuse.

python examples/train_lightning.py
"""

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from spectrum_matching.analysis import analyze, numbers
from spectrum_matching.data import open_images
from spectrum_matching.methods import esm_dsm, reconstruct
from spectrum_matching.nets.autoencoder import Autoencoder


class SpectrumMatching(lightning.LightningModule):
    def __init__(self, validation: Tensor, every: int) -> None:
        super().__init__()
        self.vae = Autoencoder.from_preset("tiny").model  # a diffusers.AutoencoderKL
        self.method, self.validation, self.every = esm_dsm(esm_weight=0.1), validation, every

    def on_fit_start(self) -> None:
        self.generator = torch.Generator().manual_seed(self.global_rank)

    def training_step(self, images: Tensor, batch_index: int) -> Tensor:
        result = reconstruct(self.vae, self.method, images, self.generator)
        losses = self.method.encoding_losses(result.posterior, result.latents, result.images)
        self.log_dict(losses)
        return (result.output - result.target).abs().mean() + self.method.weigh(losses)

    def on_train_batch_end(self, outputs: object, images: Tensor, batch_index: int) -> None:
        if self.global_step % self.every == 0 and self.trainer.is_global_zero:
            found = numbers(analyze(self.vae, self.validation, n_tests=4), prefix="val/")
            self.log_dict(found, rank_zero_only=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def stacked(rows: list) -> Tensor:
    return torch.stack([row.image for row in rows])


def main(steps: int = 300, every: int = 100, **options: object) -> list[dict[str, float]]:
    training, held_out = (open_images("embedded", 32, split=split) for split in ("train", "held_out"))
    loader = DataLoader(training, 8, sampler=RandomSampler(training, num_samples=8 * steps), collate_fn=stacked)
    trainer = lightning.Trainer(max_epochs=1, **options)
    trainer.fit(SpectrumMatching(stacked([held_out[i] for i in range(16)]), every), loader)
    return [{name: float(value) for name, value in trainer.logged_metrics.items()}]


if __name__ == "__main__":
    main()
