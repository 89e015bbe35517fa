import re

import pytest

from spectrum_matching.report.canvas import Curve, curves
from spectrum_matching.report.marks import line
from spectrum_matching.report.saved import require_figures_folder, write_figures


def drawing(title="A title", y=1.5):
    names = ("one", "two, of 2")
    return curves(
        title, "band", "dB", [Curve([1, 2], [y, -3.0], f"{n}\n{{x}}: {{y}}", line(i)) for i, n in enumerate(names)]
    )


def test_write_figures_writes_pdf_and_numbers_reproducibly(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        assert write_figures(folder, {"spectra": [drawing()], "channels": [drawing("#1"), drawing("1!")]}) == 3
    names = sorted(path.name for path in first.iterdir())
    stems = ("channels-1", "channels-1_", "spectra-a_title")
    assert names == sorted(["SHA256SUMS", *(f"{stem}.{ending}" for stem in stems for ending in ("pdf", "csv"))])
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    pdf = (first / "spectra-a_title.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    width, height = map(float, re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf).groups())
    assert width == 316
    assert height > 238  # the legend lies below
    assert (first / "spectra-a_title.csv").read_text() == (
        'series,band,dB\none,1,1.5\none,2,-3\n"two, of 2",1,1.5\n"two, of 2",2,-3\n'
    )


def test_write_figures_replaces_its_own_and_keeps_the_rest(tmp_path):
    write_figures(tmp_path / "f", {"a": [drawing()]})
    (tmp_path / "f" / "notes.txt").write_text("mine")
    require_figures_folder(tmp_path / "f")
    write_figures(tmp_path / "f", {"a": [drawing(y=2.5)]})
    assert "one,1,2.5" in (tmp_path / "f" / "a-a_title.csv").read_text()
    assert (tmp_path / "f" / "notes.txt").read_text() == "mine"


def test_require_figures_folder_takes_new_and_empty_ones_alone(tmp_path):
    require_figures_folder(tmp_path / "new")
    require_figures_folder(tmp_path)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"--figures: .* holds thesis.tex and no figures of specmatch"):
        require_figures_folder(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        require_figures_folder(tmp_path / "thesis.tex")
