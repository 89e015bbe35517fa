import pytest

from spectrum_matching.data.parts import is_train, train_parts


def parts(*places: str, without: tuple[str, ...] = ()) -> dict[str, str]:
    return train_parts(dict.fromkeys(places, True) | dict.fromkeys(without, False))


@pytest.mark.parametrize(
    ("train", "other"),
    [
        ("train", "val"),
        ("train", "test"),
        ("Training", "Testing"),
        ("images/train", "images/val"),
        ("default/train/0000", "default/validation/0000"),
        ("a/b/c/train/x/y", "a/b/c/valid"),
        ("train2017", "val2017"),
        ("DIV2K_train_HR", "DIV2K_valid_HR"),
        ("mnist_train", "mnist_test"),
        ("data/train-00000-of-00002-a1b2c3d4", "data/test-00000-of-00001-9f9f9f9f"),
        ("train-3", "test-0"),
    ],
)
def test_train_parts_are_found_beside_others_at_any_depth(train: str, other: str) -> None:
    found = parts(train, other)
    assert train.startswith(found[train])
    assert is_train(found[train])
    assert other.startswith(found[other])
    assert not is_train(found[other])


@pytest.mark.parametrize(
    "places",
    [
        ("train",),
        ("train", "bus"),
        ("train_station", "bus_station", "test_flight"),
        ("trains", "tests"),
        ("a/train", "b/test"),
        ("training", "evaluation"),
        ("train_val", "test"),
        ("", "cat", "dog"),
    ],
)
def test_train_parts_are_none_without_a_sibling_of_the_same_words(places: tuple[str, ...]) -> None:
    assert parts(*places) == {}


def test_train_parts_name_what_lies_outside_and_keep_what_lies_deeper() -> None:
    found = parts("", "train", "train/test", "val/a", "extra")
    assert found == {"": "", "train": "train", "train/test": "train", "val/a": "val", "extra": ""}


def test_train_parts_hold_something_and_the_others_need_not() -> None:
    assert parts("train/a", without=("val",)) == {"train/a": "train", "val": "val"}
    assert parts("val", without=("train",)) == {}
