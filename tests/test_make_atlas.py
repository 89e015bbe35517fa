import csv
import sys
from pathlib import Path

import make_atlas as program
from spectrum_matching.metrics.atlas.forecast import support
from spectrum_matching.metrics.atlas.paired import most_given_up
from spectrum_matching.metrics.atlas.spaces import ATLAS, read_atlas

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "forecast.md"


def test_own_rows_of_the_atlas_are_those_of_the_results():
    """Where this fails, results have changed: run `python experiments/make_atlas.py`."""
    assert program.trials() == read_atlas().trials
    assert program.own() == read_atlas().own


def test_main_without_tables_remakes_the_atlas_as_it_is(tmp_path, monkeypatch, capsys):
    there = program.TARGET.read_bytes()
    monkeypatch.setattr(program, "TARGET", tmp_path / "atlas.json")
    (tmp_path / "atlas.json").write_bytes(there)
    monkeypatch.setattr(program, "PAGE", tmp_path / "forecast.md")
    (tmp_path / "forecast.md").write_text(PAGE.read_text().replace("| SiT-B | without | 21", "| SiT-B | without | 12"))
    monkeypatch.setattr(sys, "argv", ["make_atlas.py"])
    program.main()
    assert (tmp_path / "forecast.md").read_text() == PAGE.read_text()
    assert (tmp_path / "atlas.json").read_bytes() == there
    assert capsys.readouterr().out.count("impossible:") == 3


def write_table(path, **row):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, row)
        writer.writeheader()
        writer.writerow(row)


def test_main_reads_published_tables(tmp_path, monkeypatch):
    board = {"tokenizer": "DC-AE", "gfid_sit_b": 42.01, "gfid_sit_xl": "", "ifid": 47.4, "viv": 1.36}
    facts = {"released": "24.10", "shape": "32x8x8", "tokens": "8x8", "paper": "https://arxiv.org/abs/2410.10733"}
    write_table(tmp_path / "gfid_by_tokenizer.csv", **board, **facts)
    write_table(tmp_path / "diffusionbench.csv", space="JiT", kind="Pixel", fid=21.72)
    monkeypatch.setattr(program, "TARGET", tmp_path / "atlas.json")
    monkeypatch.setattr(program, "PAGE", tmp_path / "forecast.md")
    (tmp_path / "forecast.md").write_text(PAGE.read_text())
    monkeypatch.setattr(sys, "argv", ["make_atlas.py", str(tmp_path)])
    program.main()
    dc_ae, pixels = ATLAS.read(tmp_path / "atlas.json").published
    assert (dc_ae.family, dc_ae.shape, dc_ae.representation, dc_ae.released) == ("VAE", (32, 8, 8), False, "2024-10")
    assert dc_ae.numbers == {"gfid_sit_b": 42.01, "interpolation_fid": 47.4, "viv_class": 1.36}
    assert (pixels.family, pixels.shape, pixels.representation) == ("pixels", (3, 256, 256), None)
    known = {space.name: space for space in read_atlas().published}["DC-AE"]
    assert known.shape == dc_ae.shape
    assert known.numbers["interpolation_fid"] == 47.4


def test_forecast_page_has_the_numbers_of_the_atlas():
    """Where this fails, run `python experiments/make_atlas.py`, which makes the tables anew."""
    page = " ".join(PAGE.read_text().split())
    assert program.with_tables(PAGE.read_text()) == PAGE.read_text()
    (low, high), (least, most) = support().values()
    assert f"{low:g} to {high:g}, and {least:g} to {most:g} dB" in page
    assert f"more than {most_given_up():.1f} dB of PSNR" in page
    for name, _, value in read_atlas().impossible():
        assert f"{name} ({value:.2f})" in page
