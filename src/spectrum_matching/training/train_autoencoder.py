"""Train an autoencoder by any method: a generator that yields a record for each generator update."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch._functorch.config
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..data.images import ImageBatch
from ..methods.method import Method, Reconstruction, Term, reconstruct
from ..nets.autoencoder import Autoencoder
from ..nets.discriminator import PatchDiscriminator, hinge_discriminator, hinge_generator
from ..nets.vision.perceptual import LPIPS
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun
from .optimization import StepRecord, adamw, diverged, finite_everywhere, set_learning_rate


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
    discriminator: PatchDiscriminator | None
    discriminator_optimizer: torch.optim.Optimizer | None
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
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
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


def train_autoencoder(
    run: AutoencoderRun,
    state: TrainingState,
    batches: Iterator[ImageBatch],
    accelerator: Accelerator,
    perceptual: LPIPS | None = None,
) -> Iterator[StepRecord]:
    """Advance `state` from its step to `run.steps`, one generator update for each batch of this process's images.

    A step whose loss or gradient is not finite changes nothing and is marked as skipped; DivergedError is raised after
    `run.max_bad_steps` of them in a row.
    """
    model = accelerator.prepare_model(state.reconstructor)
    discriminator = None if state.discriminator is None else accelerator.prepare_model(state.discriminator)
    if run.compile:
        compile_parts(state, perceptual)
    moved = [p for p in state.reconstructor.parameters() if p.requires_grad]
    bad_in_a_row = 0
    while state.step < run.steps:
        started = time.perf_counter()
        batch = next(batches)
        data_time = time.perf_counter() - started
        layout = torch.channels_last if run.channels_last else torch.contiguous_format
        micro_batches = batch.images.to(accelerator.device, memory_format=layout, non_blocking=True).chunk(
            run.accumulation
        )
        lr = set_learning_rate(state.optimizer, run.optimizer.lr, state.step, run.optimizer.warmup)
        adversarial = discriminator is not None and state.step >= run.discriminator.start
        generator = seeded("step", run.seed, accelerator.process_index, state.step)
        totals: dict[str, Tensor] = {}
        for i, images in enumerate(micro_batches):
            last = i == len(micro_batches) - 1
            with nullcontext() if last else accelerator.no_sync(model):
                made, losses = generator_backward(
                    run, model, state, images, generator, accelerator, perceptual, adversarial, len(micro_batches)
                )
            if adversarial:
                assert discriminator is not None
                with nullcontext() if last else accelerator.no_sync(discriminator):
                    losses |= discriminator_backward(run, discriminator, made, accelerator, len(micro_batches))
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value / len(micro_batches)

        norm = torch.nn.utils.clip_grad_norm_(moved, run.optimizer.clip or math.inf)
        finite = norm.isfinite() & torch.stack(list(totals.values())).isfinite().all()
        if adversarial:
            assert state.discriminator is not None
            finite &= torch.nn.utils.clip_grad_norm_(
                state.discriminator.parameters(), run.optimizer.clip or math.inf
            ).isfinite()
        skipped = not finite_everywhere(finite, accelerator)
        if skipped:
            state.skipped += 1
            bad_in_a_row += 1
        else:
            bad_in_a_row = 0
            state.optimizer.step()
            if state.ema is not None:
                state.ema.step(state.autoencoder.parameters())
            if adversarial:
                assert state.discriminator_optimizer is not None
                state.discriminator_optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        if state.discriminator_optimizer is not None:
            state.discriminator_optimizer.zero_grad(set_to_none=True)
        state.step += 1
        elapsed = time.perf_counter() - started
        yield StepRecord(
            state.step, totals, repr(made.transform), lr, float(norm), skipped, elapsed, data_time, tuple(batch.bad)
        )
        if bad_in_a_row >= run.max_bad_steps:
            raise diverged(bad_in_a_row, totals)


def generator_backward(
    run: AutoencoderRun,
    model: nn.Module,
    state: TrainingState,
    images: Tensor,
    generator: torch.Generator,
    accelerator: Accelerator,
    perceptual: LPIPS | None,
    adversarial: bool,
    n_micro: int,
) -> tuple[Reconstruction, dict[str, Tensor]]:
    """Accumulate the autoencoder's gradient of one micro-batch; its losses, detached."""
    made, losses = model(images, generator)
    output = made.output.float()
    reconstruction, parts = reconstruction_loss(run, output, made.target, perceptual)
    adaptive = adversarial and run.discriminator.adaptive
    balanced = [term for term in balanced_terms(state) if term.name in losses]
    weights: dict[str, Tensor] = {}
    total = reconstruction
    if adaptive or balanced:
        # Gradients at the output are taken once and reused for the backward pass below.
        pull = torch.autograd.grad(reconstruction, output)[0]
        total = (output * pull).sum()
    if balanced:
        weights = balance(balanced, losses, output, pull, state.autoencoder.encoder_last_layer, accelerator)
    encoding = state.reconstructor.method.weigh(losses, weights)
    losses = {**parts, **losses} | {f"{name}_weight": weight for name, weight in weights.items()}
    if adversarial:
        assert state.discriminator is not None
        state.discriminator.requires_grad_(False)  # its own gradient belongs to discriminator_backward
        with autocast(run, output):
            discriminator = hinge_generator(state.discriminator(output))
        state.discriminator.requires_grad_(True)
        losses["adversarial"] = discriminator
        if adaptive:
            push = torch.autograd.grad(discriminator, output)[0]
            last_layer = state.autoencoder.last_layer
            norms = [torch.autograd.grad(output, last_layer, g, retain_graph=True)[0].norm() for g in (pull, push)]
            weight = run.discriminator.weight * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4)
            losses["adversarial_weight"] = weight
            total = (output * (pull + weight * push)).sum()
        else:
            total = total + run.discriminator.weight * discriminator
    total = total + encoding
    accelerator.backward(total / n_micro)
    return made, {name: value.detach() for name, value in losses.items()}


def balanced_terms(state: TrainingState) -> list[Term]:
    """The method's terms that are weighed against the reconstruction at each step."""
    return [term for term in state.reconstructor.method.terms if term.balanced and term.weight]


def balance(
    terms: Sequence[Term],
    losses: dict[str, Tensor],
    output: Tensor,
    pull: Tensor,
    layer: Tensor,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """The weight of each term times the ratio of gradients at `layer`: of the reconstruction to its own, by name.

    pull: the reconstruction's gradient at `output`. Gradients are those of a micro-batch over all processes.
    """

    def norm(y: Tensor, gradient: Tensor | None = None) -> Tensor:
        at_layer = torch.autograd.grad(y, layer, gradient, retain_graph=True)[0]
        return accelerator.reduce(at_layer, "mean").norm()

    pulling = norm(output, pull)
    return {t.name: t.weight * (pulling / (norm(losses[t.name]) + 1e-4)).clamp(0, 1e8) for t in terms}


def reconstruction_loss(
    run: AutoencoderRun, output: Tensor, target: Tensor, perceptual: LPIPS | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the terms whose weight is not 0, and each of them by name."""
    parts: dict[str, Tensor] = {}
    if run.losses.l1:
        parts["l1"] = (output - target).abs().mean()
    if run.losses.l2:
        parts["l2"] = (output - target).square().mean()
    if run.losses.perceptual:
        assert perceptual is not None
        with autocast(run, output):
            parts["perceptual"] = perceptual(output, target).mean()
    weights = {"l1": run.losses.l1, "l2": run.losses.l2, "perceptual": run.losses.perceptual}
    return torch.stack([weights[name] * value for name, value in parts.items()]).sum(), parts


def discriminator_backward(
    run: AutoencoderRun, discriminator: nn.Module, made: Reconstruction, accelerator: Accelerator, n_micro: int
) -> dict[str, Tensor]:
    """Accumulate the discriminator's gradient on images already decoded: no encoder or decoder runs for it."""
    with autocast(run, made.target):
        real, fake = discriminator(made.target), discriminator(made.output.detach().float())
    loss = hinge_discriminator(real, fake)
    accelerator.backward(loss / n_micro)
    return {"discriminator": loss.detach(), "logits_real": real.detach().mean(), "logits_fake": fake.detach().mean()}


def compile_parts(state: TrainingState, perceptual: LPIPS | None) -> None:
    """Compile all networks, in parts that leave out the layers at which gradients are compared.

    A gradient at the last layer of a network compiled whole would cost a backward pass through all of it.
    """
    encoder, decoder = state.autoencoder.model.encoder, state.autoencoder.model.decoder
    encoding = [encoder]
    if balanced_terms(state):
        encoding = [*encoder.down_blocks, encoder.mid_block]
        # The decoder runs backward twice: once for the gradient at the encoder's last layer.
        torch._functorch.config.donated_buffer = False
    for part in (*encoding, decoder.mid_block, *decoder.up_blocks, state.discriminator, perceptual):
        if part is not None:
            part.compile()


def autocast(run: AutoencoderRun, like: Tensor) -> torch.autocast:
    """The run's precision, for networks that the reconstructor does not run."""
    return torch.autocast(like.device.type, torch.bfloat16, enabled=run.precision == "bf16")


def open_autoencoder(run: AutoencoderRun) -> Autoencoder:
    """As the run says, on the CPU: new, or one to fine-tune."""
    if run.network.pretrained:
        return Autoencoder.from_pretrained(run.network.pretrained)
    return Autoencoder.from_preset(run.network.preset, seed=run.seed)


def build_state(run: AutoencoderRun, autoencoder: Autoencoder, method: Method, device: torch.device) -> TrainingState:
    """The state at step 0: discriminator, optimizers and averages as the run says."""
    autoencoder.train_only(run.network.train)
    choice, discriminator = run.discriminator, None
    if choice.weight:
        discriminator = PatchDiscriminator(3, choice.width, choice.depth, seed=run.seed).to(device)
    reconstructor = Reconstructor(autoencoder, method, run.sample_posterior, run.precision == "bf16").to(device)
    for net in (reconstructor, discriminator):
        if net is not None and run.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    ema = None
    if run.optimizer.ema:
        ema = EMAModel(autoencoder.parameters(), decay=run.optimizer.ema, foreach=True)
    return TrainingState(
        reconstructor,
        adamw(reconstructor, run.optimizer),
        ema,
        discriminator,
        adamw(discriminator, run.optimizer, run.discriminator.lr) if discriminator is not None else None,
    )
