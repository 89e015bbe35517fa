import json
import os
from dataclasses import dataclass

import pytest

from spectrum_matching.files.documents import Document, require_equal_lengths


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


def test_document_waits_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"cannot read .*a\.json: .*not a regular file, but a named pipe"):
        WHOLE.read(tmp_path / "a.json")


def test_document_to_json_names_the_format_and_holds_no_nan():
    expected = {"format": "specmatch-whole-1", "whole": {"name": "ü", "parts": [{"value": 0.1}, {"value": None}]}}
    assert json.loads(WHOLE.to_json(EXAMPLE)) == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        PARTS.to_json([Part(float("nan"))])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is damaged: it is not JSON"),
        ("", r"is damaged: it is not JSON \(it is empty\)"),
        ("[" * 100_000, "is damaged: it is nested too deeply"),
        ('{"format": NaN}', "NaN is not a finite number"),
        ('{"format": 1e999}', "1e999 is not a finite number"),
        ("9" * 5000, "is damaged: it is not JSON"),
        ("null", "is not a specmatch-whole-1 file"),
        ("[]", "is not a specmatch-whole-1 file"),
        (b"\xff\xd8", "is damaged: it is not JSON"),
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


SEALED = Document(Whole, "specmatch-sealed-1", "whole", "run `specmatch whole` again", sealed=True)


def test_sealed_document_reads_what_it_wrote(tmp_path):
    record = Whole('"sha256": ""', EXAMPLE.parts)
    SEALED.write(tmp_path / "a.json", record)
    assert SEALED.read(tmp_path / "a.json") == record
    assert json.loads((tmp_path / "a.json").read_text()).keys() == {"format", "whole", "sha256"}


def test_sealed_document_notices_every_flipped_bit(tmp_path):
    path = tmp_path / "a.json"
    SEALED.write(path, EXAMPLE)
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match="; run `specmatch whole` again"):
            SEALED.read(path)


@pytest.mark.parametrize("seal", ["", ', "sha256": null', ', "sha256": 3', ', "sha256": ""'])
def test_sealed_document_without_its_checksum_is_refused(tmp_path, seal):
    path = tmp_path / "a.json"
    content = '{"format": "specmatch-sealed-1", "whole": {"name": "a", "parts": []}'
    path.write_text(content + seal + "}")
    with pytest.raises(ValueError, match=r"a\.json is (damaged: its content|not a)"):
        SEALED.read(path)


def test_document_may_be_edited_unless_it_is_sealed(tmp_path):
    path = tmp_path / "a.json"
    WHOLE.write(path, EXAMPLE)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=8))
    assert WHOLE.read(path) == EXAMPLE


def test_require_equal_lengths_names_the_two_that_differ():
    require_equal_lengths(EXAMPLE, "name")
    with pytest.raises(ValueError, match="1 name and 2 parts: expected as many of each"):
        require_equal_lengths(EXAMPLE, "name", "parts")
