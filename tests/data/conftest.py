import fsspec
import pytest


@pytest.fixture(autouse=True)
def _kept_elsewhere(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("kept")))


@pytest.fixture
def store():
    """The store in memory, empty at first."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]
