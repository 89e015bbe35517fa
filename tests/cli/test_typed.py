import pytest

from spectrum_matching.cli.typed import remember_typed, typed_command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "--only", "ESM, paper", "--out", "{here}/runs/mine"), "--only 'ESM, paper' --out runs/mine"),
        (("analyze", "A={here}/a", "latents:{here}/b"), "A=a latents:b"),
        (("compare", "--data", "{here}er/x"), "--data {here}er/x"),
        (("compare", "--data", "https://host/x"), "--data https://host/x"),
    ],
)
def test_typed_command_has_paths_relative_to_the_working_directory(words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    remember_typed([word.format(here=tmp_path) for word in words])
    assert typed_command().startswith(f"specmatch {words[0]} ")
    assert typed_command().endswith(" " + said.format(here=tmp_path))


def test_typed_command_leaves_urls_alone_in_the_root(monkeypatch):
    monkeypatch.chdir("/")
    remember_typed(["compare", "--data", "https://host/x", "--out", "/tmp/x"])
    assert typed_command() == "specmatch compare --data https://host/x --out tmp/x"
