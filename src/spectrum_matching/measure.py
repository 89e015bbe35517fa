"""Everything that is measured of one autoencoder on a fixed set of images."""

from collections.abc import Callable
from importlib.metadata import version as package_version

import torch
from torch import Tensor

from . import __version__
from .album import Album
from .data import ImageSet, fixed_batches
from .data.seeding import seeded
from .methods.method import Posterior
from .metrics import LatentStatistics, image_bands, legal_block, lowpass, psnr, scaled_strengths, ssim
from .nets.autoencoder import Autoencoder
from .provenance import commit, weights_digest
from .results import Analysis, Kind, LowpassPoint, Provenance, Sample, Subject
from .summarize import estimates, latent_view, spectrum

KEEP = (15, 7, 5, 3)
BLOCK = 8
N_IMAGE_BINS = 32


def analyze(
    autoencoder: Autoencoder,
    images: ImageSet,
    *,
    name: str,
    source: str = "",
    split: str = "all",
    n_images: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    keep: tuple[int, ...] = KEEP,
    block: int = BLOCK,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    notes: tuple[str, ...] = (),
    advance: Callable[[int], None] = lambda n: None,
) -> Analysis:
    """Measure the first `n_images` (None: all); the batch size changes the numbers by no more than rounding.

    The autoencoder is left in eval mode on `device` in `dtype`. source, split, notes: for the record. keep, block: of
    the low-pass; where the latent grid has no whole blocks of that side, its largest half, quarter … is taken and
    `keep` scaled alike. advance: called with the number of images done since. ValueError, naming the autoencoder, for
    a size it cannot take, latents that do not vary and outputs that are not finite; also for under two images.
    """
    check_size(name, autoencoder.factor, images.size)
    grid = images.size // autoencoder.factor
    legal = legal_block((grid, grid), block)
    strengths = scaled_strengths(keep, block, legal) if legal > 1 else ()
    if legal == 1:
        notes += (f"No low-pass curve: a {grid} × {grid} latent grid has no blocks of 2 cells or more that fill it.",)
    elif legal < block:
        notes += (f"Low-pass in blocks of {legal}: a {grid} × {grid} latent grid has no whole blocks of {block}.",)

    digest = weights_digest(autoencoder)
    autoencoder = autoencoder.to(device=device, dtype=dtype).eval()
    views: dict[Kind, LatentStatistics] = {"mean": LatentStatistics(), "sample": LatentStatistics()}
    image_rows, fidelity, album = [], [], Album(images.size)
    curve: dict[int, list[Tensor]] = {k: [] for k in strengths}
    bad = [f"{file.name}: {file.reason}" for file in images.bad]
    n_seen = 0
    with torch.inference_mode():
        for batch in fixed_batches(images, batch_size, n_images):
            x = batch.images.to(device)
            posterior = autoencoder.encode(x)
            latents, sample = posterior.mean.float(), _sample(posterior, seed, first=n_seen)
            output = autoencoder.decode(latents).float()
            _require_finite(name, latents=latents, pictures=output)
            views["mean"].add(latents, x)
            views["sample"].add(sample, x)
            bands, image_frequencies = image_bands(x, N_IMAGE_BINS)
            image_rows.append(bands)
            fidelity.append(torch.stack([psnr(output, x), ssim(output, x)], dim=1))
            album.add(n_seen, 2 * legal - 1, x, output)
            for k in strengths:
                moved = lowpass(autoencoder.decode, latents, output, x, k, legal)
                _require_finite(name, pictures=moved.decoded)
                pairs = (moved.decoded, moved.image), (moved.aligned, moved.image), (moved.image, x)
                curve[k].append(torch.stack([psnr(*pair) for pair in pairs], dim=1))
                if k < 2 * legal - 1:
                    album.add(n_seen, k, moved.image, moved.decoded)
            bad += [f"{file.name}: {file.reason}" for file in batch.bad]
            n_seen += len(x)
            advance(len(x))
    if n_seen < 2:
        raise ValueError(f"{images.source}: only one image was measured; uncertainties need at least two")

    on_grid = views["mean"].bands("scale_free")
    mean_psnr, mean_ssim = estimates(fidelity)
    return Analysis(
        subject=Subject(
            name=name,
            source=source,
            kind=type(autoencoder.model).__name__,
            factor=autoencoder.factor,
            channels=autoencoder.channels,
            scaling_factor=autoencoder.scaling_factor,
            shift_factor=autoencoder.shift_factor,
            parameters=sum(weight.numel() for weight in autoencoder.parameters()),
            digest=digest,
        ),
        sample=Sample(images.source, split, n_seen, images.size, images.digest, tuple(bad)),
        provenance=Provenance(
            version=__version__,
            commit=commit(),
            torch=torch.__version__,
            diffusers=package_version("diffusers"),
            device=torch.device(device).type,
            dtype=str(dtype).removeprefix("torch."),
            seed=seed,
        ),
        latent_shape=(autoencoder.channels, grid, grid),
        image=spectrum(torch.cat(image_rows), image_frequencies, seed),
        image_on_latent_grid=spectrum(on_grid.images, on_grid.frequencies, seed),
        views=tuple(latent_view(name, kind, statistics, seed) for kind, statistics in views.items()),
        lowpass=tuple(LowpassPoint(k, *estimates(rows)) for k, rows in curve.items()),
        lowpass_block=legal,
        psnr=mean_psnr,
        ssim=mean_ssim,
        pictures=album.pictures(),
        notes=notes,
    )


def check_size(name: str, factor: int, size: int) -> None:
    """ValueError unless `size` is a multiple of the factor that leaves latents of at least 3 x 3 cells."""
    if size % factor:
        nearest = max(3, round(size / factor)) * factor
        raise ValueError(f"{name}: size {size} is not a multiple of its factor {factor}; {nearest} is one")
    if (grid := size // factor) < 3:
        raise ValueError(
            f"{name}: size {size} leaves {grid} x {grid} latents, too small for a spectrum; take {3 * factor} or more"
        )


def _sample(posterior: Posterior, seed: int, first: int) -> Tensor:
    """A sample of the posterior (b, c, h, w) whose noise is that of each image's place, whatever its batch."""
    mean = posterior.mean.float()
    noise = [
        torch.randn(mean.shape[1:], generator=seeded("posterior", seed, first + place)) for place in range(len(mean))
    ]
    return mean + posterior.logvar.float().mul(0.5).exp() * torch.stack(noise).to(mean.device)


def _require_finite(name: str, **tensors: Tensor) -> None:
    for what, values in tensors.items():
        if not values.isfinite().all():
            raise ValueError(f"{name}: its {what} hold values that are not finite; nothing can be measured of them")
