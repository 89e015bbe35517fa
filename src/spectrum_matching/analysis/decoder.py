"""What needs the autoencoder itself: reconstruction of every image, and tests of the decoder and encoder on a few."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..metrics import psnr, scaled_strengths
from ..metrics.decoder.equivariance import Move, Shrink, equivariance_error, equivariance_moves
from ..metrics.decoder.lowpass import lowpass
from ..metrics.decoder.noise import STRENGTHS, latent_consistency, noise_response
from ..metrics.decoder.transfer import STRENGTH, band_response, band_transfer, diagonal_shares
from ..metrics.estimates import mean_number
from ..metrics.images.fidelity import Fidelity
from ..nets.autoencoder import Autoencoder
from ..records.analysis import Decoding, EquivariancePoint, LowpassPoint, NoisePoint, Transfer
from ..records.measurement import Measurement
from .album import Album
from .options import Extras
from .summarize import column_means

KEEP, BLOCK = (15, 7, 5, 3), 8
N_COSTLY = 16
"""Images for the transfer matrix and for perceptual consistency: each costs eight decodings or so."""

NAMED_NOISE = 0.1
"""Strength of the noise of which `noise_psnr` speaks."""


def require_finite(name: str, **tensors: Tensor) -> None:
    """ValueError naming what holds a NaN or an infinity."""
    for what, values in tensors.items():
        if not values.isfinite().all():
            raise ValueError(
                f"{name}: its {what} hold values that are not finite; nothing can be measured of them. Look at its "
                f"weights; in half precision, try float32 or bfloat16"
            )


class DecoderSide(NamedTuple):
    """Fields of `Analysis` of the same names; notes come after those that it has."""

    decoding: Decoding
    equivariance: tuple[EquivariancePoint, ...]
    notes: tuple[str, ...]


class DecoderTests:
    """Low-pass decoding, latent noise, band transfer and equivariance, batch by batch over the first images."""

    def __init__(
        self, name: str, codec: Autoencoder, channel_stds: Tensor, size: int, block: int, seed: int, extras: Extras
    ) -> None:
        grid = (size // codec.factor, size // codec.factor)
        self._name = name
        self._codec, self._stds, self._seed, self._block = codec, channel_stds, seed, block
        self._size, self._grid = (size, size), grid
        self._keep = scaled_strengths(KEEP, BLOCK, block) if block > 1 else ()
        multiple = codec.size or codec.multiple
        moves, self._left_out = equivariance_moves(self._size, grid, multiple)
        bicubic, _ = equivariance_moves(self._size, grid, multiple, "bicubic")
        self._errors: dict[Move, list[Tensor]] = {
            move: [] for move in (*moves, *(move for move in bicubic if isinstance(move, Shrink)))
        }
        self._lowpass: dict[int, list[Tensor]] = {keep: [] for keep in self._keep}
        self._noise: dict[float, list[Tensor]] = {strength: [] for strength in STRENGTHS}
        self._transfer: list[Tensor] = []
        self._perceptual, self._consistency = extras.perceptual, list[Tensor]()
        self.n_images = 0

    def add(self, latents: Tensor, images: Tensor, album: Album) -> None:
        """Count a batch in: latents (b, c, h, w) are the posterior means of images (b, 3, H, W)."""
        output = self._codec.decode(latents).float()
        for keep, rows in self._lowpass.items():
            moved = lowpass(self._codec.decode, latents, output, images, keep, self._block)
            pairs = (moved.decoded, moved.image), (moved.aligned, moved.image), (moved.image, images)
            require_finite(self._name, pictures=moved.decoded)
            decoded, aligned, removed = (psnr(*pair) for pair in pairs)
            rows.append(torch.stack([decoded, aligned, removed, aligned - decoded], dim=1))
            if keep < 2 * self._block - 1:
                album.add(self.n_images, keep, moved.image, moved.decoded)
        first, seed = self.n_images, self._seed
        for strength, rows in self._noise.items():
            at = self._stds, strength
            response = noise_response(self._codec.decode, latents, output, *at, first=first, seed=seed)
            rows.append(torch.stack([response.psnr, response.sensitivity], dim=1))
        if (few := N_COSTLY - self.n_images) > 0:
            some = self._codec.decode, latents[:few], output[:few]
            self._transfer.append(band_response(*some, self._stds, first=first, seed=seed))
            if self._perceptual is not None:
                self._consistency.append(latent_consistency(*some, self._distance, first=first, seed=seed))
        for move in tuple(self._errors):
            self._add_error(move, latents, images)
        self.n_images += len(images)

    def _add_error(self, move: Move, latents: Tensor, images: Tensor) -> None:
        try:
            error = equivariance_error(self._encode, latents, images, move)
        except (ValueError, RuntimeError) as complaint:
            if not isinstance(move, Shrink) or isinstance(complaint, torch.OutOfMemoryError):
                raise
            # An encoder for one size of images says so only when it meets another.
            why = str(complaint).strip().partition("\n")[0]
            self._left_out += (f"{move.name}: the encoder does not take the smaller images ({why})",)
            del self._errors[move]
        else:
            self._errors[move].append(error)

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        assert self._perceptual is not None
        distance: Tensor = self._perceptual(one.clamp(-1, 1), other.clamp(-1, 1))
        return distance

    def _encode(self, images: Tensor) -> Tensor:
        return self._codec.encode(images).mean.float()

    def result(self, fidelity: Fidelity) -> DecoderSide:
        """What was found."""
        curve = tuple(LowpassPoint(keep, *column_means(rows)) for keep, rows in self._lowpass.items())
        noise = tuple(NoisePoint(strength, *column_means(rows)) for strength, rows in self._noise.items())
        errors = tuple(
            EquivariancePoint(*_named(move), mean_number(torch.cat(rows).cpu().double()))
            for move, rows in self._errors.items()
        )
        rows = torch.cat(self._transfer)
        matrix = band_transfer(rows, self._grid, self._size)
        transfer = Transfer(
            frequencies=tuple(matrix.edges.tolist()),
            shares=tuple(tuple(row) for row in matrix.shares.tolist()),
            even=tuple(matrix.white.tolist()),
            gains=tuple(matrix.gains.tolist()),
            diagonal=mean_number(diagonal_shares(rows)),
            strength=STRENGTH,
            n_images=len(rows),
        )
        more = {"lpc": mean_number(torch.cat(self._consistency).cpu().double())} if self._consistency else {}
        decoding = Decoding(
            measurements=fidelity.measurements() | _summary(curve, self._block, noise, transfer, errors) | more,
            n_tests=self.n_images,
            lowpass=curve,
            lowpass_block=self._block,
            noise=noise,
            transfer=transfer,
        )
        left_out = (f"Equivariance leaves out {reason}." for reason in self._left_out)
        return DecoderSide(decoding, errors, (*_block_notes(self._grid[0], self._block), *left_out))


def _named(move: Move) -> tuple[str, str]:
    return (
        (f"scale {move.numerator}/{move.denominator}", move.resampling) if isinstance(move, Shrink) else (move.name, "")
    )


def _summary(
    curve: tuple[LowpassPoint, ...],
    block: int,
    noise: tuple[NoisePoint, ...],
    transfer: Transfer,
    errors: tuple[EquivariancePoint, ...],
) -> dict[str, Measurement]:
    numbers = {
        "lowpass_gap": next((point.gap for point in curve if point.keep < 2 * block - 1), None),
        "noise_psnr": next(point.psnr for point in noise if point.strength == NAMED_NOISE),
        "transfer_diagonal": transfer.diagonal,
        "equivariance_scale_50": next(
            (point.error for point in errors if (point.move, point.resampler) == ("scale 1/2", "area")), None
        ),
        "equivariance_turn_90": next(point.error for point in errors if point.move == "turn 90°"),
    }
    unscaled = Measurement(None, refused="the latent grid has no blocks, or does not scale by half")
    return {key: unscaled if number is None else number for key, number in numbers.items()}


def _block_notes(side: int, block: int) -> tuple[str, ...]:
    if block == 1:
        return (f"No low-pass curve: a {side} × {side} latent grid has no blocks of 2 cells or more that fill it.",)
    if block < BLOCK:
        return (f"Low-pass in blocks of {block}: a {side} × {side} latent grid has no whole blocks of {BLOCK}.",)
    return ()
