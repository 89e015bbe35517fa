import os

import pytest

from spectrum_matching.files.regular import open_regular, require_regular


def test_require_regular_takes_files_and_links_to_them(tmp_path):
    (tmp_path / "a").write_text("content")
    (tmp_path / "b").symlink_to("a")
    require_regular(tmp_path / "a")
    require_regular(tmp_path / "b")
    with open_regular(tmp_path / "b") as stream:
        assert stream.read() == b"content"


@pytest.mark.parametrize("function", [require_regular, open_regular])
def test_require_regular_says_what_else_it_is(function, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path, kind in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a named pipe"),
        (tmp_path / "link", "a named pipe"),
    ):
        with pytest.raises(OSError, match=f"not a regular file, but {kind}") as caught:
            function(path)
        assert caught.value.strerror == f"not a regular file, but {kind}"
    with pytest.raises(FileNotFoundError):
        function(tmp_path / "none")
