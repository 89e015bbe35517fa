"""Train an autoencoder by any method: a generator that yields a record for each generator update."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch._functorch.config
from accelerate import Accelerator
from torch import Tensor, nn

from ..data.images import ImageBatch
from ..methods.encoding_losses import KL
from ..methods.method import MOST, Method, Reconstruction, Term, gradient_ratio, reconstruct
from ..nets.autoencoder import Autoencoder
from ..nets.autoencoder.padding import set_padding
from ..nets.discriminator import PatchDiscriminator, hinge_discriminator_loss, hinge_generator_loss
from ..nets.precision import Precision, autocast, loss_scaler
from ..nets.vision.perceptual import LPIPS
from .autoencoder_config import AutoencoderRun
from .distillation import Taught, Teacher, distillation_terms, new_student
from .optimization import StepRecord, TrainingState, adamw, averaged, train

VARIANTS = 64
"""Compiled variants of a class of blocks that are kept: of each block, with and without gradients, by size."""


class Reconstructor(nn.Module):
    """One forward for encoder, transform, decoder and encoding losses, so that a distributed wrapper sees all of it.

    teacher: whose latents the autoencoder learns. It is no part of this module: it is neither trained nor saved.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        method: Method,
        sample: bool,
        precision: Precision,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.autoencoder, self.method, self.sample, self.precision = autoencoder, method, sample, precision
        # Losses that have weights are trained and saved with the autoencoder, where they are computed.
        self.terms = nn.ModuleList(t.loss for t in method.terms if t.weight and isinstance(t.loss, nn.Module))

    def forward(self, images: Tensor, generator: torch.Generator) -> tuple[Reconstruction, dict[str, Tensor]]:
        """Reconstruct images (b, 3, H, W); return the unweighted encoding losses by name beside."""
        with autocast(self.precision, images.device):
            if self.teacher is None:
                result = reconstruct(self.autoencoder, self.method, images, generator, self.sample)
            else:
                taught = Taught(self.autoencoder, self.teacher, self.sample)
                result = reconstruct(taught, self.method, images, generator)
        return result, self.method.encoding_losses(result.posterior, result.latents, result.images)


@dataclass(kw_only=True)
class AutoencoderState(TrainingState):
    """The reconstructor, the discriminator if there is one, and what optimizes them."""

    reconstructor: Reconstructor
    discriminator: PatchDiscriminator | None
    discriminator_optimizer: torch.optim.Optimizer | None

    @property
    def autoencoder(self) -> Autoencoder:
        """The network that is trained and exported."""
        return self.reconstructor.autoencoder

    @property
    def exported(self) -> nn.Module:
        """The autoencoder."""
        return self.autoencoder

    @property
    def balanced_terms(self) -> list[Term]:
        """The method's terms that are weighed against the reconstruction at each step."""
        return [term for term in self.reconstructor.method.terms if term.balanced and term.weight]


def train_autoencoder(
    run: AutoencoderRun,
    state: AutoencoderState,
    batches: Iterator[ImageBatch],
    accelerator: Accelerator,
    perceptual: LPIPS | None = None,
) -> Iterator[StepRecord]:
    """Advance `state` by one generator update for each batch of this process's images; see `optimization.train`."""
    trainer = AutoencoderTrainer(run, state, accelerator, perceptual)
    if run.compile:
        compile_parts(state, perceptual)
    yield from train(run, state, trainer, batches, accelerator)


class AutoencoderTrainer:
    """Backward passes of autoencoder and discriminator on a micro-batch of images."""

    def __init__(
        self, run: AutoencoderRun, state: AutoencoderState, accelerator: Accelerator, perceptual: LPIPS | None = None
    ) -> None:
        self.run, self.state, self.accelerator, self.perceptual = run, state, accelerator, perceptual
        self.model = accelerator.prepare_model(state.reconstructor)
        self.discriminator = None if state.discriminator is None else accelerator.prepare_model(state.discriminator)
        self.networks: Sequence[nn.Module] = [net for net in (self.model, self.discriminator) if net is not None]

    def split(self, batch: ImageBatch, step: int) -> Sequence[Tensor]:
        """Return the images of each micro-batch, on the device."""
        layout = torch.channels_last if self.run.channels_last else torch.contiguous_format
        images = batch.images.to(self.accelerator.device, memory_format=layout, non_blocking=True)
        return images.chunk(self.run.accumulation)

    def backward(
        self, micro_batch: Tensor, step: int, generator: torch.Generator, n_micro: int
    ) -> tuple[dict[str, Tensor], str]:
        """Accumulate the gradients of the autoencoder and, once it has started, of the discriminator."""
        is_adversarial = self.discriminator is not None and step >= self.run.discriminator.start
        result, losses = self.generator_backward(micro_batch, generator, is_adversarial, n_micro)
        if is_adversarial:
            losses |= self.discriminator_backward(result, n_micro)
        return losses, str(result.draw)

    def generator_backward(
        self, images: Tensor, generator: torch.Generator, is_adversarial: bool, n_micro: int
    ) -> tuple[Reconstruction, dict[str, Tensor]]:
        """Accumulate the autoencoder's gradient; return its losses, detached."""
        options, autoencoder = self.run.discriminator, self.state.autoencoder
        result, losses = self.model(images, generator)
        output = result.output.float()
        reconstruction, parts = self.reconstruction_loss(output, result.target)
        is_adaptive = is_adversarial and options.adaptive
        balanced = [term for term in self.state.balanced_terms if term.name in losses]
        weights: dict[str, Tensor] = {}
        # All gradients are those of losses times this, also those that are compared: fp16 would lose small ones.
        scale = self.state.scale_loss(torch.ones((), device=output.device))
        total = reconstruction = scale * reconstruction
        if is_adaptive or balanced:
            # Gradients at the output are computed once and reused for the backward pass below.
            reconstruction_grad = torch.autograd.grad(reconstruction, output)[0]
            total = (output * reconstruction_grad).sum()
        if balanced:
            layer = autoencoder.layers.encoder_output
            assert layer is not None  # which the checks before the start have made sure of
            weights = balance(balanced, losses, output, reconstruction_grad, layer, self.accelerator, scale)
        method = self.state.reconstructor.method
        encoding = method.weigh(losses, weights)
        if result.added is not None and method.added is not None:
            parts["added"], _ = self.reconstruction_loss(result.added.output.float(), result.added.target)
            encoding = encoding + method.added.weight * parts["added"]
        losses = {**parts, **losses} | {f"{name}_weight": weight for name, weight in weights.items()}
        if is_adversarial:
            # The distributed wrapper is left out: the discriminator's gradient belongs to discriminator_backward.
            discriminator = self.accelerator.unwrap_model(self.discriminator)
            discriminator.requires_grad_(False)
            with self.autocast():
                adversarial = hinge_generator_loss(discriminator(output))
            discriminator.requires_grad_(True)
            losses["adversarial"] = adversarial
            if is_adaptive:
                adversarial_grad = torch.autograd.grad(scale * adversarial, output)[0]
                last = autoencoder.layers.decoder_output
                assert last is not None  # as above
                norms = [
                    torch.autograd.grad(output, last, grad, retain_graph=True)[0].norm() / scale
                    for grad in (reconstruction_grad, adversarial_grad)
                ]
                weight = options.weight * gradient_ratio(norms[0], norms[1], 1e4)
                losses["adversarial_weight"] = weight
                total = (output * (reconstruction_grad + weight * adversarial_grad)).sum()
            else:
                total = total + scale * options.weight * adversarial
        self.accelerator.backward((total + scale * encoding) / n_micro)
        return result, {name: value.detach() for name, value in losses.items()}

    def reconstruction_loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the terms whose weight is not 0, and each of them by name."""
        weights, parts = self.run.losses, {}
        if weights.l1:
            parts["l1"] = (output - target).abs().mean()
        if weights.l2:
            parts["l2"] = (output - target).square().mean()
        if weights.perceptual:
            assert self.perceptual is not None
            with self.autocast():
                parts["perceptual"] = self.perceptual(output, target).mean()
        return torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum(), parts

    def discriminator_backward(self, result: Reconstruction, n_micro: int) -> dict[str, Tensor]:
        """Accumulate the discriminator's gradient on images already decoded: no encoder or decoder runs for it."""
        assert self.discriminator is not None
        with self.autocast():
            real, fake = self.discriminator(result.target), self.discriminator(result.output.detach().float())
        loss = hinge_discriminator_loss(real, fake)
        self.accelerator.backward(self.state.scale_loss(loss / n_micro))
        return {
            "discriminator": loss.detach(),
            "logits_real": real.detach().mean(),
            "logits_fake": fake.detach().mean(),
        }

    def autocast(self) -> torch.autocast:
        """Return the run's precision, for networks that the reconstructor does not run."""
        return autocast(self.run.precision, self.accelerator.device)


def balance(
    terms: Sequence[Term],
    losses: dict[str, Tensor],
    output: Tensor,
    reconstruction_grad: Tensor,
    layer: Tensor,
    accelerator: Accelerator,
    scale: Tensor | float = 1.0,
) -> dict[str, Tensor]:
    """Return each term's weight times the ratio of two gradients at `layer`, by name: the reconstruction's to its own.

    reconstruction_grad: at `output`, times `scale`, which keeps gradients of fp16 from vanishing on their way to
    `layer`. Gradients are those of a micro-batch over all processes. NaN where a gradient is not finite.
    """

    def norm(y: Tensor, gradient: Tensor | None = None) -> Tensor:
        at_layer = torch.autograd.grad(y, layer, gradient, retain_graph=True)[0]
        return accelerator.reduce(at_layer, "mean").norm() / scale

    reconstruction = norm(output, reconstruction_grad)
    return {t.name: t.weight * gradient_ratio(reconstruction, norm(scale * losses[t.name]), MOST) for t in terms}


def compile_parts(state: AutoencoderState, perceptual: LPIPS | None) -> None:
    """Compile all networks, in parts that leave out the layers at which gradients are compared.

    A gradient at the last layer of a network compiled whole would cost a backward pass through all of it.
    """
    layers = state.autoencoder.layers
    # Blocks of one class share their compiled variants: beyond the limit, 8 by default, the others would run eagerly.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    if state.balanced_terms:
        # The decoder runs backward twice: once for the gradient at the encoder's last layer.
        torch._functorch.config.donated_buffer = False
    for part in (*layers.encoder_blocks, *layers.decoder_blocks, state.discriminator, perceptual):
        if part is not None:
            part.compile()


def open_autoencoder(run: AutoencoderRun, teacher: Teacher | None = None) -> Autoencoder:
    """Open the run's autoencoder on the CPU: one to fine-tune, a new student of a teacher, or a new one."""
    if run.network.pretrained:
        return Autoencoder.from_pretrained(run.network.pretrained)
    if teacher is not None:
        return new_student(teacher, run.distillation.width, run.seed)
    return Autoencoder.from_preset(run.network.preset, seed=run.seed)


def variance_terms(method: Method) -> list[str]:
    """Return the names of a method's losses that weigh the variance of the posterior."""
    return [term.name for term in method.terms if term.weight and isinstance(term.loss, KL)]


def build_state(
    run: AutoencoderRun, autoencoder: Autoencoder, method: Method, device: torch.device, teacher: Teacher | None = None
) -> AutoencoderState:
    """Build the state at step 0, with discriminator, optimizers and averaged weights as the run says.

    Raises:
        ValueError: where the autoencoder lacks what the run asks for.
    """
    if run.network.train == "all":
        taught = distillation_terms(run.distillation) if teacher else ()
        method = replace(method, terms=(*method.terms, *autoencoder.terms, *taught))
    if run.network.padding:
        mode: str = run.network.padding
        set_padding(autoencoder.model, (mode if run.network.train == "all" else "", mode))
    # A student's samples are its teacher's.
    uses_variance = teacher is None and (run.sample_posterior or bool(variance_terms(method)))
    autoencoder.train_only(run.network.train, variance=uses_variance)
    if run.gradient_checkpointing:
        autoencoder.checkpoint_gradients()
    reconstructor = Reconstructor(autoencoder, method, run.sample_posterior, run.precision, teacher).to(device)
    choice, discriminator = run.discriminator, None
    if choice.weight:
        discriminator = PatchDiscriminator(3, choice.width, choice.depth, run.seed, choice.initial_std).to(device)
    for net in (reconstructor, discriminator):
        if net is not None and run.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return AutoencoderState(
        reconstructor=reconstructor,
        optimizer=adamw(reconstructor, run.optimizer),
        ema=averaged(autoencoder, run.optimizer),
        scaler=loss_scaler(run.precision, device),
        discriminator=discriminator,
        discriminator_optimizer=None if discriminator is None else adamw(discriminator, run.optimizer, choice.lr),
    )
