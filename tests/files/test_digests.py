import hashlib

import pytest
import torch
from torch import nn

from spectrum_matching.files.digests import digest_files, digest_json, digest_lines, digest_tensors, digest_weights


def test_digest_files_is_sha256_of_their_bytes(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 1000)
    expected = hashlib.sha256(b"a" * 1000 + b"b" * 1000).hexdigest()[:16]
    assert digest_files([tmp_path / "a", tmp_path / "b"]) == expected
    assert digest_files([tmp_path / "b", tmp_path / "a"]) != expected


def test_digest_tensors_ignores_order_and_layout_alone():
    values = torch.arange(6.0).view(2, 3)
    digest = digest_tensors({"a": values, "b": torch.ones(1)})
    assert digest_tensors({"b": torch.ones(1), "a": values.T.contiguous().T}) == digest
    assert len(digest) == 16
    for other in (
        {"a": values + 1e-6, "b": torch.ones(1)},
        {"a": values.view(3, 2), "b": torch.ones(1)},
        {"a": values.view(torch.int32), "b": torch.ones(1)},
        {"c": values, "b": torch.ones(1)},
    ):
        assert digest_tensors(other) != digest


def test_digest_weights_covers_parameters_and_buffers():
    module = nn.BatchNorm2d(3)
    before = digest_weights(module)
    assert digest_weights(nn.BatchNorm2d(3)) == before
    for change in (module.weight.data, module.running_mean):
        change[0] += 1
        after = digest_weights(module)
        assert after != before
        before = after


@pytest.mark.parametrize("lines", [["a b"], ["b", "a"], ["a"], ["ab"], []])
def test_digest_lines_depends_on_every_line_and_their_order(lines):
    assert digest_lines(lines) != digest_lines(["a", "b"])


def test_digest_lines_takes_file_names_that_are_no_utf8():
    assert len(digest_lines(["\udcff.png"])) == 16


def test_digest_json_ignores_the_order_of_keys_alone():
    assert digest_json({"x": 1, "y": [2, 3]}) == digest_json({"y": [2, 3], "x": 1})
    assert digest_json({"x": 1, "y": [2, 3]}) != digest_json({"x": 1, "y": [3, 2]})
