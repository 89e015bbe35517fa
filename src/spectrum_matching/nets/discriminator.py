"""The PatchGAN discriminator of pix2pix (Isola et al., 2017), with the hinge losses (Lim & Ye, 2017)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchDiscriminator(nn.Module):
    """Images (b, in_channels, H, W) to one logit for each overlapping patch, (b, 1, H / 2^depth - 2, W / 2^depth - 2).

    Published are depth 3 and width 64. The weights depend on the seed alone. initial_std: of the convolutions' weights,
    0.02 in pix2pix and 0.2 in the code of Spectrum Matching.
    """

    def __init__(
        self, in_channels: int = 3, width: int = 64, depth: int = 3, seed: int = 0, initial_std: float = 0.02
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.smallest = 3 * 2**depth
        widths = [width * 2 ** min(level, 3) for level in range(depth + 1)]
        with torch.device("meta"):  # built without values, so as not to advance the global generator
            layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            for level in range(1, depth + 1):
                stride = 2 if level < depth else 1
                layers += [
                    nn.Conv2d(widths[level - 1], widths[level], 4, stride, padding=1, bias=False),
                    # Running statistics would mix real with fake batches, serve nothing in a network that is only
                    # trained, and be buffers that distributed wrappers overwrite between forward and backward.
                    nn.BatchNorm2d(widths[level], track_running_stats=False),
                    nn.LeakyReLU(0.2),
                ]
            layers.append(nn.Conv2d(widths[depth], 1, 4, padding=1))
            self.layers = nn.Sequential(*layers)
        self.to_empty(device="cpu")
        generator = torch.Generator("cpu").manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:  # a norm's scale is the one weight of rank 1
                mean, std = (1.0, 0.02) if parameter.ndim == 1 else (0.0, initial_std)
                nn.init.normal_(parameter, mean, std, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, positive for real images.

        Raises:
            ValueError: for another number of channels or a side below `smallest`.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels or min(images.shape[2:]) < self.smallest:
            raise ValueError(
                f"the discriminator got {tuple(images.shape)}; expected (b, {self.in_channels}, H, W) with sides of "
                f"at least {self.smallest}: use larger images or a smaller depth"
            )
        return self.layers(images)


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return ½ mean max(0, 1 - real) + ½ mean max(0, 1 + fake), in float32."""
    return 0.5 * (F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean())


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """Return minus the mean of the fake images' logits, in float32."""
    return -fake_logits.float().mean()
