from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_matching.cli.analyze import analyze_all
from spectrum_matching.cli.main import main
from spectrum_matching.cli.report import with_unique_names
from spectrum_matching.records.analysis import ANALYSES


@pytest.fixture(scope="module")
def folder(image_folder, small_autoencoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("analyzed") / "first"
    analyze_all((f"name={small_autoencoder}",), out=out, data=str(image_folder), size=32, num_images=4, num_tests=2)
    return out


@pytest.mark.slow
def test_write_report_puts_folders_and_files_on_one_page(folder, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_bytes((folder / "analysis.json").read_bytes())
    main(["report", str(folder), str(other), "--out", str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    page = (tmp_path / "report.html").read_text()
    assert f"name ({folder})" in page
    assert f"name ({tmp_path})" in page


def test_write_report_refuses_bad_input_in_one_line(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([], "no analysis was given"),
        ([str(tmp_path / "file")], "file is not a specmatch-analysis-4 file"),
        ([str(folder), "--out", str(tmp_path / "file" / "report.html")], "choose another --out"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["report", *arguments])
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_with_unique_names_takes_folders_then_numbers(folder):
    (analysis,) = ANALYSES.read(folder / "analysis.json")
    alone = replace(analysis, subject=replace(analysis.subject, name="alone"))
    entries = [(Path("a/x.json"), analysis), (Path("b/x.json"), analysis), (Path("b/y.json"), analysis)]
    renamed = with_unique_names([*entries, (Path("b/z.json"), alone)])
    assert [each.subject.name for each in renamed] == ["name (a)", "name (b)", "name (b) #2", "alone"]
