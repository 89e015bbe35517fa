from spectrum_matching.report.marks import GLYPHS, MARKERS, SERIES, colour, glyph, line, marker


def test_marks_differ_for_each_of_64():
    assert len({(colour(i), marker(i)) for i in range(64)}) == 64
    assert (colour(64), marker(64)) == (colour(0), marker(0))
    assert [(colour(i), marker(i)) for i in range(8)] == list(zip(SERIES, MARKERS, strict=True))


def test_glyph_is_the_marker_in_text():
    assert [GLYPHS.index(glyph(i)) for i in range(64)] == [MARKERS.index(marker(i)) for i in range(64)]


def test_line_without_markers_differs_for_each_of_32():
    styles = {(line(i)["color"], str(line(i)["linestyle"])) for i in range(32)}
    assert len(styles) == 32
    assert line(7)["linestyle"] == "solid" != line(8)["linestyle"]
