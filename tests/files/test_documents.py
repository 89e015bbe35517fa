import json
from dataclasses import dataclass

import pytest

from spectrum_matching.files.documents import Document


@dataclass(frozen=True)
class Part:
    value: float | None


@dataclass(frozen=True)
class Whole:
    name: str
    parts: tuple[Part, ...]


WHOLE = Document(Whole, "specmatch-whole-1", "whole", "run `specmatch whole` again")
PARTS = Document(list[Part], "specmatch-parts-1", "parts", "run `specmatch parts` again")
EXAMPLE = Whole("ü", (Part(0.1), Part(None)))


def test_document_reads_what_it_wrote(tmp_path):
    WHOLE.write(tmp_path / "a.json", EXAMPLE)
    assert WHOLE.read(tmp_path / "a.json") == EXAMPLE
    PARTS.write(tmp_path / "b.json", list(EXAMPLE.parts))
    assert PARTS.read(tmp_path / "b.json") == list(EXAMPLE.parts)


def test_document_reads_what_it_wrote_of_a_name_that_is_not_utf8(tmp_path):
    WHOLE.write(tmp_path / "a.json", Whole("caf\udce9 \x1b[31m", ()))
    assert WHOLE.read(tmp_path / "a.json") == Whole(r"caf\xe9 \x1b[31m", ())


def test_document_to_json_names_the_format_and_holds_no_nan():
    expected = {"format": "specmatch-whole-1", "whole": {"name": "ü", "parts": [{"value": 0.1}, {"value": None}]}}
    assert json.loads(WHOLE.to_json(EXAMPLE)) == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        PARTS.to_json([Part(float("nan"))])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not a specmatch-whole-1 file"),
        ("[]", "is not a specmatch-whole-1 file"),
        (b"\xff\xd8", "is not a specmatch-whole-1 file"),
        ("{}", "it has no 'format'"),
        ('{"format": "specmatch-whole-0"}', "has format 'specmatch-whole-0', this version reads 'specmatch-whole-1'"),
        ('{"format": "specmatch-whole-1"}', "it has no 'whole'"),
        (
            '{"format": "specmatch-whole-1", "whole": {"name": 3, "parts": []}}',
            r"file \(name: must be a valid string\)",
        ),
    ],
)
def test_document_read_names_file_and_remedy_in_one_line(tmp_path, text, reason):
    path = tmp_path / "whole.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=reason) as caught:
        WHOLE.read(path)
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).endswith("; run `specmatch whole` again")
    assert "\n" not in str(caught.value)


def test_document_read_names_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*none\.json: No such file or directory; check the path$"):
        WHOLE.read(tmp_path / "none.json")
