from pathlib import Path

import pytest
import torch

from spectrum_matching.latents.class_ids import MOST_CLASSES, class_id, class_ids

PATH = Path("folder/labels")


@pytest.mark.parametrize(("value", "label"), [(None, -1), (-1, -1), (0, 0), (MOST_CLASSES - 1, MOST_CLASSES - 1)])
def test_class_id_takes_classes_and_none(value, label):
    assert class_id(value, PATH, "a.npy") == label


@pytest.mark.parametrize("value", [MOST_CLASSES, -2, 2**70, True, 1.0, "7", [1], {}])
def test_class_id_refuses_anything_else(value):
    with pytest.raises(ValueError, match=r"^folder/labels: the label of a\.npy is .*expected a class"):
        class_id(value, PATH, "a.npy")


def test_class_ids_takes_whole_numbers_of_any_width():
    for dtype in (torch.uint8, torch.int16, torch.int64):
        assert class_ids(torch.tensor([0, 3], dtype=dtype), PATH).tolist() == [0, 3]
    assert class_ids(torch.tensor([-1, MOST_CLASSES - 1]), PATH).tolist() == [-1, MOST_CLASSES - 1]
    assert class_ids(torch.tensor([MOST_CLASSES]), PATH, MOST_CLASSES + 1).tolist() == [MOST_CLASSES]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (torch.tensor([0, MOST_CLASSES]), f"the label of row 1 is {MOST_CLASSES}"),
        (torch.tensor([2**40]), f"the label of row 0 is {2**40}"),
        (torch.tensor([0, -2]), "the label of row 1 is -2"),
        (torch.tensor([1.7]), r"labels are torch.float32 \(1,\)"),
        (torch.tensor([[1]]), r"labels are torch.int64 \(1, 1\)"),
    ],
)
def test_class_ids_names_file_and_label(values, said):
    with pytest.raises(ValueError, match=f"^folder/labels: {said}; expected a class"):
        class_ids(values, PATH)
