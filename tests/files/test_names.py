import os

import pytest

from spectrum_matching.files.names import listed, printable, printable_lines, printable_values


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("\x1b[31mred.png", r"\x1b[31mred.png"),
        ("two\nlines.png", r"two\nlines.png"),
        ("a\u202egpj.png", r"a\u202egpj.png"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable_escapes_what_a_terminal_or_utf8_cannot_take(raw, shown):
    assert printable(raw) == shown
    assert shown.isprintable()
    assert printable(shown) == shown


def test_printable_keeps_text_in_any_script():
    text = "naïve – 日本語 ελληνικά עברית 🖼 α → β …"
    assert printable(text) == text


def test_printable_lines_keeps_line_breaks_and_tabs():
    assert printable_lines("a\n\tb\x1b\r") == "a\n\tb\\x1b\\r"


def test_printable_values_escapes_keys_and_values_at_any_depth():
    assert printable_values({"\udce9": [("\udce9", 1)], "n": None}) == {r"\xe9": [[r"\xe9", 1]], "n": None}


def test_listed_quotes_names_that_hold_a_comma():
    assert listed(["DSM", "ESM, paper", "ESM + DSM"]) == "DSM, 'ESM, paper', ESM + DSM"
    assert listed(["Ann's, old"]) == '"Ann\'s, old"'
    assert listed([]) == ""
