import io
from dataclasses import replace

import pytest
from rich.console import Console

from spectrum_matching.metrics.atlas.spaces import OwnSpace, read_atlas
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.report.analysis import beside as module
from spectrum_matching.report.analysis.beside import beside_atlas
from spectrum_matching.report.analysis.page import render
from spectrum_matching.report.terminal import beside_table


def own(name, images, size, n_images=24, psnr=25.0):
    numbers = {"psnr": Measurement(psnr, 0.5), "sec_50": Measurement(0.2)}
    return OwnSpace(name, name, name, 8, (4, size // 8, size // 8), images, images, size, n_images, numbers)


@pytest.fixture
def atlas(monkeypatch):
    """Replace our own rows by these."""
    return lambda *spaces: monkeypatch.setattr(module, "read_atlas", lambda: replace(read_atlas(), own=spaces))


def test_beside_atlas_takes_the_largest_set_of_the_size(analysis, atlas):
    atlas(own("SD", "kodak", 24), own("SD", "bsds500", 24, n_images=50), own("SDXL", "kodak", 48))
    table, names = beside_atlas([analysis])
    assert names == ["same", "SD"]
    titles = [column.title for column in table.columns]
    (_, subject), (_, space) = table.rows
    assert dict(zip(titles, (cell.value for cell in subject), strict=True))["PSNR"] == "100.000"
    values = dict(zip(titles, space, strict=True))
    assert values["images"].value == "bsds500, 24 pixels"
    assert values["latents"].value == "f8 · 4 × 3 × 3"
    assert (values["PSNR"].value, values["PSNR"].spread) == ("25.000", "± 0.500")
    assert values["exponent"].value == "–"


def test_beside_atlas_takes_the_same_images_first(analysis, atlas):
    same = own("SDXL", analysis.sample.digest, 24)
    atlas(own("SD", "bsds500", 24, n_images=50), same)
    assert beside_atlas([analysis])[1] == ["same", "SDXL"]


def test_beside_atlas_refuses_another_size(analysis, atlas):
    atlas(own("SD", "kodak", 256))
    with pytest.raises(ValueError, match="measured on images of 256 pixels, and these have 24: choose another --size"):
        beside_atlas([analysis])


def test_beside_atlas_refuses_a_subject_of_another_size_among_others(analysis, atlas):
    atlas(own("SD", "kodak", 24))
    large = replace(analysis, sample=replace(analysis.sample, size=64))
    with pytest.raises(ValueError, match="images of 24 pixels, and some of these have 64: choose another"):
        beside_atlas([analysis, large])


def test_beside_table_has_a_column_for_each_latent_space(analysis, atlas):
    atlas(own("SD", "kodak", 24), own("SDXL", "kodak", 24, psnr=26.0))
    output = io.StringIO()
    Console(file=output, width=100).print(beside_table([analysis]))
    lines = output.getvalue().splitlines()
    assert lines[0].split() == ["same", "SD", "SDXL"]
    assert [line.split() for line in lines if line.startswith("PSNR")] == [["PSNR", "100.000", "25.000", "26.000"]]


def test_render_has_the_atlas_beside_where_it_is_asked_for(analysis, atlas):
    atlas(own("SD of others", "kodak", 24))
    assert "SD of others" in render([analysis], beside=True)
    assert "Beside the atlas" not in render([analysis])
