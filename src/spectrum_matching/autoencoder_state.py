"""What a training of an autoencoder holds from step to step, and how it is built from a run."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from .methods.method import Method, Reconstruction, reconstruct
from .nets.autoencoder import Autoencoder
from .nets.discriminator import PatchCritic
from .runs import AutoencoderRun
from .updates import adamw


class Reconstructor(nn.Module):
    """One forward for encoder, move, decoder and encoding losses, so that a distributed wrapper sees all of it."""

    def __init__(self, autoencoder: Autoencoder, method: Method, sample: bool, bf16: bool) -> None:
        super().__init__()
        self.autoencoder, self.method, self.sample, self.bf16 = autoencoder, method, sample, bf16
        # Losses that own weights are trained and saved with the autoencoder, where they are computed.
        self.terms = nn.ModuleList(t.loss for t in method.terms if t.weight and isinstance(t.loss, nn.Module))

    def forward(self, images: Tensor, generator: torch.Generator) -> tuple[Reconstruction, dict[str, Tensor]]:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            made = reconstruct(self.autoencoder, self.method, images, generator, self.sample)
        return made, self.method.encoding_losses(made.posterior, made.latents, images)


@dataclass
class TrainingState:
    """All that a checkpoint must hold: random numbers and data position follow from `step` alone."""

    reconstructor: Reconstructor
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None
    critic: PatchCritic | None
    critic_optimizer: torch.optim.Optimizer | None
    step: int = 0
    skipped: int = 0

    @property
    def autoencoder(self) -> Autoencoder:
        return self.reconstructor.autoencoder

    def _parts(self) -> dict[str, Any]:
        parts = {
            "reconstructor": self.reconstructor,
            "optimizer": self.optimizer,
            "ema": self.ema,
            "critic": self.critic,
            "critic_optimizer": self.critic_optimizer,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "step": self.step,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`, in place."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        if self.ema is not None:  # unlike the others it takes the loaded tensors as they lie
            self.ema.to(self.autoencoder.last_layer.device)
        self.step, self.skipped = state["step"], state["skipped"]


def open_autoencoder(run: AutoencoderRun) -> Autoencoder:
    """As the run says, on the CPU: new, or one to fine-tune."""
    if run.network.pretrained:
        return Autoencoder.from_pretrained(run.network.pretrained)
    return Autoencoder.from_preset(run.network.preset, seed=run.seed)


def build_state(run: AutoencoderRun, autoencoder: Autoencoder, method: Method, device: torch.device) -> TrainingState:
    """The state at step 0: critic, optimizers and averages as the run says."""
    autoencoder.train_only(run.network.train)
    critic = PatchCritic(3, run.adversary.width, run.adversary.depth, seed=run.seed) if run.adversary.weight else None
    reconstructor = Reconstructor(autoencoder, method, run.sample_posterior, run.precision == "bf16").to(device)
    if critic is not None:
        critic.to(device)
    for net in (reconstructor, critic):
        if net is not None and run.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    ema = None
    if run.optimizer.ema:
        ema = EMAModel(autoencoder.parameters(), decay=run.optimizer.ema, foreach=True)
    return TrainingState(
        reconstructor,
        adamw(reconstructor, run.optimizer),
        ema,
        critic,
        adamw(critic, run.optimizer, run.adversary.lr) if critic is not None else None,
    )
