import pytest
import torch

from spectrum_matching.analysis.doctor.examination import Examination, gain, level_of, side_of, times
from spectrum_matching.nets.autoencoder import Autoencoder


def test_gain_is_the_geometric_mean_of_what_is_left():
    wired = torch.tensor([1.0, 2.0, 4.0])
    assert gain(wired * torch.tensor([0.5, 0.25, 0.5]), wired) == pytest.approx(2 ** (-4 / 3))


def test_gain_asks_for_less_error_of_every_image_that_changes():
    wired = torch.ones(5)
    assert gain(torch.tensor([0.1, 0.1, 0.1, 0.1, 1.01]), wired) is None
    assert gain(torch.tensor([0.1, 0.1, 0.1, 1.0, 1.0]), wired) == pytest.approx(0.1)
    assert gain(torch.tensor([0.1, 0.1, 1.0, 1.0, 1.0]), wired) is None  # two of five may be chance


def test_gain_takes_errors_that_are_not_finite_as_no_gain():
    assert gain(torch.tensor([0.1, 0.1, torch.inf]), torch.ones(3)) is None


@pytest.mark.parametrize(
    ("share", "level"), [(0.1, "wrong"), (0.5, "wrong"), (0.51, "look"), (0.9, "look"), (0.91, "fine"), (None, "fine")]
)
def test_level_of_shares(share, level):
    assert level_of(share) == level


def test_times_of_equal_errors_is_one_even_of_exact_pictures():
    assert times(torch.tensor([2.0, 8.0]), torch.tensor([1.0, 1.0])) == pytest.approx(4)
    assert times(torch.full((2,), 1e-12), torch.zeros(2)) == pytest.approx(1)


def test_side_of_is_a_multiple_of_at_least_64_pixels_and_8_positions(blocks):
    model = Autoencoder(blocks)
    assert side_of(model) == 64
    model.factor, model.multiple = 16, 48
    assert side_of(model) == 144
    model.size = 32
    assert side_of(model) == 32


def test_examination_watches_layers_in_the_order_in_which_they_run(case):
    tiny = Autoencoder.from_preset("tiny")
    examination = case(tiny.model)
    assert examination.output.shape == examination.images.shape
    names = list(examination.peaks)
    assert names.index("encoder.conv_in") < names.index("encoder.conv_out") < names.index("decoder.conv_out")
    assert not any(module._forward_hooks for module in tiny.modules())


def test_examination_explains_errors_in_one_line(case, coloured):
    examination = Examination(case(Autoencoder.from_preset("tiny").model).model, coloured[:, :, :30])
    with pytest.raises(ValueError, match=r"encode of \(4, 3, 30, 64\) fails \(ValueError: images are"):
        examination.posterior.sample()
