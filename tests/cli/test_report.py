import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_matching.cli.analyze import analyze_all
from spectrum_matching.cli.main import main
from spectrum_matching.cli.report import with_unique_names
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.records.comparison import COMPARISON
from spectrum_matching.report.comparison.page import render_comparison


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


def test_write_report_writes_figures_into_a_folder_of_their_own(specmatch, folder, tmp_path):
    figures, page = tmp_path / "figures", tmp_path / "report.html"
    assert specmatch("report", folder, "--out", page, "--figures", figures)[0] == 0
    pdfs = {path.stem for path in figures.glob("*.pdf")}
    assert {"spectra-images", "flattening-the_paper_s_variant", "transfer-name"} <= pdfs
    assert pdfs == {path.stem for path in figures.glob("*.csv")}
    assert page.read_text().count('class="save"') == len(pdfs)
    status, _, error = specmatch("report", folder, "--out", page, "--figures", folder)
    assert status == 2
    assert f"will replace {page}" in error
    assert "analysis.json and no figures of specmatch; choose another folder" in error


def test_write_report_refuses_bad_input_in_one_line(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([], "no analysis was given"),
        ([str(tmp_path / "file")], "file is damaged: it is not JSON (it is empty); run `specmatch analyze` again"),
        ([str(folder), "--out", str(tmp_path / "file" / "report.html")], "choose another --out"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["report", *arguments])
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_write_report_says_where_the_numbers_are_when_it_cannot_draw(specmatch, folder, tmp_path):
    content = json.loads((folder / "analysis.json").read_text())
    content["analyses"][0]["views"] = []
    (tmp_path / "analysis.json").write_text(json.dumps(content))
    status, _, error = specmatch("report", tmp_path)
    assert status == 2
    assert "cannot be drawn (StopIteration: " in error
    assert error.endswith(f"the numbers are in {tmp_path / 'analysis.json'}\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("image", "power"), "0.image: value error, "),
        (("views", 0, "spectrum", "frequencies"), "0.views.0.spectrum: value error, "),
        (("views", 0, "channels", 0, "power"), "0.views.0: value error, channels: expected "),
        (("decoding", "transfer", "gains"), "0.decoding.transfer: value error, "),
        (("decoding", "transfer", "shares", 0), "0.decoding.transfer: value error, shares: expected "),
    ],
)
def test_write_report_names_lists_of_unequal_length(specmatch, folder, tmp_path, path, said):
    content = json.loads((folder / "analysis.json").read_text())
    values = content["analyses"][0]
    for key in path:
        values = values[key]
    values.pop()
    (tmp_path / "analysis.json").write_text(json.dumps(content))
    status, _, error = specmatch("report", tmp_path)
    assert (status, error.count("\n")) == (2, 1)
    assert f"{tmp_path / 'analysis.json'} is not a specmatch-analysis" in error
    assert said in error


def test_write_report_refuses_a_file_without_analyses(specmatch, tmp_path):
    ANALYSES.write(tmp_path / "analysis.json", [])
    status, _, error = specmatch("report", tmp_path)
    assert (status, error.count("\n")) == (2, 1)
    assert f"no analysis is in {tmp_path / 'analysis.json'}" in error


def test_write_report_draws_the_page_of_a_comparison(specmatch, folder, tmp_path):
    results = Path(__file__).parents[2] / "experiments" / "results" / "compare_cifar10.json"
    (tmp_path / "run").mkdir()
    shutil.copy(results, tmp_path / "run" / "comparison.json")
    assert specmatch("report", tmp_path / "run", "--out", tmp_path)[0] == 0
    assert (tmp_path / "report.html").read_text() == render_comparison(COMPARISON.read(results))
    status, _, error = specmatch("report", tmp_path / "run", folder, "--out", tmp_path)
    assert (status, error.count("\n")) == (2, 1)
    assert "comparison.json has a page of its own, without --figures: name it alone" in error


def test_with_unique_names_takes_folders_then_numbers(folder):
    (analysis,) = ANALYSES.read(folder / "analysis.json")
    alone = replace(analysis, subject=replace(analysis.subject, name="alone"))
    entries = [(Path("a/x.json"), analysis), (Path("b/x.json"), analysis), (Path("b/y.json"), analysis)]
    renamed = with_unique_names([*entries, (Path("b/z.json"), alone)])
    assert [each.subject.name for each in renamed] == ["name (a)", "name (b)", "name (b) #2", "alone"]
