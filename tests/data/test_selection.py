from pathlib import Path

import pytest

from files_of_tests import write_pictures
from spectrum_matching.data import open_images
from spectrum_matching.data.selection import choose_images, choose_reference
from spectrum_matching.records.training_data import TrainingData


def trained_on(source: Path | str, **changes) -> TrainingData:
    return TrainingData(**{"source": str(source), "held_out": 0.5, "seed": 7, "size": 32} | changes)


def test_choose_images_takes_held_out_of_training(pictures):
    found = choose_images({"a": trained_on(f"{pictures}/../pictures"), "b": None}, str(pictures), size=None, split=None)
    assert found.images.choice.split == "held_out"
    assert found.images.names == open_images(str(pictures), 32, split="held_out", held_out=0.5, seed=7).names
    assert found.notes[0].startswith("None of these images is among the training images of a")
    assert found.notes[1].startswith(f"They are {len(found.images)} of 12: --split all takes all")
    seen = choose_images({"a": trained_on(pictures)}, str(pictures), size=None, split="all")
    assert len(seen.images) == 12
    assert seen.notes == ("These images include the training images of a.",)


def test_choose_images_takes_all_of_other_data(pictures):
    found = choose_images({"a": trained_on("elsewhere")}, str(pictures), size=None, split=None)
    assert (found.images.choice.split, len(found.images), found.images.size, found.notes) == ("all", 12, 32, ())


def test_choose_reference_takes_the_rest_of_the_same_source_and_labels_where_there_are_any(tmp_path):
    for name in "ab":
        write_pictures(tmp_path / "all" / name, 6, seed=ord(name))
    source = str(tmp_path / "all")
    held_out = open_images(source, 32, split="held_out", held_out=0.5, seed=7, labels=False)
    rest = choose_reference(source, held_out)
    assert sorted((*rest.images.names, *held_out.names)) == sorted(open_images(source, 32, split="all").names)
    assert (rest.images.classes, rest.notes) == (("a", "b"), ())
    whole = choose_reference(source, open_images(source, 32, split="all"))
    assert (len(whole.images), len(whole.notes)) == (12, 1)
    elsewhere = choose_reference(str(tmp_path / "all" / "a"), held_out)
    assert (len(elsewhere.images), elsewhere.images.size, elsewhere.notes) == (6, 32, ())


def test_choose_images_takes_held_out_embedded():
    found = choose_images({"a": None}, "embedded", size=32, split=None)
    assert (found.images.choice.split, len(found.images)) == ("held_out", 256)


def test_choose_images_refuses_disagreeing_records(pictures):
    sizes = {"a": trained_on("x"), "b": trained_on("x", size=64)}
    with pytest.raises(ValueError, match=r"a 32, b 64.*--size"):
        choose_images(sizes, str(pictures), size=None, split=None)
    rules = {"a": trained_on(pictures), "b": trained_on(pictures, seed=8)}
    with pytest.raises(ValueError, match=r"held out different images.*--split all"):
        choose_images(rules, str(pictures), size=None, split=None)
    assert len(choose_images(rules, str(pictures), size=None, split="all").images) == 12
