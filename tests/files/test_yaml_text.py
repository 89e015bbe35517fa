import math

import pytest

from spectrum_matching.files.yaml_text import MOST_LEVELS, dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2020-13-45", "2020-13-45"),
        ("2020-01-01", "2020-01-01"),
        ("012", 12),
        ("0x10", 16),
        ("1e-4", 1e-4),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1e-4'", "1e-4"),
    ],
)
def test_parse_yaml_reads_version_1_2(text, value):
    read = parse_yaml(f"key: {text}")["key"]
    assert (read, type(read)) == (value, type(value))


def test_parse_yaml_takes_aliases_and_merges():
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
    }


BOMB = "a0: &a0 [x, x]\n" + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", r"b\.c is there twice, again in line 4"),
        ("data: &x {path: *x}", "data.path.path.*… is nested too deeply"),
        ("a: &x [*x]", "is nested too deeply"),
        ("[" * 3000, "it is nested too deeply"),
        ("[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1), "is nested too deeply"),
        (BOMB, r"a8.* holds more than 100,000 values, counting what aliases repeat"),
        ("a: !!timestamp 2020-13-45", "month must be in 1..12"),
        ("a: !!bool maybe", "maybe"),
        ("a: !!int x", "invalid literal"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("a: " + "9" * 5000, "limit"),
        ("\0", "special characters are not allowed"),
        ("? [a]\n: 1", "unhashable key"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
)
def test_parse_yaml_says_in_one_line_what_it_refuses(text, said):
    with pytest.raises(ValueError, match=said) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_parse_yaml_takes_as_many_levels_as_it_says():
    text = "[" * MOST_LEVELS + "]" * MOST_LEVELS
    assert parse_yaml(text) is not None


VALUES = ["1e-4", "yes", "1:30", "012", "2020-01-01", "null", "0x1", ".inf", "~", "true", "-", "", "<<", "é\n"]
VALUES += [1e-5, 1e22, math.inf, -math.inf, 3, True, None, [1, 2], {"b": 1.5}, -0.0, 1e-300]


@pytest.mark.parametrize("value", VALUES)
def test_parse_yaml_reads_what_dump_yaml_wrote(value):
    read = parse_yaml(dump_yaml({"key": value}))["key"]
    assert (read, type(read)) == (value, type(value))


def test_dump_yaml_repeats_what_is_there_twice():
    value = [1, 2]
    assert dump_yaml({"a": value, "b": value}) == "a:\n- 1\n- 2\nb:\n- 1\n- 2\n"
