from spectrum_matching.data.summary import counted, listed, summary


def test_counted_names_the_first() -> None:
    assert counted([], "table", "tables") == []
    assert counted(["a"], "table", "tables") == ["1 table (a)"]
    assert counted([*"abc"], "table", "tables") == ["3 tables (a, b, c)"]
    assert counted([*"abcd"] * 300, "table", "tables") == ["1,200 tables (a, b, c, …)"]
    assert listed([*"abcd"], "; ") == "a; b; c; …"


def test_summary_is_one_line_of_what_was_taken_and_what_not() -> None:
    line = summary(
        "photos",
        part="",
        n_classes=12,
        n_images=3400,
        left_out=["2 tables (a, b)", "1 image outside of class folders (c)"],
        bad=["d"],
    )
    assert line == (
        "photos: 12 classes, 3,400 images; left aside: 2 tables (a, b), 1 image outside of class folders (c);"
        " 1 unusable file (d)"
    )


def test_summary_says_no_more_than_there_is() -> None:
    facts = {"left_out": [], "bad": [], "n_images": 1}
    assert summary("x", part="", n_classes=0, **facts) == "x: 1 image"
    assert summary("x", part="a/train", n_classes=1, **facts) == "x: 1 class, 1 image of the part a/train"
