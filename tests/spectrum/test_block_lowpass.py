import itertools

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_matching.spectrum import block_lowpass, merge_blocks, sequence_lowpass, split_blocks
from spectrum_matching.spectrum.block_lowpass import lowpass_projection

FLOAT64 = torch.empty(0, dtype=torch.float64)


def literal_lowpass(x, keep, block):
    """Block by block with SciPy."""
    x = x.clone()
    mask = np.add.outer(np.arange(block), np.arange(block)) < keep
    for top in range(0, x.shape[-2], block):
        for left in range(0, x.shape[-1], block):
            cell = x[..., top : top + block, left : left + block]
            spectrum = scipy.fft.dctn(cell.numpy(), axes=(-2, -1), norm="ortho") * mask
            cell[...] = torch.from_numpy(scipy.fft.idctn(spectrum, axes=(-2, -1), norm="ortho"))
    return x


def test_block_lowpass_equals_official_rows_and_energies(official, field):
    assert official["dsm"]
    for case in official["dsm"]:
        keep = 15 - case["n"]
        image = block_lowpass(field(**case["image"]), keep, case["block"])
        latent = block_lowpass(field(**case["latent"]), keep, case["block"])
        image_row, latent_row = torch.tensor(case["masked_image_row"]), torch.tensor(case["masked_latent_row"])
        torch.testing.assert_close(image[0, 0, 5], image_row, rtol=2e-5, atol=2e-6)
        torch.testing.assert_close(latent[0, 2, 11], latent_row, rtol=2e-5, atol=2e-6)
        assert image.square().sum().item() == pytest.approx(case["masked_image_energy"], rel=2e-5)
        assert latent.square().sum().item() == pytest.approx(case["masked_latent_energy"], rel=2e-5)
        assert lowpass_projection(keep, 8, like=FLOAT64).trace().item() == pytest.approx(case["kept_coefficients"])


@pytest.mark.parametrize("block", [1, 2, 4, 5, 8])
def test_block_lowpass_equals_scipy(block, field):
    x = field(1, (2, 3, 4 * block, 3 * block)).double()
    for keep in range(1, 2 * block):
        torch.testing.assert_close(block_lowpass(x, keep, block), literal_lowpass(x, keep, block))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 4), m=st.integers(1, 4), block=st.integers(1, 9))
def test_merge_blocks_inverts_split_blocks(n, m, block):
    x = torch.arange(2.0 * n * m * block * block).reshape(2, n * block, m * block)
    blocks = split_blocks(x, block)
    assert blocks.shape == (2, n, m, block, block)
    assert torch.equal(merge_blocks(blocks), x)
    assert torch.equal(blocks[1, n - 1, m - 1], x[1, -block:, -block:])


@pytest.mark.parametrize("keep", range(1, 16))
def test_lowpass_projection_is_orthogonal_of_known_rank(keep):
    projection = lowpass_projection(keep, 8, like=FLOAT64)
    torch.testing.assert_close(projection @ projection, projection)
    torch.testing.assert_close(projection, projection.mT)
    kept = sum(u + v < keep for u in range(8) for v in range(8))
    assert projection.trace().item() == pytest.approx(kept)


def test_block_lowpass_masks_are_nested(field):
    x = field(2, (2, 4, 16, 24)).double()
    for narrow in (1, 3, 5, 7):
        for wide in (3, 5, 7, 15):
            if narrow <= wide:
                torch.testing.assert_close(block_lowpass(block_lowpass(x, wide), narrow), block_lowpass(x, narrow))
    energies = [block_lowpass(x, keep).square().sum() for keep in range(1, 16)]
    assert all(low < high for low, high in itertools.pairwise(energies))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_block_lowpass_returns_its_input_if_all_is_kept(dtype, field):
    x = field(3, (2, 4, 16, 24)).to(dtype)
    assert torch.equal(block_lowpass(x, 15), x)


def test_block_lowpass_of_one_diagonal_gives_block_means(field):
    x = field(4, (1, 1, 16, 8)).double()
    means = torch.nn.functional.avg_pool2d(x, 8)
    torch.testing.assert_close(block_lowpass(x, 1), means.repeat_interleave(8, -2).repeat_interleave(8, -1))


@pytest.mark.parametrize("keep", [0, 16, -1])
def test_block_lowpass_refuses_keep_out_of_range(keep):
    with pytest.raises(ValueError, match=rf"1 \.\.\. 15 .* got {keep}"):
        block_lowpass(torch.zeros(8, 8), keep)


@pytest.mark.parametrize("keep", [3, 15])
def test_block_lowpass_refuses_fields_that_do_not_divide(keep):
    with pytest.raises(ValueError, match="12 x 8 field does not divide into blocks of 8 x 8"):
        block_lowpass(torch.zeros(12, 8), keep)
    with pytest.raises(ValueError, match="8 x 8 field does not divide into blocks of 0 x 0"):
        split_blocks(torch.zeros(8, 8), 0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sequence_lowpass_equals_scipy_along_its_axis(axis, field):
    x = field(20, (16, 24, 8)).double()
    for keep in range(1, 9):
        blocks = x.movedim(axis, -1).unflatten(-1, (-1, 8)).numpy()
        spectrum = scipy.fft.dct(blocks, norm="ortho") * (np.arange(8) < keep)
        expected = torch.from_numpy(scipy.fft.idct(spectrum, norm="ortho")).flatten(-2).movedim(-1, axis)
        torch.testing.assert_close(sequence_lowpass(x, keep, 8, axis), expected)
    assert sequence_lowpass(x, 8, 8, axis) is x


def test_sequence_lowpass_keeps_dtype_and_refuses_what_it_cannot_do(field):
    x = field(21, (2, 3, 12)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sequence_lowpass(x, 2, 4), sequence_lowpass(x.float(), 2, 4).bfloat16())
    with pytest.raises(ValueError, match="a sequence of 12 does not divide into blocks of 8"):
        sequence_lowpass(x, 2)
    with pytest.raises(ValueError, match=r"keep must lie in 1 \.\.\. 4 for blocks of 4, got 5"):
        sequence_lowpass(x, 5, 4)
