import os
import socket
from pathlib import Path

import pytest

from spectrum_matching.data.walk import BadFile, walk


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_walk_lists_files_by_relative_name(tmp_path: Path) -> None:
    write(tmp_path, "b/2.png", "b.png", "a/c/1.png", "B.png")
    found = walk(tmp_path)
    assert found.names == ("B.png", "a/c/1.png", "b.png", "b/2.png")
    assert found.n_bytes == tuple(map(len, found.names))
    assert found.files == tuple(tmp_path / name for name in found.names)
    assert (found.again, found.unread) == ((), ())


def test_walk_leaves_out_hidden_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path, "a.png", ".cache/b.png", "d/.DS_Store", "d/._0.png")
    (tmp_path / ".gone").symlink_to("nowhere")
    found = walk(tmp_path)
    assert (found.names, found.unread) == (("a.png",), ())


def test_walk_of_empty_folder(tmp_path: Path) -> None:
    assert walk(tmp_path).files == ()


def test_walk_enters_each_folder_once(tmp_path: Path) -> None:
    write(tmp_path, "a/0.png", "a/1.png", "b/2.png")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "b" / "down").symlink_to("../a")
    (tmp_path / "latest").symlink_to(".")
    found = walk(tmp_path)
    assert found.names == ("a/0.png", "a/1.png", "b/2.png")
    assert found.again == ("a/up", "b/down", "latest")


def test_walk_takes_real_names_before_links_and_fewer_links_before_more(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write(tmp_path, "inside/z/1.png", "outside/2.png", "outside/3.png")
    (inside / "a").symlink_to("z")
    (inside / "b").mkdir()
    (inside / "b" / "1.png").symlink_to("../z/1.png")
    (inside / "m").symlink_to(outside)  # brings further/2.png, which is two links away
    (outside / "further").symlink_to(".")
    (inside / "y.png").symlink_to(outside / "2.png")
    os.link(inside / "z" / "1.png", inside / "z" / "0.png")
    found = walk(inside)
    assert found.names == ("m/2.png", "m/3.png", "z/0.png")
    assert found.again == ("a", "b/1.png", "m/further", "y.png", "z/1.png")


def test_walk_follows_a_link_as_root_and_links_to_outside(tmp_path: Path) -> None:
    write(tmp_path, "real/1.png", "elsewhere/c/2.png")
    (tmp_path / "real" / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (tmp_path / "root").symlink_to("real")
    assert walk(tmp_path / "root").names == ("1.png", "c/2.png")


def test_walk_names_what_is_no_regular_file(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "self.png").symlink_to("self.png")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.bind(str(tmp_path / "s.png"))
        found = walk(tmp_path)
    assert found.names == ("a.png",)
    assert found.unread == (
        BadFile("device.png", "not a regular file, but a device"),
        BadFile("gone.png", "No such file or directory"),
        BadFile("pipe.png", "not a regular file, but a named pipe"),
        BadFile("s.png", "not a regular file, but a socket"),
        BadFile("self.png", "Too many levels of symbolic links"),
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_walk_names_folders_without_permission(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "b").chmod(0)
    try:
        found = walk(tmp_path)
        with pytest.raises(ValueError, match=r"b cannot be listed: Permission denied$"):
            walk(tmp_path / "b")
    finally:
        (tmp_path / "b").chmod(0o700)
    assert found.names == ("a/1.png",)
    assert found.unread == (BadFile("b", "folder cannot be listed (Permission denied)"),)


def test_walk_of_deep_trees_needs_no_recursion_and_names_where_paths_end(tmp_path: Path) -> None:
    # Each folder is made and removed from within the one above, since the whole path is longer than the system takes.
    home, name, depth = os.open(".", os.O_RDONLY), "d" * 3, 1200
    try:
        os.chdir(tmp_path)
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
        Path("lost.png").touch()
        write(tmp_path, f"{name}/{name}/b.png")
        found = walk(tmp_path)
        Path("lost.png").unlink()
        (tmp_path / name / name / "b.png").unlink()
        for _ in range(depth):
            os.chdir("..")
            os.rmdir(name)
    finally:
        os.chdir(home)
        os.close(home)
    assert found.names == (f"{name}/{name}/b.png",)
    assert [file.reason for file in found.unread] == ["File name too long"]


def test_walk_refuses_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(ValueError, match=r"a\.png cannot be listed: Not a directory$"):
        walk(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"none cannot be listed: No such file or directory$"):
        walk(tmp_path / "none")
