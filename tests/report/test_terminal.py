from dataclasses import fields, is_dataclass, make_dataclass, replace

import pytest

from spectrum_matching.records.coverage import Coverage
from spectrum_matching.records.scores import Protocol, Sampling
from spectrum_matching.report.terminal import protocol_line

SAMPLING = Sampling(
    *("runs/sit", "a" * 16, 9, True, "vae", "b" * 16, "linear", "velocity", "euler", 50, 90),
    *(1.5, (0.0, 0.9), "balanced", 80, 0, "float32"),
)
DECODED = {"reconstructions": "photographs by vae", "reconstructions_digest": "e" * 16, "n_reconstructions": 60}
PROTOCOL = Protocol(
    *(80, 100, 16, "photographs", "c" * 16, "dinov2", "d" * 16, "bicubic", "uint8", SAMPLING),
    **DECODED,
    reconstructions_size=16,
)


def other(field, value):
    """A value that the field of a record does not have."""
    if is_dataclass(value):
        return None
    if value is None:
        return Coverage(5, 9) if "Coverage" in str(field.type) else 512
    if field.name == "guidance_by":
        return "step"
    return {bool: lambda: not value, str: lambda: f"{value}x", tuple: lambda: (0.1, 0.7)}.get(
        type(value), lambda: value + 1
    )()


@pytest.mark.parametrize("record", [PROTOCOL, SAMPLING], ids=lambda record: type(record).__name__)
def test_protocol_line_says_every_field(record):
    lines = {"none": protocol_line(PROTOCOL)}
    for field in fields(record):
        changed = replace(record, **{field.name: other(field, getattr(record, field.name))})
        lines[field.name] = protocol_line(replace(PROTOCOL, sampling=changed) if record is SAMPLING else changed)
    assert len(set(lines.values())) == len(lines), lines


def test_protocol_line_says_a_field_that_no_phrase_knows():
    later = make_dataclass("Later", [("churn", float, 0.0)], bases=(Sampling,), frozen=True)
    usual, unusual = (replace(PROTOCOL, sampling=later(**vars(SAMPLING), churn=churn)) for churn in (0.0, 1 / 3))
    assert protocol_line(usual) == protocol_line(PROTOCOL)
    assert protocol_line(unusual) == f"{protocol_line(PROTOCOL)}; churn 0.333333"


def test_protocol_line_leaves_out_what_is_as_by_default():
    gained = replace(SAMPLING, shift=1 / 0.3, normalisation="per channel", gain="f" * 16, tile=512)
    assert protocol_line(replace(PROTOCOL, sampling=gained)).split("; ") == [
        "80 images, 16 pixels a side",
        f"reference photographs {'c' * 16}: 100 images",
        f"extractor dinov2 {'d' * 16}",
        "resizer bicubic",
        "rounding uint8",
        f"reconstructions photographs by vae {'e' * 16}: 60 images, 16 pixels a side",
        f"runs/sit {'a' * 16} at step 9, averaged",
        f"autoencoder vae {'b' * 16}",
        "linear path, velocity predicted",
        "euler, 50 steps, 90 evaluations",
        "guidance 1.5 in 0 to 0.9",
        "labels balanced, 80 sampled, seed 0, float32",
        "shift 3.33333",
        "decoded in tiles of 512",
        "normalisation per channel",
        f"gain {'f' * 16}",
    ]
    plain = Protocol(80, 100, 16, "photographs", "c" * 16, "", "", "", "uint8", None)
    assert protocol_line(plain).split("; ")[2:] == ["no extractor", "rounding uint8"]
