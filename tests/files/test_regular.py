import os

import pytest

from spectrum_matching.files.regular import require_regular


def test_require_regular_takes_files_and_links_to_them(tmp_path):
    (tmp_path / "a").write_text("")
    (tmp_path / "b").symlink_to("a")
    require_regular(tmp_path / "a")
    require_regular(tmp_path / "b")


def test_require_regular_says_what_else_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path, kind in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a named pipe"),
        (tmp_path / "link", "a named pipe"),
    ):
        with pytest.raises(OSError, match=f"not a regular file, but {kind}") as caught:
            require_regular(path)
        assert caught.value.strerror == f"not a regular file, but {kind}"
    with pytest.raises(FileNotFoundError):
        require_regular(tmp_path / "none")
