import pytest

from spectrum_matching.data.labels import labels_digest, number_labels


def test_number_labels_numbers_what_occurs_in_order() -> None:
    assert number_labels([3, 1, None, 2, 1], "x") == (("1", "2", "3"), [2, 0, -1, 1, 0])
    assert number_labels([10, 9], "x") == (("9", "10"), [1, 0])
    assert number_labels(["dog", "cat", "dog"], "x") == (("cat", "dog"), [1, 0, 1])
    assert number_labels([5_000_000, 0], "x") == (("0", "5000000"), [1, 0])
    assert number_labels([None, None], "x") == ((), [-1, -1])


def test_number_labels_refuses_identifiers() -> None:
    assert len(number_labels(range(1000), "x")[0]) == 1000
    assert len(number_labels([*range(1001)] * 2, "x")[0]) == 1001
    with pytest.raises(ValueError, match=r"^x: 1,001 values for 2,001 images are identifiers .*--no-labels") as caught:
        number_labels([*range(1001), *range(1000)], "x")
    assert "\n" not in str(caught.value)


def test_labels_digest_follows_each_label_and_the_names_of_classes() -> None:
    found = [
        labels_digest(("cat", "dog"), [0, 1, 1]),
        labels_digest(("cat", "dog"), [1, 0, 1]),
        labels_digest(("cat", "dog"), [0, 1, -1]),
        labels_digest(("dog", "cat"), [0, 1, 1]),
        labels_digest((), [0, 1, 1]),
        labels_digest((), [-1, -1, -1]),
    ]
    assert len(set(found)) == len(found)
    assert [index for index, digest in enumerate(found) if not digest] == [5]
    assert labels_digest(["cat", "dog"], [0, 1, 1]) == found[0]
