import os
from pathlib import Path

import pytest
from PIL import Image

from spectrum_matching.data.decode import BadImageError, Frame
from spectrum_matching.data.folders import N_LOOKED_INTO, FolderSource, find_images
from spectrum_matching.data.sources import open_source
from spectrum_matching.data.walk import BadFile


def write(root: Path, *names: str) -> None:
    for grey, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 6), grey).save(root / name, "PNG")


def texts(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("Python is no portable pixmap")


def opened(root: Path, labels: bool | None = True) -> FolderSource:
    found = open_source(str(root), labels=labels)
    assert isinstance(found, FolderSource)
    return found


def labelled(found: FolderSource) -> dict[str, str]:
    return {
        name: found.classes[label] if label >= 0 else "" for name, label in zip(found.names, found.labels, strict=True)
    }


def test_folder_source_classes_are_folders_that_hold_images(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "cat/deep/2.png", "cat/3.png")
    write(tmp_path, "__MACOSX/cat/._3.png")
    texts(tmp_path, "annotations/a.xml", "README.md")
    (tmp_path / "@eaDir" / "SYNO").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").touch()
    found = opened(tmp_path)
    assert found.classes == ("cat", "dog")
    assert labelled(found) == {"cat/3.png": "cat", "cat/deep/2.png": "cat", "dog/1.png": "dog"}
    assert found.left_out == ("2 other files (README.md, annotations/a.xml)",)
    assert found.bad == (BadFile("broken/1.png", "empty file"),)


def test_folder_source_flat_has_no_classes(tmp_path: Path) -> None:
    write(tmp_path, "b.png", "a.png")
    found = opened(tmp_path)
    assert (found.names, found.classes, found.labels) == (["a.png", "b.png"], (), [-1, -1])
    assert (found.left_out, found.bad, found.part) == ((), (), "")


def test_folder_source_leaves_aside_the_fewer_images_outside_of_class_folders(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/2.png", "preview.png")
    found = opened(tmp_path)
    assert labelled(found) == {"a/1.png": "a", "b/2.png": "b"}
    assert found.left_out == ("1 image outside of class folders (preview.png)",)
    # As many outside as inside: no class folders, and no image is lost.
    write(tmp_path, "second.png")
    found = opened(tmp_path)
    assert labelled(found) == dict.fromkeys(["a/1.png", "b/2.png", "preview.png", "second.png"], "")
    assert found.left_out == ()


def test_folder_source_takes_the_same_images_with_and_without_labels(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/2.png", "preview.png")
    found = opened(tmp_path, labels=False)
    assert (found.names, found.classes, found.labels) == (["a/1.png", "b/2.png"], (), [-1, -1])
    found = opened(tmp_path, labels=None)
    assert (found.names, found.classes, found.labels) == (["a/1.png", "b/2.png"], ("a", "b"), [0, 1])


def test_folder_source_refuses_too_many_classes_only_if_labels_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path, *(f"{number}/1.png" for number in range(1001)))
    with pytest.raises(ValueError, match="names of folders: 1,001 values for 1,001 images are identifiers"):
        opened(tmp_path)
    for labels in (False, None):
        assert (len(opened(tmp_path, labels=labels).names), opened(tmp_path, labels=labels).classes) == (1001, ())


@pytest.mark.parametrize("top", ["", "data/", "images/deep/"])
def test_folder_source_takes_the_train_part(tmp_path: Path, top: str) -> None:
    write(tmp_path, *(f"{top}{part}/{name}/{k}.png" for part in ("train", "test") for name in "ab" for k in range(3)))
    found = opened(tmp_path)
    assert found.names == [f"{name}/{k}.png" for name in "ab" for k in range(3)]
    assert (found.classes, found.part) == (("a", "b"), f"{top}train")
    names = ", ".join(f"{top}test/a/{k}.png" for k in range(3))
    assert found.left_out == (f"6 images of other parts ({names}, …)",)
    assert found.read(2).size == (8, 6)


def test_folder_source_leaves_aside_what_lies_outside_of_the_parts(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", "val/2.png", "extra/3.png", "4.png")
    found = opened(tmp_path)
    assert found.names == ["1.png"]
    assert found.left_out == (
        "1 image of another part (val/2.png)",
        "2 images outside of the parts (4.png, extra/3.png)",
    )


def test_folder_source_joins_train_parts_of_several_places(tmp_path: Path) -> None:
    write(tmp_path, *(f"{name}/{part}/good/1.png" for name in ("bottle", "cable") for part in ("train", "test")))
    found = opened(tmp_path)
    assert labelled(found) == {"bottle/train/good/1.png": "bottle", "cable/train/good/1.png": "cable"}
    assert found.part == "bottle/train, cable/train"
    assert found.read(0).size == (8, 6)


def test_folder_source_reads_the_snapshot_of_the_hub_cache(tmp_path: Path) -> None:
    revisions = ["a" * 40, "b" * 40]
    write(tmp_path, "blobs/0123", "blobs/4567")
    for revision in revisions:
        for name, blob in (("cat/1.png", "0123"), ("dog/2.png", "4567")):
            path = tmp_path / "snapshots" / revision / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(f"../../../blobs/{blob}")
    with pytest.raises(ValueError, match=f"several snapshots: give one of .*{revisions[0]}, .*{revisions[1]}"):
        opened(tmp_path)
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "main").write_text(revisions[1])
    for root in (tmp_path, tmp_path / "snapshots" / revisions[0]):
        assert labelled(opened(root)) == {"cat/1.png": "cat", "dog/2.png": "dog"}


def test_folder_source_reads_one_snapshot_without_refs(tmp_path: Path) -> None:
    write(tmp_path, "blobs/0123", f"snapshots/{'a' * 40}/1.png")
    assert opened(tmp_path).names == ["1.png"]


def test_folder_source_counts_links_and_names_what_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "val/a/2.png")
    (tmp_path / "train" / "latest").symlink_to("a")
    (tmp_path / "train" / "gone.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "train" / "pipe.png")
    found = opened(tmp_path)
    assert found.names == ["a/1.png"]
    assert found.left_out == ("1 image of another part (val/a/2.png)", "1 second name (train/latest)")
    assert [file.name for file in found.bad] == ["gone.png", "pipe.png"]


def test_folder_source_names_bad_images_when_they_are_read(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    texts(tmp_path, "b.png")
    found = opened(tmp_path)
    assert found.names == ["a.png", "b.png"]
    assert found.frame(0) == Frame(8, 6, 1)
    with pytest.raises(BadImageError, match="not an image"):
        found.read(1)


def test_folder_source_opens_no_pipe_that_comes_later(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    found = opened(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadImageError, match=r"^No such file or directory$"):
        found.read(0)
    os.mkfifo(tmp_path / "a.png")
    for look in (found.read, found.frame):
        with pytest.raises(BadImageError, match=r"^not a regular file, but a named pipe$"):
            look(0)


def test_find_images_by_suffix_in_any_case_and_else_by_content(tmp_path: Path) -> None:
    images = ["a.JPEG", "b.jfif", "c", "d.jpg_large", "e.0001", "f.TIF"]
    write(tmp_path, *images)
    others = ["g", "h.txt", "i.0001", "thumbs.db"]
    texts(tmp_path, *others)
    assert find_images(tmp_path, sorted(images + others)) == images


def test_find_images_lets_the_majority_decide_for_many_of_one_suffix(tmp_path: Path) -> None:
    write(tmp_path, "image", "image.xyz")
    texts(tmp_path, "text", "text.xyz")
    names = []
    for k in range(2 * N_LOOKED_INTO):
        # Two of three names without a suffix are images, one of three with one.
        names += [f"{k:03}", f"{k:03}.xyz"]
        (tmp_path / names[-2]).symlink_to("image" if k % 3 else "text")
        (tmp_path / names[-1]).symlink_to("text.xyz" if k % 3 else "image.xyz")
    assert find_images(tmp_path, names) == names[::2]
