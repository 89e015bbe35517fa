from dataclasses import replace

import pytest
import torch

from codecs_of_tests import Halving
from spectrum_matching.analysis.latent_maps import compare_latents
from spectrum_matching.records.latent_maps import LATENT_COMPARISON
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.report.latent_maps.page import render
from spectrum_matching.report.latent_maps.tables import direction_table, matrix_table
from spectrum_matching.report.table import markdown

HOSTILE = "<i>B</i> {x}"


class Darker(Halving):
    """Halving's latents at half their contrast."""

    def encode(self, images):
        return super().encode(images) / 2

    def decode(self, latents):
        return super().decode(latents * 2)


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(12, 3, 8, 8, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")


@pytest.fixture(scope="module")
def pair(images):
    return compare_latents({"A": Halving(), HOSTILE: Darker()}, images, n_tests=3, command="specmatch …").record


@pytest.fixture(scope="module")
def three(images):
    return compare_latents({"A": Halving(), "B": Darker(), "C": Halving()}, images, n_tests=2).record


def test_record_is_read_as_it_was_written(pair, three, tmp_path):
    for name, record in (("pair", pair), ("three", three)):
        LATENT_COMPARISON.write(tmp_path / name, record)
        assert LATENT_COMPARISON.read(tmp_path / name) == record


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_page_of_a_pair_shows_answer_figures_and_pictures(pair, visit, width):
    tab = visit(render(pair), color_scheme="dark" if width == 390 else "light")
    tab.set_viewport_size({"width": width, "height": 900})
    assert tab.locator("h1").inner_text() == f"Is {HOSTILE} a drop-in for A?"
    assert "is a drop-in for A after a 1 × 1 map" in tab.locator("header p").first.inner_text()
    assert tab.locator(".drawing").count() == 4
    assert tab.locator(".matrix").count() == 3
    assert tab.locator(".matrix img").count() == 3 * (1 + 2 * 4)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    headings = [text.split("\n")[0] for text in tab.locator("h2").all_inner_texts()]
    assert headings[:4] == ["Every direction", "Explained by frequency", "Lost in the pictures", "Pictures"]


@pytest.mark.slow
def test_page_of_three_shows_matrices(three, visit):
    tab = visit(render(three))
    assert tab.locator("header p").first.inner_text().startswith("Nearest are A and")
    assert tab.locator(".drawing").count() == 6
    assert tab.locator(".matrix").count() == 1
    assert tab.locator(".matrix img").count() == 1 + 9
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_same_record_gives_the_same_page(pair):
    assert render(pair) == render(pair)


def test_tables_have_every_direction(pair, three):
    table = direction_table(pair)
    assert [cells[0].value for _, cells in table.rows] == [HOSTILE, "A"]
    assert [cells[-1].value for _, cells in table.rows] == ["drop-in after 1 × 1"] * 2
    first = pair.directions[0]
    routes = tuple(replace(route, loss=Measurement(float(route.kernel), 0.1)) for route in first.routes)
    quoted = {
        ("drop-in", 0): ("0.00", "drop-in"),
        ("after a map", 1): ("1.00", "drop-in after 1 × 1"),
        ("undecided", 1): ("1.00", "undecided after 1 × 1"),
        ("no", 0): ("3.00", "no drop-in after 3 × 3"),
    }
    for (answer, kernel), shown in quoted.items():
        direction = replace(first, routes=routes, answer=answer, kernel=kernel)
        ((_, cells),) = direction_table(replace(pair, directions=(direction,))).rows
        assert tuple(cell.value for cell in cells[-2:]) == shown
    matrix = matrix_table(three, lambda route: route.r2, 2)
    assert markdown(matrix, three.names, "from").splitlines()[2].startswith("| A | own | 1.00")
