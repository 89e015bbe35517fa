import pytest

from spectrum_matching.cli.names import named_sources


def test_named_sources_takes_distinguishing_path_parts():
    assert named_sources(["runs/esm/export", "runs/dsm/export"]) == {"esm": "runs/esm/export", "dsm": "runs/dsm/export"}
    assert list(named_sources(["a/vae", "owner/model", "mine=b/c"])) == ["a", "model", "mine"]
    assert list(named_sources(["x/run/export", "y/run/export"])) == ["x/run", "y/run"]
    own = ["python:a/b.py:mine", "latents:c/d", "weights/e.safetensors", "python:a/b.py:opened@runs/f/export"]
    assert list(named_sources(own)) == ["mine", "d", "e", "f"]
    with pytest.raises(ValueError, match="same was given twice"):
        named_sources(["same=a", "same=b"])
    with pytest.raises(ValueError, match="run was given twice"):
        named_sources(["run", "run"])
