from pathlib import Path

import pytest

from files_of_tests import write_labelled, write_pictures
from spectrum_matching.data import open_images
from spectrum_matching.data.relation import relation
from spectrum_matching.data.selection import choose_images, choose_reference, images_to_cache
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
    write_pictures(tmp_path / "elsewhere", 6)
    elsewhere = choose_reference(str(tmp_path / "elsewhere"), held_out)
    assert (len(elsewhere.images), elsewhere.images.size, elsewhere.notes) == (6, 32, ())
    among = choose_reference(str(tmp_path / "all" / "a"), held_out)
    assert (len(among.images), len(among.notes)) == (6, 1)


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


def test_held_out_images_are_told_however_the_source_is_written(tmp_path):
    write_pictures(tmp_path / "real", 12)
    write_pictures(tmp_path / "pics" / "val", 2)
    (tmp_path / "pics" / "train").symlink_to(tmp_path / "real")
    source, part = str(tmp_path / "pics"), str(tmp_path / "pics" / "train")
    held_out = open_images(source, 32, split="held_out", held_out=0.5, seed=7).names
    found = choose_images({"a": trained_on(source)}, part, size=None, split=None)
    assert (found.images.choice.source, found.images.names) == (part, held_out)
    assert found.notes[0].startswith("None of these images")
    assert not {*images_to_cache(trained_on(source), part, size=None, split=None).names} & {*held_out}
    other = choose_images({"a": trained_on(source)}, f"{source}/val", size=None, split=None)
    assert (len(other.images), other.notes) == (2, ())


def test_images_of_training_in_another_order_are_noted(tmp_path, caplog):
    for name in "ab":
        write_pictures(tmp_path / name, 6, seed=ord(name))
    record = trained_on(tmp_path)
    held_out = open_images(str(tmp_path), 32, split="held_out", held_out=0.5, seed=7).names
    n = sum(name.startswith("a/") for name in held_out)
    assert 0 < n < 6
    found = choose_images({"x": record, "y": record}, str(tmp_path / "a"), size=None, split=None)
    assert found.notes == (
        f"{6 - n} of these 6 images are among the training images of x and y: --data {tmp_path} takes those that were "
        "held out.",
    )
    assert len(images_to_cache(record, str(tmp_path / "a"), size=None, split=None)) == 6
    assert f"{n} of these 6 images were held out when the autoencoder was trained" in caplog.text


def test_relation_is_of_what_is_opened(tmp_path):
    (tmp_path / "rows").mkdir()
    write_labelled(tmp_path / "rows" / "x.parquet", [0, 1])
    assert relation(str(tmp_path / "rows"), str(tmp_path / "rows" / "x.parquet")) == "same"
    assert relation(str(tmp_path), str(tmp_path / "rows" / "x.parquet")) == "related"
    assert relation("hub:x", "hub:x:train") == "same"
    assert relation("hub:x", "hub:x:test") == relation("hub:x", "hub:y") == "apart"
    assert relation("hub:x:train[:10%]", "stream:x") == "related"
    assert relation("s3://b/a/", "s3://b/a") == "same"
    assert relation("s3://b/a/*.tar", "s3://b/a") == relation("s3://b/a/1.tar", "s3://b/a/*.tar") == "related"
    assert relation("s3://b/a/train-*.tar", "s3://b/a/val-*.tar") == relation("s3://b/a", "s3://b/ab") == "apart"
    assert relation("embedded", str(tmp_path)) == "apart"
